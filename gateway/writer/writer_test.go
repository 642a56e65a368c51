package writer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/gateway/wire"
	"sluice/pubsub"
)

// testConfig returns settings in which nothing but the heartbeat happens soon.
func testConfig(heartbeat time.Duration) Config {
	return Config{Heartbeat: heartbeat, Retry: func() time.Duration { return 1500 * time.Millisecond }}.withDefaults()
}

// tcpPair returns the two ends of a TCP connection on loopback.
func tcpPair(t testing.TB) (server *net.TCPConn, client net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if client, err = net.Dial("tcp", listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn), client
}

// plainConn is a Conn without buffers of its own.
type plainConn struct{ net.Conn }

func (plainConn) Flush() error { return nil }

// drainTime is the time within which carriedStream.drain ends a stream.
const drainTime = 500 * time.Millisecond

// carriedStream is a stream that a writer carries, with the client's end of its connection.
type carriedStream struct {
	client net.Conn
	drain  func()     // at once
	ended  chan error // gets the reason
}

// eachWriter runs test with every writer that the system has. carry hands a stream to the writer.
func eachWriter(t *testing.T, test func(t *testing.T, carry func(cfg Config, src Source, feed *pubsub.Feed) carriedStream)) {
	t.Run("goroutine", func(t *testing.T) {
		test(t, func(cfg Config, src Source, feed *pubsub.Feed) carriedStream {
			server, client := tcpPair(t)
			BoundConn(t.Context(), server)
			ctx, leave := context.WithCancel(context.Background())
			drain, beginDrain := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			var wg sync.WaitGroup
			wg.Go(func() {
				// net/http ends a request's context when the client closes its connection.
				_, _ = io.Copy(io.Discard, server)
				leave()
			})
			wg.Go(func() {
				ended <- Carry(ctx, plainConn{server}, Stream{Source: src, Feed: feed}, cfg,
					Drain{drain, drainTime})
				server.Close()
			})
			t.Cleanup(func() {
				leave()
				beginDrain()
				server.Close()
				wg.Wait()
			})
			return carriedStream{client, beginDrain, ended}
		})
	})
	t.Run("epoll", func(t *testing.T) {
		test(t, func(cfg Config, src Source, feed *pubsub.Feed) carriedStream {
			loops, err := StartLoops(cfg)
			if errors.Is(err, errors.ErrUnsupported) {
				t.Skip("this system has no epoll")
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(loops.Close)
			server, client := tcpPair(t)
			ended := make(chan error, 1)
			loops.Take(server, Stream{Source: src, Feed: feed, Done: func(reason error) { ended <- reason }})
			return carriedStream{client, func() { loops.Drain(drainTime) }, ended}
		})
	})
}

// reason returns why the stream ended.
func (c carriedStream) reason(t *testing.T) error {
	t.Helper()
	select {
	case reason := <-c.ended:
		return reason
	case <-time.After(30 * time.Second):
		t.Fatal("the stream does not end")
		return nil
	}
}

func TestAClientThatReadsNothingIsEndedAsTooSlow(t *testing.T) {
	eachWriter(t, func(t *testing.T, carry func(Config, Source, *pubsub.Feed) carriedStream) {
		cfg := testConfig(time.Hour) // a reminder for the heartbeat would come far too late
		cfg.Stall = 300 * time.Millisecond
		feed := pubsub.NewFeed(64 << 20)
		c := carry(cfg, pubsub.NewStream(feed, nil), feed)
		for range 40 { // far more than the kernel keeps for one connection
			feed.Write(bytes.Repeat([]byte("x"), 1<<20))
		}
		if reason := c.reason(t); !errors.Is(reason, pubsub.ErrTooSlow) {
			t.Errorf("the stream ended with %v, want ErrTooSlow", reason)
		}
	})
}

func TestAClientThatReadsSlowlyButReadsIsNotEnded(t *testing.T) {
	eachWriter(t, func(t *testing.T, carry func(Config, Source, *pubsub.Feed) carriedStream) {
		cfg := testConfig(time.Hour)
		cfg.Stall = 2 * time.Second
		feed := pubsub.NewFeed(64 << 20)
		c := carry(cfg, pubsub.NewStream(feed, nil), feed)
		const frame, frames = 1 << 20, 16
		for range frames {
			feed.Write(bytes.Repeat([]byte("x"), frame))
		}
		// The whole takes twice as long as a client may take nothing.
		pace := time.NewTicker(cfg.Stall / 8)
		defer pace.Stop()
		for range frames {
			<-pace.C
			if _, err := io.CopyN(io.Discard, c.client, frame); err != nil {
				t.Fatalf("the stream ended: %v", err)
			}
		}
		c.client.Close()
		if reason := c.reason(t); errors.Is(reason, pubsub.ErrTooSlow) {
			t.Errorf("the stream ended with %v, want the client's leaving", reason)
		}
	})
}

func TestADrainedStreamEndsWithATimeToComeBack(t *testing.T) {
	eachWriter(t, func(t *testing.T, carry func(Config, Source, *pubsub.Feed) carriedStream) {
		feed := pubsub.NewFeed(1 << 20)
		c := carry(testConfig(time.Hour), pubsub.NewStream(feed, []byte("data: first\n\n")), feed)
		feed.Write([]byte("data: second\n\n"))
		read := make([]byte, len("data: first\n\ndata: second\n\n"))
		if _, err := io.ReadFull(c.client, read); err != nil {
			t.Fatal(err)
		}
		c.drain()
		rest, err := io.ReadAll(c.client)
		if got := string(read) + string(rest); err != nil || got != "data: first\n\ndata: second\n\nretry: 1500\n\n" {
			t.Errorf("got %q, error %v", got, err)
		}
		if reason := c.reason(t); !errors.Is(reason, ErrDraining) {
			t.Errorf("the stream ended with %v, want ErrDraining", reason)
		}
	})
}

func TestAClientThatReadsNothingDoesNotHoldUpADrain(t *testing.T) {
	eachWriter(t, func(t *testing.T, carry func(Config, Source, *pubsub.Feed) carriedStream) {
		feed := pubsub.NewFeed(64 << 20)
		c := carry(testConfig(time.Hour), pubsub.NewStream(feed, []byte("data: 1\n\n")), feed)
		for range 40 { // far more than the kernel keeps for one connection
			feed.Write(bytes.Repeat([]byte("x"), 1<<20))
		}
		if _, err := io.ReadFull(c.client, make([]byte, 100)); err != nil { // so the writer has begun
			t.Fatal(err)
		}
		c.drain()
		if reason := c.reason(t); !errors.Is(reason, ErrDraining) || errors.Is(reason, pubsub.ErrTooSlow) {
			t.Errorf("the stream ended with %v, want ErrDraining", reason)
		}
	})
}

func TestAStreamThatWasFullForAMomentGetsItsHeartbeatsInTime(t *testing.T) {
	eachWriter(t, func(t *testing.T, carry func(Config, Source, *pubsub.Feed) carriedStream) {
		cfg := testConfig(time.Second)
		cfg.Stall = time.Hour // a heartbeat that waits for this never comes
		feed := pubsub.NewFeed(64 << 20)
		c := carry(cfg, pubsub.NewStream(feed, nil), feed)
		const frame, frames = 1 << 20, 16 // far more than the kernel keeps for one connection
		for range frames {
			feed.Write(bytes.Repeat([]byte("x"), frame))
		}
		if _, err := io.CopyN(io.Discard, c.client, frame*frames); err != nil {
			t.Fatal(err)
		}
		if err := c.client.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		beat := make([]byte, len(wire.Heartbeat))
		if _, err := io.ReadFull(c.client, beat); err != nil || string(beat) != wire.Heartbeat {
			t.Errorf("got %q, error %v; want a heartbeat", beat, err)
		}
	})
}

// script is a Source that says what its steps say, one after the other.
type script struct {
	mu    sync.Mutex
	rest  []byte
	steps []step
}

// step is what a source does once it has nothing more to write.
type step struct {
	text string // becomes due
	err  error  // or is returned by Due
	wait error  // returned by the wait of Advance, after err was ErrBehind
	free chan struct{}
}

func (s *script) Due(*pubsub.Answer) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.rest) == 0 && len(s.steps) > 0 {
		if s.steps[0].err != nil {
			return nil, s.steps[0].err
		}
		s.rest, s.steps = []byte(s.steps[0].text), s.steps[1:]
	}
	return s.rest, nil
}

func (s *script) Took(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rest = s.rest[n:]
}

func (s *script) Prepend(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rest = append(bytes.Clone(b), s.rest...)
}

func (s *script) Advance() func(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.steps[0]
	if st.free == nil {
		s.steps = s.steps[1:]
		return nil
	}
	return func(ctx context.Context) error {
		select {
		case <-st.free:
		case <-ctx.Done():
			return ctx.Err()
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.steps[0].free = nil
		return st.wait
	}
}

func TestAStreamThatMustWaitForItsPastGoesOnWithoutADuplicate(t *testing.T) {
	eachWriter(t, func(t *testing.T, carry func(Config, Source, *pubsub.Feed) carriedStream) {
		free := make(chan struct{})
		src := &script{steps: []step{
			{text: "one "}, {err: pubsub.ErrBehind}, {text: "two "}, {err: pubsub.ErrBehind, free: free}, {text: "three"},
			{err: pubsub.ErrEnded},
		}}
		c := carry(testConfig(time.Hour), src, pubsub.NewFeed(1<<10))
		read := make([]byte, len("one two "))
		if _, err := io.ReadFull(c.client, read); err != nil {
			t.Fatal(err)
		}
		close(free)
		rest, err := io.ReadAll(c.client)
		if got := string(read) + string(rest); err != nil || got != "one two three" {
			t.Errorf("got %q, error %v", got, err)
		}
		if reason := c.reason(t); !errors.Is(reason, pubsub.ErrEnded) {
			t.Errorf("the stream ended with %v, want ErrEnded", reason)
		}
	})
}

func TestAStreamWhosePastCannotBeReadSaysSo(t *testing.T) {
	eachWriter(t, func(t *testing.T, carry func(Config, Source, *pubsub.Feed) carriedStream) {
		free := make(chan struct{})
		close(free)
		broken := errors.New("Redis is away")
		src := &script{steps: []step{{err: pubsub.ErrBehind, free: free, wait: broken}}}
		c := carry(testConfig(time.Hour), src, pubsub.NewFeed(1<<10))
		if reason := c.reason(t); !errors.Is(reason, ErrUnavailable) || !errors.Is(reason, broken) {
			t.Errorf("the stream ended with %v, want ErrUnavailable and its cause", reason)
		}
	})
}

// A client that leaves while its stream waits for its past ends the stream; the goroutine that waits ends too (StartLoops
// and Carry wait for it).
func TestAClientMayLeaveWhileItsStreamWaits(t *testing.T) {
	eachWriter(t, func(t *testing.T, carry func(Config, Source, *pubsub.Feed) carriedStream) {
		src := &script{steps: []step{{text: "one"}, {err: pubsub.ErrBehind, free: make(chan struct{})}}}
		c := carry(testConfig(time.Hour), src, pubsub.NewFeed(1<<10))
		if _, err := io.ReadFull(c.client, make([]byte, 3)); err != nil {
			t.Fatal(err)
		}
		c.client.Close()
		c.reason(t)
	})
}

func TestASilentStreamGetsHeartbeatsAndABusyOneNone(t *testing.T) {
	eachWriter(t, func(t *testing.T, carry func(Config, Source, *pubsub.Feed) carriedStream) {
		feed := pubsub.NewFeed(1 << 20)
		c := carry(testConfig(time.Second), pubsub.NewStream(feed, nil), feed)
		read := make([]byte, 2*len(wire.Heartbeat))
		if _, err := io.ReadFull(c.client, read); err != nil || string(read) != strings.Repeat(wire.Heartbeat, 2) {
			t.Fatalf("got %q, error %v", read, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		feed := pubsub.NewFeed(1 << 20)
		var got fakeConn
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- Carry(ctx, &got, Stream{Source: pubsub.NewStream(feed, nil), Feed: feed}, testConfig(10*time.Second),
				Drain{Begin: t.Context()})
		}()
		var want strings.Builder
		for i := range 10 {
			time.Sleep(9 * time.Second) // the bubble's time
			frame := fmt.Sprintf("data: %d\n\n", i)
			feed.Write([]byte(frame))
			want.WriteString(frame)
		}
		time.Sleep(21 * time.Second)
		synctest.Wait()
		cancel()
		<-ended
		want.WriteString(strings.Repeat(wire.Heartbeat, 2))
		if got.String() != want.String() {
			t.Errorf("got %q, want %q", got.String(), want.String())
		}
	})
}

// fakeConn is a Conn that keeps what is written.
type fakeConn struct{ bytes.Buffer }

func (*fakeConn) Flush() error                     { return nil }
func (*fakeConn) SetWriteDeadline(time.Time) error { return nil }
