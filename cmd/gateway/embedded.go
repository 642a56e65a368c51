package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"syscall"

	"github.com/alicebob/miniredis/v2"
)

// embeddedAddr is where the embedded Redis listens, unless another program does. redis-cli uses it without an option.
const embeddedAddr = "127.0.0.1:6379"

// embedded is a Redis inside this process, so that Sluice can be tried out without one. It listens on the loopback address
// only.
type embedded struct {
	redis    *miniredis.Miniredis
	listener net.Listener
	serving  sync.WaitGroup
}

// startEmbedded starts the embedded Redis. Close must be called.
func startEmbedded() (*embedded, error) {
	listener, err := net.Listen("tcp", embeddedAddr)
	for port := 6380; port < 6400 && errors.Is(err, syscall.EADDRINUSE); port++ {
		listener, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(port)))
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		listener, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, fmt.Errorf("start the embedded Redis: %w", err)
	}
	return serveEmbedded(listener)
}

// serveEmbedded serves an embedded Redis on a listener.
func serveEmbedded(listener net.Listener) (*embedded, error) {
	e := &embedded{redis: miniredis.NewMiniRedis(), listener: listener}
	e.redis.ClockTTL(true)       // otherwise keys would not expire
	first, err := e.redis.Dial() // makes its server, without a listener
	if err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("start the embedded Redis: %w", err)
	}
	_ = first.Close()
	server := e.redis.Server()
	e.serving.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			server.ServeConn(&checkedConn{Conn: c})
		}
	})
	return e, nil
}

// Addr returns the address on which the embedded Redis listens.
func (e *embedded) Addr() string { return e.listener.Addr().String() }

// Close ends the embedded Redis. It forgets everything.
func (e *embedded) Close() {
	_ = e.listener.Close()
	e.serving.Wait()
	e.redis.Close()
}

// Bounds of a command.
const (
	commandArgs  = 1 << 20  // as in Redis
	commandBytes = 64 << 20 // of an argument
	commandLine  = 32       // of a line with a number
)

var errNoCommand = errors.New("not a command")

// checkedConn is a connection from which nothing but well-formed commands are read: arrays of bulk strings, as every client
// of Redis sends them (https://redis.io/docs/latest/develop/reference/protocol-spec/). miniredis panics on some others, and
// a panic ends the whole gateway.
type checkedConn struct {
	net.Conn
	line []byte // the beginning of a line with a number
	args int    // how many arguments of the command have not begun
	data int    // how many bytes of an argument, with its end, have not come
}

func (c *checkedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if bad := c.check(p[:n]); bad != nil {
		return 0, bad
	}
	return n, err
}

// check follows what is read.
func (c *checkedConn) check(b []byte) error {
	for len(b) > 0 {
		if c.data > 0 {
			n := min(c.data, len(b))
			c.data -= n
			b = b[n:]
			continue
		}
		part, rest, whole := bytes.Cut(b, []byte("\n"))
		if c.line = append(c.line, part...); len(c.line) > commandLine {
			return errNoCommand
		}
		if !whole {
			return nil
		}
		if err := c.number(); err != nil {
			return err
		}
		c.line, b = c.line[:0], rest
	}
	return nil
}

// number takes the number in a line: how many arguments there are, or how long one is.
func (c *checkedConn) number() error {
	text, ended := bytes.CutSuffix(c.line, []byte("\r"))
	if !ended || len(text) < 2 {
		return errNoCommand
	}
	n, err := strconv.ParseUint(string(text[1:]), 10, 31)
	switch {
	case err != nil:
		return errNoCommand
	case c.args == 0 && text[0] == '*' && n > 0 && n <= commandArgs:
		c.args = int(n)
	case c.args > 0 && text[0] == '$' && n <= commandBytes:
		c.args--
		c.data = int(n) + len("\r\n")
	default:
		return errNoCommand
	}
	return nil
}
