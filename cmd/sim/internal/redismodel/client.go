package redismodel

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"sluice/cmd/sim/internal/network"
)

// client is one connection. Two goroutines serve it: read takes commands in and has them carried out, write sends
// what is in the output queue.
type client struct {
	server *Server
	conn   *network.Conn
	id     int
	signal chan struct{} // 1: output is not empty
	gone   chan struct{} // closed when the connection is over

	protocol int // 2 or 3; the reader's

	// The rest is guarded by server.mu.
	output    []byte
	since     time.Time // when the oldest byte of output was made
	sending   time.Time // the same of what is being written; zero: nothing is
	deferred  []byte    // messages of this connection to itself, until its command is done
	running   bool      // a command of this connection is being carried out
	forgotten time.Time // when its subscriptions were dropped; zero: never
	channels  []string  // subscribed, in the order of asking
	patterns  []string
	queued    [][]string // of a transaction
	multi     bool
	aborted   bool // the transaction will be refused
	ending    bool // closed by the server as soon as possible
	over      bool
}

// read takes commands in until the connection ends.
func (c *client) read() {
	defer c.server.drop(c)
	var pending []byte
	buffer := make([]byte, 16<<10)
	for {
		n, err := c.conn.Read(buffer)
		if err != nil {
			return
		}
		pending = append(pending, buffer[:n]...)
		var commands [][]string
		for {
			args, size, err := parseCommand(pending)
			if err != nil {
				return
			}
			if size == 0 {
				break
			}
			pending = pending[size:]
			if len(args) > 0 {
				commands = append(commands, args)
			}
		}
		if len(commands) > 0 && !c.serve(commands) {
			return
		}
	}
}

// serve carries out commands that came together. It reports whether the connection goes on.
func (c *client) serve(commands [][]string) bool {
	s := c.server
	s.turn <- struct{}{} // not a mutex: somebody may sleep while holding it
	defer func() { <-s.turn }()
	s.mu.Lock()
	late, thawed := s.late, s.thawed
	s.mu.Unlock()
	<-thawed
	if late > 0 {
		time.Sleep(late)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running {
		return false
	}
	if c.subscriptions() == 0 {
		c.conn.Delay(s.delayOf(c, commands))
	}
	for _, args := range commands {
		if c.over || c.ending {
			return false
		}
		c.running = true
		s.run(c, args)
		c.running = false
		if len(c.deferred) > 0 {
			c.append(c.deferred)
			c.deferred = nil
		}
	}
	return !c.ending
}

// delayOf is how late the replies to commands arrive; s.mu is held.
func (s *Server) delayOf(c *client, commands [][]string) time.Duration {
	for _, args := range commands {
		if cmd := known[strings.ToUpper(args[0])]; cmd.data {
			return s.lateReplies[c.conn.Peer()]
		}
	}
	return 0
}

// append puts bytes into the output queue; server.mu is held.
func (c *client) append(b []byte) {
	if c.over || c.ending {
		return
	}
	if len(c.output) == 0 {
		c.since = time.Now()
	}
	c.output = append(c.output, b...)
	if len(c.channels)+len(c.patterns) > 0 && len(c.output) > c.server.limit {
		c.server.log("redis: connection %d of %s is over its output limit", c.id, c.conn.Peer())
		c.end()
		return
	}
	select {
	case c.signal <- struct{}{}:
	default:
	}
}

// end closes the connection as soon as whoever is at work lets go of the server; server.mu is held.
func (c *client) end() {
	c.ending = true
	c.server.wg.Go(func() { c.server.drop(c) })
}

// push sends a message to a subscriber; server.mu is held.
func (c *client) push(b []byte) {
	if c.running && c.server.cfg.DeferPush {
		c.deferred = append(c.deferred, b...)
		return
	}
	c.append(b)
}

// write sends output until the connection ends.
func (c *client) write() {
	s := c.server
	for {
		select {
		case <-c.gone:
			return
		case <-c.signal:
		}
		s.mu.Lock()
		thawed := s.thawed
		s.mu.Unlock()
		select {
		case <-thawed:
		case <-c.gone:
			return
		}
		s.mu.Lock()
		b, since := c.output, c.since
		if c.ending || len(b) == 0 {
			s.mu.Unlock()
			continue
		}
		c.output, c.sending = nil, since
		s.mu.Unlock()
		_, err := c.conn.WriteStamped(b, since)
		if err != nil {
			s.drop(c)
			return
		}
		s.mu.Lock()
		c.sending = time.Time{}
		s.mu.Unlock()
	}
}

var errSyntax = errors.New("not a RESP command")

// parseCommand reads an array of bulk strings from the beginning of b. size is 0 if it is not there as a whole yet.
func parseCommand(b []byte) (args []string, size int, err error) {
	count, at, err := header(b, 0, '*')
	if err != nil || at == 0 {
		return nil, 0, err
	}
	for range count {
		length, next, err := header(b, at, '$')
		if err != nil || next == 0 || len(b) < next+length+2 {
			return nil, 0, err
		}
		args = append(args, string(b[next:next+length]))
		at = next + length + 2
	}
	return args, at, nil
}

// header reads a line that is a mark and a number; next is 0 if it is not there as a whole yet.
func header(b []byte, at int, mark byte) (n, next int, err error) {
	for end := at; end+1 < len(b); end++ {
		if b[end] != '\r' {
			continue
		}
		if b[at] != mark {
			return 0, 0, errSyntax
		}
		n, err = strconv.Atoi(string(b[at+1 : end]))
		if err != nil || n < 0 {
			return 0, 0, errSyntax
		}
		return n, end + 2, nil
	}
	return 0, 0, nil
}
