package writer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
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
	listener = Bound(listener)
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

// retryLine is what a stream begins with, under testConfig.
const retryLine = "retry: 1500\n"

// carriedStream is a stream that a writer carries, with the client's end of its connection.
type carriedStream struct {
	client net.Conn
	drain  func()     // at once
	sweep  func()     // asks Config.Revoked again
	ended  chan error // gets the reason
}

// carryFunc hands a stream to a writer. Options change the stream before.
type carryFunc func(cfg Config, src Source, feed *pubsub.Feed, options ...func(*Stream)) carriedStream

func streamOf(src Source, feed *pubsub.Feed, options []func(*Stream)) Stream {
	st := Stream{Source: src, Feeds: []*pubsub.Feed{feed}}
	for _, change := range options {
		change(&st)
	}
	return st
}

// expiringIn lets a stream expire.
func expiringIn(d time.Duration) func(*Stream) {
	return func(st *Stream) { st.Expires = time.Now().Add(d) }
}

// eachWriter runs test with every writer that the system has. carry hands a stream to the writer.
func eachWriter(t *testing.T, test func(t *testing.T, carry carryFunc)) {
	t.Run("goroutine", func(t *testing.T) {
		test(t, func(cfg Config, src Source, feed *pubsub.Feed, options ...func(*Stream)) carriedStream {
			server, client := tcpPair(t)
			ctx, leave := context.WithCancel(context.Background())
			drain, beginDrain := context.WithCancel(context.Background())
			first, sweep := context.WithCancel(context.Background())
			cfg.Swept = func() <-chan struct{} {
				if first.Err() != nil {
					return nil // there is one sweep in a test
				}
				return first.Done()
			}
			ended := make(chan error, 1)
			var wg sync.WaitGroup
			wg.Go(func() {
				// net/http ends a request's context when the client closes its connection.
				_, _ = io.Copy(io.Discard, server)
				leave()
			})
			wg.Go(func() {
				ended <- Carry(ctx, plainConn{server}, streamOf(src, feed, options), cfg, Drain{drain, drainTime})
				server.Close()
			})
			t.Cleanup(func() {
				sweep()
				leave()
				beginDrain()
				server.Close()
				wg.Wait()
			})
			return carriedStream{client, beginDrain, sweep, ended}
		})
	})
	t.Run("epoll", func(t *testing.T) {
		test(t, func(cfg Config, src Source, feed *pubsub.Feed, options ...func(*Stream)) carriedStream {
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
			st := streamOf(src, feed, options)
			st.Done = func(reason error) { ended <- reason }
			loops.Take(server, nil, false, st)
			server.Close()
			return carriedStream{client, func() { loops.Drain(drainTime) }, loops.Sweep, ended}
		})
	})
}

// wantNext reads as much as want is, and compares.
func (c carriedStream) wantNext(t *testing.T, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c.client, got); err != nil || string(got) != want {
		t.Fatalf("the stream goes on with %q, error %v; want %q", got[:n], err, want)
	}
}

// wantRest reads to the end of the connection, and compares.
func (c carriedStream) wantRest(t *testing.T, want string) {
	t.Helper()
	if got, err := io.ReadAll(c.client); err != nil || string(got) != want {
		t.Fatalf("the stream ends with %q, error %v; want %q", got, err, want)
	}
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
	eachWriter(t, func(t *testing.T, carry carryFunc) {
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
	eachWriter(t, func(t *testing.T, carry carryFunc) {
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
	eachWriter(t, func(t *testing.T, carry carryFunc) {
		feed := pubsub.NewFeed(1 << 20)
		c := carry(testConfig(time.Hour), pubsub.NewStream(feed, []byte("data: first\n\n")), feed)
		feed.Write([]byte("data: second\n\n"))
		c.wantNext(t, retryLine+"data: first\n\ndata: second\n\n")
		c.drain()
		c.wantRest(t, retryLine)
		if reason := c.reason(t); !errors.Is(reason, ErrDraining) {
			t.Errorf("the stream ended with %v, want ErrDraining", reason)
		}
	})
}

func TestAStreamThatExpiresSaysSoAndBreaksOff(t *testing.T) {
	eachWriter(t, func(t *testing.T, carry carryFunc) {
		feed := pubsub.NewFeed(1 << 20)
		c := carry(testConfig(time.Hour), pubsub.NewStream(feed, []byte("data: first\n\n")), feed, expiringIn(2*time.Second))
		long := carry(testConfig(time.Second), pubsub.NewStream(feed, []byte("data: long\n\n")), feed, expiringIn(time.Hour))
		long.wantNext(t, retryLine+"data: long\n\n")
		c.wantRest(t, retryLine+"data: first\n\n"+wire.Expired)
		if reason := c.reason(t); !errors.Is(reason, ErrExpired) {
			t.Errorf("the stream ended with %v, want ErrExpired", reason)
		}
		long.wantNext(t, wire.Heartbeat)
		feed.Write([]byte("data: second\n\n"))
		if _, err := io.CopyN(io.Discard, long.client, 1); err != nil {
			t.Errorf("a stream that expires later: %v", err)
		}
		if gone := carry(testConfig(time.Hour), pubsub.NewStream(feed, nil), feed, expiringIn(-time.Second)); !errors.Is(gone.reason(t), ErrExpired) {
			t.Error("a stream that expired before it began goes on")
		}
	})
}

func TestAStreamWhoseClientMayNotReadAnyMoreEndsAtTheNextSweep(t *testing.T) {
	eachWriter(t, func(t *testing.T, carry carryFunc) {
		var revoked atomic.Bool
		cfg := testConfig(time.Hour)
		cfg.Revoked = func(Source) bool { return revoked.Load() }
		feed := pubsub.NewFeed(1 << 20)
		c := carry(cfg, pubsub.NewStream(feed, []byte("data: first\n\n")), feed)
		c.wantNext(t, retryLine+"data: first\n\n")
		revoked.Store(true)
		c.sweep()
		c.wantRest(t, wire.Revoked)
		if reason := c.reason(t); !errors.Is(reason, ErrRevoked) {
			t.Errorf("the stream ended with %v, want ErrRevoked", reason)
		}
		late := carry(cfg, pubsub.NewStream(feed, nil), feed)
		if reason := late.reason(t); !errors.Is(reason, ErrRevoked) {
			t.Errorf("a stream that began after the sweep ended with %v, want ErrRevoked", reason)
		}
	})
}

func TestAStreamThatIsAlwaysBusyExpiresBetweenTwoFrames(t *testing.T) {
	eachWriter(t, func(t *testing.T, carry carryFunc) {
		feed := pubsub.NewFeed(1 << 20)
		c := carry(testConfig(time.Hour), pubsub.NewStream(feed, nil), feed, expiringIn(2*time.Second))
		stop, wrote := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(wrote)
			for tick := time.NewTicker(time.Millisecond); ; <-tick.C {
				select {
				case <-stop:
					tick.Stop()
					return
				default:
					feed.Write([]byte("data: x\n\n"))
				}
			}
		}()
		all, err := io.ReadAll(c.client)
		close(stop)
		<-wrote
		text, said := strings.CutSuffix(string(all), wire.Expired)
		if err != nil || !said || retryLine+strings.Repeat("data: x\n\n", strings.Count(text, "data")) != text {
			t.Errorf("the stream ends with %q, error %v", all[max(0, len(all)-200):], err)
		}
	})
}

func TestAStreamThatIsFullExpiresWithoutAWord(t *testing.T) {
	eachWriter(t, func(t *testing.T, carry carryFunc) {
		feed := pubsub.NewFeed(64 << 20)
		cfg := testConfig(time.Hour)
		cfg.Stall = 5 * time.Second
		c := carry(cfg, pubsub.NewStream(feed, nil), feed, expiringIn(2*time.Second))
		for range 40 { // far more than the kernel keeps for one connection
			feed.Write(bytes.Repeat([]byte("x"), 1<<20))
		}
		if reason := c.reason(t); !errors.Is(reason, ErrExpired) && !errors.Is(reason, pubsub.ErrTooSlow) {
			t.Errorf("the stream ended with %v", reason)
		}
		if all, _ := io.ReadAll(c.client); bytes.Contains(all, []byte("event:")) {
			t.Error("an event in the middle of a frame")
		}
	})
}

func TestAClientThatReadsNothingDoesNotHoldUpADrain(t *testing.T) {
	eachWriter(t, func(t *testing.T, carry carryFunc) {
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
	eachWriter(t, func(t *testing.T, carry carryFunc) {
		cfg := testConfig(time.Second)
		cfg.Stall = time.Hour // a heartbeat that waits for this never comes
		feed := pubsub.NewFeed(64 << 20)
		c := carry(cfg, pubsub.NewStream(feed, nil), feed)
		const frame, frames = 1 << 20, 16 // far more than the kernel keeps for one connection
		for range frames {
			feed.Write(bytes.Repeat([]byte("x"), frame))
		}
		if _, err := io.CopyN(io.Discard, c.client, int64(len(retryLine))+frame*frames); err != nil {
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
	steps []step
	idle  string
}

// step is what a source says next.
type step struct {
	text string        // returned by Next
	err  error         // or this is
	free chan struct{} // after ErrBehind: what the wait of Advance waits for; nil: Advance does not wait
	wait error         // what that wait returns
}

func (s *script) Next(*pubsub.Answer) (b []byte, same bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.steps) == 0 {
		return nil, false, nil
	}
	st := s.steps[0]
	if st.err != nil {
		return nil, false, st.err
	}
	s.steps = s.steps[1:]
	return []byte(st.text), false, nil
}

func (s *script) Idle() []byte { return []byte(s.idle) }

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
	eachWriter(t, func(t *testing.T, carry carryFunc) {
		free := make(chan struct{})
		src := &script{steps: []step{
			{text: "one "}, {err: pubsub.ErrBehind}, {text: "two "}, {err: pubsub.ErrBehind, free: free}, {text: "three"},
			{err: pubsub.ErrEnded},
		}}
		c := carry(testConfig(time.Hour), src, pubsub.NewFeed(1<<10))
		c.wantNext(t, retryLine+"one two ")
		close(free)
		c.wantRest(t, "three")
		if reason := c.reason(t); !errors.Is(reason, pubsub.ErrEnded) {
			t.Errorf("the stream ended with %v, want ErrEnded", reason)
		}
	})
}

func TestAStreamWhosePastCannotBeReadSaysSo(t *testing.T) {
	eachWriter(t, func(t *testing.T, carry carryFunc) {
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
	eachWriter(t, func(t *testing.T, carry carryFunc) {
		src := &script{steps: []step{{text: "one"}, {err: pubsub.ErrBehind, free: make(chan struct{})}}}
		c := carry(testConfig(time.Hour), src, pubsub.NewFeed(1<<10))
		c.wantNext(t, retryLine+"one")
		c.client.Close()
		c.reason(t)
	})
}

func TestASilentStreamGetsHeartbeatsAndABusyOneNone(t *testing.T) {
	eachWriter(t, func(t *testing.T, carry carryFunc) {
		feed := pubsub.NewFeed(1 << 20)
		c := carry(testConfig(time.Second), pubsub.NewStream(feed, []byte("data: 1\n\n")), feed)
		c.wantNext(t, retryLine+"data: 1\n\n"+strings.Repeat(wire.Heartbeat, 2))
	})
	synctest.Test(t, func(t *testing.T) {
		feed := pubsub.NewFeed(1 << 20)
		var got fakeConn
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- Carry(ctx, &got, Stream{Source: pubsub.NewStream(feed, nil), Feeds: []*pubsub.Feed{feed}}, testConfig(10*time.Second),
				Drain{Begin: t.Context()})
		}()
		var want strings.Builder
		want.WriteString(retryLine)
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

// The epoll writer makes its chunks itself. net/http reads them here, as any client does.
func TestChunksEndCleanlyOnlyWhenTheStreamHasEndedForGood(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, c := range []struct {
		name  string
		last  step
		drain bool
		body  string
		err   error
	}{
		{"a stream that has ended", step{err: pubsub.ErrEnded}, false, retryLine + "one two", nil},
		{"a stream that is too slow", step{err: pubsub.ErrTooSlow}, false, retryLine + "one two", io.ErrUnexpectedEOF},
		{"a stream that is drained", step{}, true, retryLine + "one two" + retryLine, io.ErrUnexpectedEOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			loops, err := StartLoops(testConfig(time.Hour))
			if errors.Is(err, errors.ErrUnsupported) {
				t.Skip("this system has no epoll")
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(loops.Close)
			server, client := tcpPair(t)
			src := &script{steps: []step{{text: "one "}, {text: "two"}, c.last}}
			loops.Take(server, []byte(head), true, Stream{Source: src, Feeds: []*pubsub.Feed{pubsub.NewFeed(1 << 10)}, Done: func(error) {}})
			server.Close()
			if c.drain {
				loops.Drain(0)
			}
			response, err := http.ReadResponse(bufio.NewReader(client), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if string(body) != c.body || !errors.Is(err, c.err) {
				t.Errorf("got %q, error %v; want %q, error %v", body, err, c.body, c.err)
			}
		})
	}
}

// A client that reads in small pieces leaves the socket full again and again, in the middle of frames.
func TestAClientThatLeavesTheSocketFullGetsEveryByteOnce(t *testing.T) {
	eachWriter(t, func(t *testing.T, carry carryFunc) {
		feed := pubsub.NewFeed(32 << 20)
		c := carry(testConfig(time.Hour), pubsub.NewStream(feed, []byte("first\n")), feed)
		var want bytes.Buffer
		want.WriteString(retryLine + "first\n")
		for i := range 500 { // far more than the kernel keeps for one connection
			frame := fmt.Appendf(nil, "%d %s\n", i, strings.Repeat("x", i*100))
			feed.Write(frame)
			want.Write(frame)
		}
		got := make([]byte, 0, want.Len())
		for piece := make([]byte, 10_000); len(got) < want.Len(); {
			n, err := c.client.Read(piece)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, piece[:n]...)
		}
		if !bytes.Equal(got, want.Bytes()) {
			t.Error("got other bytes")
		}
	})
}
