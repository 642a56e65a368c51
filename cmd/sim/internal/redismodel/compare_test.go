package redismodel

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/cmd/sim/internal/network"
	"sluice/store/storetest"
)

// The model is compared with a real redis-server: the same random commands, in RESP2 and in RESP3, get the same replies
// and the same messages in the same order.
func TestTheModelAnswersAsRedisDoes(t *testing.T) {
	server := storetest.Real(t)
	scripts := gatewayScripts(t)
	for _, protocol := range []string{"2", "3"} {
		for seed := range uint64(6) {
			t.Run(fmt.Sprintf("RESP%s/%d", protocol, seed), func(t *testing.T) {
				n := network.New(rand.New(rand.NewPCG(seed, 2)))
				s := New(n, rand.New(rand.NewPCG(seed, 3)), Config{})
				s.Start("redis", nil)
				defer s.Close()
				model := func() net.Conn {
					c, err := n.Dial(t.Context(), "test", "redis")
					if err != nil {
						t.Fatal(err)
					}
					return c
				}
				redis := func() net.Conn {
					c, err := net.Dial("tcp", server.Addr)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = c.Close() })
					return c
				}
				c := &comparison{
					t: t, rng: rand.New(rand.NewPCG(seed, 1)), scripts: scripts,
					first: pair{newPeer(redis()), newPeer(model())}, second: pair{newPeer(redis()), newPeer(model())},
				}
				c.both(c.second, []string{"FLUSHALL"}, []string{"SCRIPT", "FLUSH"})
				for _, p := range []*peer{c.first.redis, c.first.model} {
					p.ask(t, []string{"HELLO", protocol}) // what it answers tells of the server
				}
				for range 300 {
					c.step(protocol)
					if t.Failed() {
						return
					}
				}
			})
		}
	}
}

// gatewayScripts are the real ones.
func gatewayScripts(t *testing.T) map[string]string {
	read := func(name string) string {
		text, err := os.ReadFile("../../../../store/lua/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	return map[string]string{"append": read("add.lua") + read("append.lua"), "adopt": read("add.lua") + read("adopt.lua"), "read": read("read.lua")}
}

// pair is a connection to each of the two.
type pair struct{ redis, model *peer }

type comparison struct {
	t             *testing.T
	rng           *rand.Rand
	scripts       map[string]string
	first, second pair
}

// both sends commands to both and compares all that comes.
func (c *comparison) both(p pair, commands ...[]string) {
	c.t.Helper()
	want, got := p.redis.ask(c.t, commands...), p.model.ask(c.t, commands...)
	if slices.ContainsFunc(commands, func(args []string) bool {
		return len(args) == 1 && strings.HasSuffix(args[0], "UNSUBSCRIBE")
	}) {
		unordered(want)
		unordered(got)
	}
	if !slices.Equal(want, got) {
		c.t.Errorf("%.300q:\nredis-server %.900q\nmodel        %.900q", commands, want, got)
	}
}

// step does one random thing.
func (c *comparison) step(protocol string) {
	c.t.Helper()
	switch c.rng.IntN(8) {
	case 0:
		c.both(c.first, c.subscription())
	case 1:
		c.both(c.second, []string{"PUBLISH", c.pick("a", "b", "p:1"), c.text()})
		c.both(c.first) // what it was told
	case 2:
		transaction := [][]string{{"MULTI"}}
		for range 1 + c.rng.IntN(4) {
			if protocol == "3" && c.rng.IntN(2) == 0 {
				transaction = append(transaction, c.subscription())
			} else {
				transaction = append(transaction, c.command())
			}
		}
		c.both(c.first, append(transaction, []string{c.pick("EXEC", "EXEC", "EXEC", "DISCARD")})...)
	case 3:
		c.both(c.second, c.script())
	case 4:
		c.both(c.first, c.command())
	default:
		c.both(c.second, c.command())
	}
}

func (c *comparison) pick(some ...string) string { return some[c.rng.IntN(len(some))] }

func (c *comparison) text() string {
	return c.pick("", "x", "hello", "1", "42", "-7", "line\r\nbreak", "\x00\xff", strings.Repeat("y", 2000))
}

func (c *comparison) number() string { return strconv.Itoa(c.rng.IntN(9) - 4) }

func (c *comparison) key() string { return c.pick("k1", "k2", "k3", "k4") }

func (c *comparison) subscription() []string {
	switch c.rng.IntN(5) {
	case 0:
		return []string{"UNSUBSCRIBE"}
	case 1:
		return []string{"UNSUBSCRIBE", c.pick("a", "b", "c")}
	case 2:
		return []string{"PSUBSCRIBE", c.pick("p:*", "?")}
	case 3:
		return []string{"PUNSUBSCRIBE"}
	default:
		return []string{"SUBSCRIBE", c.pick("a", "b", "c"), c.pick("a", "b", "p:1")}
	}
}

func (c *comparison) command() []string {
	commands := [][]string{
		{"GET", c.key()}, {"SET", c.key(), c.text()}, {"SET", c.key(), c.text(), "NX"}, {"SET", c.key(), c.text(), "EX", "100"},
		{"SET", c.key(), c.text(), "EX", "0"}, {"SET", c.key(), c.text(), "PX", "100000"}, {"SET", c.key(), c.text(), "WHAT"}, {"DEL", c.key(), c.key()},
		{"EXISTS", c.key(), c.key()}, {"TYPE", c.key()}, {"EXPIRE", c.key(), c.pick("100", "-1", "x")}, {"TTL", c.key()},
		{"HSET", c.key(), "f", c.text(), "g", c.number()}, {"HSET", c.key(), "f", "1", "g"}, {"HSETNX", c.key(), c.pick("f", "h"), c.text()},
		{"HINCRBY", c.key(), c.pick("f", "g", "n"), c.pick("1", "-3", "x")}, {"HGET", c.key(), "f"}, {"HDEL", c.key(), "f", c.pick("f", "g", "none")}, {"HMGET", c.key(), "f", "g", "none"},
		{"LPUSH", c.key(), c.text(), c.number()}, {"LPUSH", c.key(), c.text()}, {"LTRIM", c.key(), c.number(), c.number()},
		{"LTRIM", c.key(), "0", "5"}, {"LRANGE", c.key(), c.number(), c.number()}, {"LRANGE", c.key(), "0", "-1"},
		{"LINDEX", c.key(), c.number()}, {"LLEN", c.key()}, {"PUBSUB", "NUMSUB", "a", "b"}, {"PUBSUB", "NUMPAT"}, {"PING"},
		{"PUBLISH", "a", c.text()}, {"NOSUCH", "x", "y"}, {"GET"}, {"EXEC"}, {"DISCARD"}, {"LRANGE", c.key(), "x", "1"},
	}
	return commands[c.rng.IntN(len(commands))]
}

// script is one of the gateway's, or a small one that shows how values are converted.
func (c *comparison) script() []string {
	name := c.pick("x", "y")
	keys := []string{"{" + name + "}:history", "{" + name + "}:meta"}
	nonce := func() string { return "nonce0000" + c.pick("0", "4", "8", "c", "g", "z") } // the last one is none
	rule := []string{"live:" + name, "3", "100", "200", "60", nonce()}
	event := func() []string {
		return []string{c.pick("", "note"), c.pick(`{"a":1.0}`, `[]`, `"t"`), c.pick("", "id", "progress"), "1", c.pick("", "", "7"),
			nonce(), c.pick("", "", "", "", "1")}
	}
	switch c.rng.IntN(8) {
	case 0, 1, 2:
		args := slices.Concat(rule, []string{"300"})
		for range 1 + c.rng.IntN(3) {
			once := c.pick("", "1")
			if once != "" {
				keys = append(keys, "{"+name+"}:once:"+c.number())
			}
			args = slices.Concat(args, event(), []string{c.pick("", "1"), once})
		}
		return slices.Concat([]string{"EVAL", c.scripts["append"], strconv.Itoa(len(keys))}, keys, args)
	case 3, 4:
		message := func() []string {
			return slices.Concat([]string{c.pick("", "", `"no good"`), `"payload"`}, event())
		}
		return slices.Concat([]string{"EVAL", c.scripts["adopt"], "4"}, keys, []string{"{" + name + "}:adopted:m", "{" + name + "}:rejected"},
			rule, []string{c.pick("1", "2", "3"), "m", "3600", "100", "600", "notices", name, c.pick("", "1")},
			message(), message())
	case 5:
		return slices.Concat([]string{"EVAL", c.scripts["read"], "2"}, keys,
			[]string{c.pick("", "1", "3", "9"), c.pick("", "1", "2"), c.pick("0", "1", "2", "5", "-1", "-2")})
	default:
		return []string{"EVAL", c.pick(
			"return {1, 2.9, 'a', false, 'never'}", "return {true, {1, {2}}}", "return redis.status_reply('FINE')",
			"return redis.error_reply('BAD luck')", "return nil", "return redis.call('HMGET', KEYS[1], 'f', 'none')",
			"return redis.pcall('LPUSH', KEYS[1])", "return redis.call('NOSUCH')", "return redis.call('SUBSCRIBE', 'a')",
			"redis.call('SET', KEYS[1], 'half'); error('stop')", "return redis.call('INCR')", "return #ARGV .. KEYS[1]",
			"return tonumber('x')", "return redis.call('LPUSH', KEYS[1], 1, 2.5, 1e15)", "not lua",
		), "1", c.key(), "argument"}
	}
}

// peer is a connection on which commands are sent and everything that comes back is read.
type peer struct {
	conn net.Conn
	in   *bufio.Reader
	asks int
}

func newPeer(conn net.Conn) *peer { return &peer{conn: conn, in: bufio.NewReader(conn)} }

// ask sends commands and returns all replies and messages up to the reply to a PING behind them.
func (p *peer) ask(t *testing.T, commands ...[]string) (replies []string) {
	t.Helper()
	p.asks++
	mark := fmt.Sprintf("mark-%d", p.asks)
	var b []byte
	for _, args := range append(slices.Clone(commands), []string{"PING", mark}) {
		b = fmt.Appendf(b, "*%d\r\n", len(args))
		for _, a := range args {
			b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(a), a)
		}
	}
	// A machine with much to do takes any time for an answer, so only the end of the whole test run bounds the wait.
	if end, ok := t.Deadline(); ok {
		if err := p.conn.SetDeadline(end.Add(-5 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.conn.Write(b); err != nil {
		t.Fatal(err)
	}
	for {
		text, err := p.value()
		if err != nil {
			t.Fatalf("after %q: %v", replies, err)
		}
		if strings.Contains(text, mark) {
			return replies
		}
		replies = append(replies, withoutClocks(text))
	}
}

// clocks are times in milliseconds, which differ between the two.
var clocks = regexp.MustCompile(`"time(stamp)?":\d+`)

// withoutClocks leaves out what is not compared: times, and of a failed script everything but the first word.
func withoutClocks(text string) string {
	text = clocks.ReplaceAllString(text, `"time":0`)
	if strings.HasPrefix(text, "-") && strings.Contains(text, "script") {
		text, _, _ = strings.Cut(text, " ")
	}
	return text
}

var left = regexp.MustCompile(`(unsubscribe\r\n)\$\d+\r\n[^\r]*`)

// unordered takes out what is in no order in Redis: the names that an UNSUBSCRIBE without names answers.
func unordered(replies []string) {
	for i := range replies {
		replies[i] = left.ReplaceAllString(replies[i], "${1}name")
	}
}

// value reads one value as text. The elements of an array are part of it; those of an EXEC are too, as far as the array
// counts them.
func (p *peer) value() (string, error) {
	line, err := p.in.ReadString('\n')
	if err != nil {
		return "", err
	}
	n, _ := strconv.Atoi(strings.TrimSpace(line[1:]))
	switch line[0] {
	case '$':
		if n < 0 {
			return line, nil
		}
		body := make([]byte, n+2)
		if _, err := io.ReadFull(p.in, body); err != nil {
			return "", err
		}
		return line + string(body), nil
	case '%':
		n *= 2
		fallthrough
	case '*', '>':
		out := line
		for range n {
			element, err := p.value()
			if err != nil {
				return "", err
			}
			out += withoutClocks(element)
		}
		return out, nil
	default:
		return line, nil
	}
}
