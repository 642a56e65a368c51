package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"sluice/cmd/internal/rig"
)

// echo starts a server that sends back what it receives, and returns its address.
func echo(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

func throughProxy(t *testing.T) (*proxy, net.Conn, *bufio.Reader) {
	p, err := newProxy(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	c, err := net.Dial("tcp", p.addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return p, c, bufio.NewReader(c)
}

func say(t *testing.T, c net.Conn, line string) {
	if _, err := io.WriteString(c, line); err != nil {
		t.Fatal(err)
	}
}

func hear(c net.Conn, r *bufio.Reader, limit time.Duration) (string, error) {
	_ = c.SetReadDeadline(time.Now().Add(limit))
	return r.ReadString('\n')
}

func TestBytesHeldByAFrozenNetworkArriveAfterIt(t *testing.T) {
	p, c, r := throughProxy(t)
	p.set(freeze)
	say(t, c, "a\n")
	if got, err := hear(c, r, 50*time.Millisecond); err == nil {
		t.Fatalf("%q got through a frozen network", got)
	}
	p.set(pass)
	say(t, c, "b\n")
	for _, want := range []string{"a\n", "b\n"} {
		if got, err := hear(c, r, 5*time.Second); got != want {
			t.Fatalf("got %q %v, want %q", got, err, want)
		}
	}
}

func TestAConnectionThatLostBytesStaysDeadInSilence(t *testing.T) {
	p, c, r := throughProxy(t)
	p.set(swallow)
	say(t, c, "a\n")
	if got, err := hear(c, r, 50*time.Millisecond); err == nil {
		t.Fatalf("%q got through a black hole", got)
	}
	err := rig.Until(t.Context(), 5*time.Second, func(context.Context) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		for l := range p.links {
			if l.lostBytes {
				return nil
			}
		}
		return errors.New("no bytes are lost yet")
	})
	if err != nil {
		t.Fatal(err)
	}
	p.set(pass)
	say(t, c, "b\n")
	var timeout net.Error
	if got, err := hear(c, r, 50*time.Millisecond); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("got %q %v, want a connection that is open and silent", got, err)
	}
	again, err := net.Dial("tcp", p.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	say(t, again, "c\n")
	if got, err := hear(again, bufio.NewReader(again), 5*time.Second); got != "c\n" {
		t.Fatalf("a new connection got %q %v", got, err)
	}
}

func TestAConnectionThatLostNothingOutlivesABlackHole(t *testing.T) {
	p, c, r := throughProxy(t)
	say(t, c, "a\n")
	if got, err := hear(c, r, 5*time.Second); got != "a\n" {
		t.Fatal(got, err)
	}
	p.set(swallow)
	p.set(pass)
	say(t, c, "b\n")
	if got, err := hear(c, r, 5*time.Second); got != "b\n" {
		t.Fatal(got, err)
	}
	if p.cut() != 1 {
		t.Error("the proxy does not know its connection")
	}
	if _, err := hear(c, r, 5*time.Second); err == nil {
		t.Error("the connection survived being cut")
	}
}
