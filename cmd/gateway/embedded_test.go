package main

import (
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestNothingThatIsSentToTheEmbeddedRedisEndsTheGateway(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e, err := serveEmbedded(listener)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for _, text := range []string{
		"*-5\r\n$-7\r\n", "*0\r\n", "*-1\r\n", "*1\r\n$-7\r\n", "*1\r\n$9223372036854775807\r\nx", "*99999999999\r\n",
		"*2\r\n$4\r\nECHO\r\n$-1\r\n", "PING\r\n", "*1\r\n+PING\r\n", "*x\r\n", "\r\n", "*", "*1\n", strings.Repeat("*", 1000),
	} {
		c, err := net.Dial("tcp", e.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		_ = c.(*net.TCPConn).CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("%.40q: the connection is not closed", text)
		}
		_ = c.Close()
	}
	rdb := redis.NewClient(&redis.Options{Addr: e.Addr()})
	defer rdb.Close()
	large := strings.Repeat("x", 100_000)
	if err := rdb.Set(t.Context(), "k", large, 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got, err := rdb.Get(t.Context(), "k").Result(); err != nil || got != large {
		t.Errorf("got %d bytes and %v", len(got), err)
	}
}

func FuzzACommandIsCheckedTheSameHoweverItIsCut(f *testing.F) {
	f.Add([]byte("*2\r\n$4\r\nPING\r\n$1\r\nx\r\n*1\r\n$4\r\nPING\r\n"), 3)
	f.Add([]byte("*-5\r\n$-7\r\n"), 1)
	f.Add([]byte("*1\r\n$0\r\n\r\n"), 2)
	f.Fuzz(func(t *testing.T, text []byte, size int) {
		var whole, cut checkedConn
		wholeErr := whole.check(text)
		var cutErr error
		for part := range slices.Chunk(text, min(max(size, 1), 1000)) {
			if cutErr = cut.check(part); cutErr != nil {
				break
			}
		}
		if (wholeErr == nil) != (cutErr == nil) {
			t.Errorf("%q: %v as a whole, %v in parts", text, wholeErr, cutErr)
		}
	})
}
