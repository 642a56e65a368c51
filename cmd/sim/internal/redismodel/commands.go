package redismodel

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// command is one of Redis's commands. The flags are those of the real one.
type command struct {
	run      func(s *Server, c *client, args []string) any // args without the name
	least    int                                           // arguments, without the name
	most     int                                           // -1: any number
	write    bool
	denyOOM  bool
	loading  bool // carried out while the dataset is being loaded
	noScript bool
	control  bool // of transactions: never queued
	data     bool // reads or writes keys
}

// agree is a command that changes nothing here.
func agree(*Server, *client, []string) any { return status("OK") }

// known are all commands by name.
var known map[string]command

func init() { //nolint:gochecknoinits // the table refers to functions that look into it
	known = map[string]command{
		"HELLO":        {run: hello, most: -1, loading: true, noScript: true},
		"PING":         {run: ping, most: 1},
		"CLIENT":       {run: agree, least: 1, most: -1, loading: true, noScript: true},
		"SELECT":       {run: agree, least: 1, most: 1, loading: true},
		"MULTI":        {run: multi, loading: true, noScript: true, control: true},
		"EXEC":         {run: exec, loading: true, noScript: true, control: true},
		"DISCARD":      {run: discard, loading: true, noScript: true, control: true},
		"SUBSCRIBE":    {run: subscribe, least: 1, most: -1, loading: true, noScript: true},
		"UNSUBSCRIBE":  {run: unsubscribe, most: -1, loading: true, noScript: true},
		"PSUBSCRIBE":   {run: psubscribe, least: 1, most: -1, loading: true, noScript: true},
		"PUNSUBSCRIBE": {run: punsubscribe, most: -1, loading: true, noScript: true},
		"PUBLISH":      {run: publish, least: 2, most: 2, loading: true},
		"PUBSUB":       {run: pubsub, least: 1, most: -1, loading: true},
		"EVAL":         {run: eval, data: true, least: 2, most: -1, noScript: true},
		"EVALSHA":      {run: evalSHA, data: true, least: 2, most: -1, noScript: true},
		"SCRIPT":       {run: script, least: 1, most: -1, noScript: true},
		"TIME":         {run: clock, loading: true},
		"INFO":         {run: info, most: -1, loading: true},
		"FLUSHALL":     {run: flushAll, most: 1, write: true},

		"GET":     {run: get, data: true, least: 1, most: 1},
		"SET":     {run: set, data: true, least: 2, most: 4, write: true, denyOOM: true},
		"DEL":     {run: del, data: true, least: 1, most: -1, write: true},
		"EXISTS":  {run: exists, data: true, least: 1, most: -1},
		"TYPE":    {run: typeOf, data: true, least: 1, most: 1},
		"EXPIRE":  {run: expire, data: true, least: 2, most: 2, write: true},
		"TTL":     {run: ttl, data: true, least: 1, most: 1},
		"PTTL":    {run: pttl, data: true, least: 1, most: 1},
		"HSET":    {run: hset, data: true, least: 3, most: -1, write: true, denyOOM: true},
		"HSETNX":  {run: hsetnx, data: true, least: 3, most: 3, write: true, denyOOM: true},
		"HINCRBY": {run: hincrby, data: true, least: 3, most: 3, write: true, denyOOM: true},
		"HDEL":    {run: hdel, data: true, least: 2, most: -1, write: true},
		"HGET":    {run: hget, data: true, least: 2, most: 2},
		"HMGET":   {run: hmget, data: true, least: 2, most: -1},
		"LPUSH":   {run: lpush, data: true, least: 2, most: -1, write: true, denyOOM: true},
		"LTRIM":   {run: ltrim, data: true, least: 3, most: 3, write: true},
		"LRANGE":  {run: lrange, data: true, least: 3, most: 3},
		"LINDEX":  {run: lindex, data: true, least: 2, most: 2},
		"LLEN":    {run: llen, data: true, least: 1, most: 1},
	}
}

const wrongType = failure("WRONGTYPE Operation against a key holding the wrong kind of value")

// run carries out one command and queues its reply; s.mu is held.
func (s *Server) run(c *client, args []string) {
	if r := s.dispatch(c, args); r != (none{}) {
		c.append(appendReply(nil, c.protocol, r))
	}
}

// dispatch decides what becomes of a command; s.mu is held.
func (s *Server) dispatch(c *client, args []string) any {
	name := strings.ToUpper(args[0])
	cmd, problem := lookup(name, args)
	refuse := func(f failure) any {
		if name == "EXEC" {
			c.multi, c.aborted, c.queued = false, false, nil
			return failure("EXECABORT Transaction discarded because of: " + strings.TrimPrefix(string(f), "ERR "))
		}
		c.aborted = c.aborted || c.multi && !cmd.control
		return f
	}
	switch {
	case problem != "":
		return refuse(problem)
	case c.protocol == 2 && len(c.channels)+len(c.patterns) > 0 && !slices.Contains(whileSubscribed, name):
		return refuse(failure(fmt.Sprintf("ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET "+
			"are allowed in this context", fullName(name, args))))
	case s.refusal == OOM && (cmd.denyOOM || c.multi && name != "EXEC" && name != "DISCARD"):
		s.refused++
		return refuse(failure(OOM))
	case s.refusal == Loading && !cmd.loading:
		s.refused++
		return refuse(failure(Loading))
	case s.refusal == ReadOnly && cmd.write:
		s.refused++
		return refuse(failure(ReadOnly))
	case c.multi && !cmd.control:
		c.queued = append(c.queued, args)
		return status("QUEUED")
	}
	return cmd.run(s, c, args[1:])
}

// fullName is how Redis calls a command in an error.
func fullName(name string, args []string) string {
	if name == "PUBSUB" && len(args) > 1 {
		name += "|" + args[1]
	}
	return strings.ToLower(name)
}

var whileSubscribed = []string{"SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE", "PING"}

// lookup finds a command and checks the number of arguments.
func lookup(name string, args []string) (command, failure) {
	cmd, ok := known[name]
	if !ok {
		var rest strings.Builder
		for _, a := range args[1:] {
			fmt.Fprintf(&rest, "'%s' ", a)
		}
		return cmd, failure(fmt.Sprintf("ERR unknown command '%s', with args beginning with: %s", args[0], rest.String()))
	}
	if n := len(args) - 1; n < cmd.least || cmd.most >= 0 && n > cmd.most {
		return cmd, failure(fmt.Sprintf("ERR wrong number of arguments for '%s' command", strings.ToLower(name)))
	}
	return cmd, ""
}

func hello(_ *Server, c *client, args []string) any {
	if len(args) > 0 {
		switch args[0] {
		case "2", "3":
			c.protocol, _ = strconv.Atoi(args[0])
		default:
			return failure("NOPROTO unsupported protocol version")
		}
	}
	return pairs{"server", "redis", "version", "7.0.15", "proto", int64(c.protocol), "id", int64(c.id), "mode", "standalone",
		"role", "master", "modules", []any{}}
}

func ping(_ *Server, c *client, args []string) any {
	text := ""
	if len(args) == 1 {
		text = args[0]
	}
	switch {
	case c.protocol == 2 && len(c.channels)+len(c.patterns) > 0:
		return []any{"pong", text}
	case text != "":
		return text
	default:
		return status("PONG")
	}
}

func multi(_ *Server, c *client, _ []string) any {
	if c.multi {
		return failure("ERR MULTI calls can not be nested")
	}
	c.multi, c.aborted, c.queued = true, false, nil
	return status("OK")
}

// exec carries out a transaction. Replies come one by one, as SUBSCRIBE answers more than once.
func exec(s *Server, c *client, _ []string) any {
	if !c.multi {
		return failure("ERR EXEC without MULTI")
	}
	queued, aborted := c.queued, c.aborted
	c.multi, c.aborted, c.queued = false, false, nil
	if aborted {
		return failure("EXECABORT Transaction discarded because of previous errors.")
	}
	c.append(appendHeader(nil, '*', int64(len(queued))))
	for _, args := range queued {
		if r := known[strings.ToUpper(args[0])].run(s, c, args[1:]); r != (none{}) {
			c.append(appendReply(nil, c.protocol, r))
		}
	}
	return none{}
}

func discard(_ *Server, c *client, _ []string) any {
	if !c.multi {
		return failure("ERR DISCARD without MULTI")
	}
	c.multi, c.aborted, c.queued = false, false, nil
	return status("OK")
}

func clock(s *Server, _ *client, _ []string) any {
	now := time.Now().Add(s.skew)
	return []any{strconv.FormatInt(now.Unix(), 10), strconv.Itoa(now.Nanosecond() / 1000)}
}

// info knows what tells one run of a server, and one source of its data, from another.
func info(s *Server, _ *client, _ []string) any {
	return fmt.Sprintf("# Server\r\nredis_version:7.0.15\r\nrun_id:%040x\r\n# Replication\r\nrole:master\r\nmaster_replid:%040x\r\n",
		s.starts, s.starts)
}

func flushAll(s *Server, _ *client, _ []string) any {
	s.data = newDataset()
	return status("OK")
}

func get(s *Server, _ *client, args []string) any {
	v, wrong := s.data.typed(args[0], stringKind)
	switch {
	case wrong:
		return wrongType
	case v == nil:
		return nil
	}
	return v.text
}

// set knows the options EX, PX and NX.
func set(s *Server, _ *client, args []string) any {
	v := &value{kind: stringKind, text: args[1]}
	for i := 2; i < len(args); i++ {
		switch option := strings.ToUpper(args[i]); {
		case option == "NX":
			if s.data.get(args[0]) != nil {
				return nil
			}
		case (option == "EX" || option == "PX") && i+1 < len(args):
			unit := time.Second
			if option == "PX" {
				unit = time.Millisecond
			}
			i++
			n, err := strconv.Atoi(args[i])
			if err != nil {
				return notInteger
			}
			if n <= 0 {
				return failure("ERR invalid expire time in 'set' command")
			}
			v.expires = time.Now().Add(time.Duration(n) * unit)
		default:
			return failure("ERR syntax error")
		}
	}
	s.data.keys[args[0]] = v
	return status("OK")
}

const notInteger = failure("ERR value is not an integer or out of range")

func del(s *Server, _ *client, args []string) any {
	n := int64(0)
	for _, key := range args {
		if s.data.get(key) != nil {
			delete(s.data.keys, key)
			n++
		}
	}
	return n
}

func exists(s *Server, _ *client, args []string) any {
	n := int64(0)
	for _, key := range args {
		if s.data.get(key) != nil {
			n++
		}
	}
	return n
}

func typeOf(s *Server, _ *client, args []string) any {
	if v := s.data.get(args[0]); v != nil {
		return status(v.kind)
	}
	return status("none")
}

func expire(s *Server, _ *client, args []string) any {
	n, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return notInteger
	}
	v := s.data.get(args[0])
	if v == nil {
		return int64(0)
	}
	if n <= 0 {
		delete(s.data.keys, args[0])
	} else {
		v.expires = time.Now().Add(time.Duration(n) * time.Second)
	}
	return int64(1)
}

func ttl(s *Server, _ *client, args []string) any {
	return s.left(args[0], func(left time.Duration) time.Duration { return (left + time.Second/2) / time.Second })
}

func pttl(s *Server, _ *client, args []string) any {
	return s.left(args[0], func(left time.Duration) time.Duration { return left / time.Millisecond })
}

// left answers how long a key is kept, in the unit that in counts in.
func (s *Server) left(key string, in func(time.Duration) time.Duration) any {
	v := s.data.get(key)
	switch {
	case v == nil:
		return int64(-2)
	case v.expires.IsZero():
		return int64(-1)
	}
	return int64(in(time.Until(v.expires)))
}

func hset(s *Server, _ *client, args []string) any {
	if len(args)%2 == 0 {
		return failure("ERR wrong number of arguments for 'hset' command")
	}
	v, wrong := s.data.made(args[0], hashKind)
	if wrong {
		return wrongType
	}
	n := int64(0)
	for i := 1; i < len(args); i += 2 {
		if _, there := v.hash[args[i]]; !there {
			n++
		}
		v.hash[args[i]] = args[i+1]
	}
	return n
}

func hsetnx(s *Server, _ *client, args []string) any {
	v, wrong := s.data.made(args[0], hashKind)
	if wrong {
		return wrongType
	}
	if _, there := v.hash[args[1]]; there {
		return int64(0)
	}
	v.hash[args[1]] = args[2]
	return int64(1)
}

func hincrby(s *Server, _ *client, args []string) any {
	by, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return notInteger
	}
	if v, wrong := s.data.typed(args[0], hashKind); wrong {
		return wrongType
	} else if v != nil {
		if text, there := v.hash[args[1]]; there {
			if _, err := strconv.ParseInt(text, 10, 64); err != nil {
				return failure("ERR hash value is not an integer")
			}
		}
	}
	v, _ := s.data.made(args[0], hashKind)
	n, _ := strconv.ParseInt(v.hash[args[1]], 10, 64)
	v.hash[args[1]] = strconv.FormatInt(n+by, 10)
	return n + by
}

func hdel(s *Server, _ *client, args []string) any {
	v, wrong := s.data.typed(args[0], hashKind)
	switch {
	case wrong:
		return wrongType
	case v == nil:
		return int64(0)
	}
	n := int64(0)
	for _, field := range args[1:] {
		if _, there := v.hash[field]; there {
			delete(v.hash, field)
			n++
		}
	}
	if len(v.hash) == 0 {
		delete(s.data.keys, args[0])
	}
	return n
}

func hget(s *Server, c *client, args []string) any {
	r := hmget(s, c, args)
	if list, ok := r.([]any); ok {
		return list[0]
	}
	return r
}

func hmget(s *Server, _ *client, args []string) any {
	v, wrong := s.data.typed(args[0], hashKind)
	if wrong {
		return wrongType
	}
	out := make([]any, len(args)-1)
	for i, field := range args[1:] {
		if v != nil {
			if text, there := v.hash[field]; there {
				out[i] = text
			}
		}
	}
	return out
}

func lpush(s *Server, _ *client, args []string) any {
	v, wrong := s.data.made(args[0], listKind)
	if wrong {
		return wrongType
	}
	v.list = append(v.list, args[1:]...)
	v.log = append(v.log, args[1:]...)
	return int64(len(v.list))
}

// span turns Redis's indices from and to, which count from the newest element, into a slice of oldest-first elements.
func (v *value) span(from, to string) ([]string, failure) {
	i, err1 := strconv.Atoi(from)
	j, err2 := strconv.Atoi(to)
	if err1 != nil || err2 != nil {
		return nil, notInteger
	}
	n := 0
	if v != nil {
		n = len(v.list)
	}
	if i < 0 {
		i = max(0, n+i)
	}
	if j < 0 {
		j = n + j
	}
	j = min(j, n-1)
	if i > j {
		return nil, ""
	}
	return v.list[n-1-j : n-i], ""
}

func ltrim(s *Server, _ *client, args []string) any {
	v, wrong := s.data.typed(args[0], listKind)
	if _, problem := (*value)(nil).span(args[1], args[2]); problem != "" {
		return problem
	}
	if wrong {
		return wrongType
	}
	kept, problem := v.span(args[1], args[2])
	switch {
	case problem != "":
		return problem
	case v == nil:
	case len(kept) == 0:
		delete(s.data.keys, args[0])
	default:
		v.list = kept
	}
	return status("OK")
}

func lrange(s *Server, _ *client, args []string) any {
	v, wrong := s.data.typed(args[0], listKind)
	if _, problem := (*value)(nil).span(args[1], args[2]); problem != "" {
		return problem
	}
	if wrong {
		return wrongType
	}
	some, problem := v.span(args[1], args[2])
	if problem != "" {
		return problem
	}
	out := make([]any, 0, len(some))
	for _, text := range slices.Backward(some) {
		out = append(out, text)
	}
	return out
}

func lindex(s *Server, _ *client, args []string) any {
	v, wrong := s.data.typed(args[0], listKind)
	if wrong {
		return wrongType
	}
	some, problem := v.span(args[1], args[1])
	switch {
	case problem != "":
		return problem
	case len(some) != 1:
		return nil
	}
	return some[0]
}

func llen(s *Server, _ *client, args []string) any {
	v, wrong := s.data.typed(args[0], listKind)
	switch {
	case wrong:
		return wrongType
	case v == nil:
		return int64(0)
	}
	return int64(len(v.list))
}
