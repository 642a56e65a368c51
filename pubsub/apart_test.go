package pubsub_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"sluice/pubsub"
	"sluice/store"
	"sluice/store/storetest"
)

// between is a TCP proxy to a Redis: each connection is handled by a function, with the client's side and Redis's. Both are closed
// with the test.
func between(t *testing.T, to string, handle func(near, far net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			mu.Lock()
			conns = append(conns, near, far)
			mu.Unlock()
			wg.Go(func() { handle(near, far) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

// unanswered copies in both directions, until something comes that holds a text: then nothing goes to the client any more.
func unanswered(text string, hanging func()) func(near, far net.Conn) {
	return func(near, far net.Conn) {
		var silent sync.Once
		var wg sync.WaitGroup
		stop := make(chan struct{})
		wg.Go(func() {
			defer far.Close()
			buf := make([]byte, 64<<10)
			for {
				n, err := near.Read(buf)
				if bytes.Contains(buf[:n], []byte(text)) {
					silent.Do(func() { close(stop); hanging() })
				}
				if _, failed := far.Write(buf[:n]); err != nil || failed != nil {
					return
				}
			}
		})
		buf := make([]byte, 64<<10)
		for {
			n, err := far.Read(buf)
			select {
			case <-stop:
				_, _ = io.Copy(io.Discard, far)
				wg.Wait()
				return
			default:
			}
			if _, failed := near.Write(buf[:n]); err != nil || failed != nil {
				near.Close()
				wg.Wait()
				return
			}
		}
	}
}

func TestAHistoryThatRedisDoesNotAnswerHoldsUpNoOtherChannel(t *testing.T) {
	hangs := make(chan struct{}, 100)
	s := storetest.Real(t)
	a := start(t, between(t, s.Addr, unanswered("history:{progress:hung}", func() { hangs <- struct{}{} })), "a")
	ctx, leave := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer leave()
	wg.Go(func() { // a task's state is read before its first stream opens
		if _, err := a.Open(ctx, pubsub.Request{Channels: []string{"progress:hung"}, Encoder: encoder{}}); err == nil {
			t.Error("a stream of a channel that cannot be read is open")
		}
	})
	<-hangs
	began := time.Now()
	for i := range 20 {
		for _, channel := range []string{fmt.Sprint("new-", i), fmt.Sprint("progress:new-", i)} {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // less than the time after which a reading is given up
			st, err := a.Open(ctx, pubsub.Request{Channels: []string{channel}, Encoder: encoder{}})
			cancel()
			if err != nil {
				t.Fatalf("%s, beside a reading that hangs: %v after %v", channel, err, time.Since(began))
			}
			st.Close()
		}
	}
}

func TestMadeUpPlacesKeepNobodyElseFromAStream(t *testing.T) {
	s := storetest.Real(t)
	a := start(t, between(t, s.Addr, func(near, far net.Conn) {
		var wg sync.WaitGroup
		wg.Go(func() { late(near, far, 30*time.Millisecond) })
		wg.Go(func() { late(far, near, 30*time.Millisecond) })
		wg.Wait()
	}), "a")
	var names []string
	for i := range 30 {
		names = append(names, fmt.Sprintf("c%02d", i))
	}
	a.open(t, pubsub.Request{Channels: names})
	direct := start(t, s.Addr, "direct")
	for _, name := range names {
		direct.append(t, name, `1`)
	}
	ctx, stop := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	defer flood.Wait()
	defer stop()
	for i := range 60 {
		flood.Go(func() {
			name := names[i%len(names)]
			for ctx.Err() == nil {
				id := store.Position{Offset: 1000, Nonce: store.NewNonce()}.String()
				if st, err := a.Open(ctx, pubsub.Request{Channels: []string{name}, Encoder: encoder{}, LastEventID: id}); err == nil {
					st.Close()
				}
			}
		})
	}
	waitFor(t, "made-up places to be looked up", func() bool { return a.metric(t, "sluice_gaps_total") > 200 })
	var took []time.Duration
	for range 20 {
		began := time.Now()
		open, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		st, err := a.Open(open, pubsub.Request{Channels: names, Encoder: encoder{}, Replay: 1})
		cancel()
		if err != nil {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
		took = append(took, time.Since(began))
		st.Close()
	}
	t.Logf("a stream of %d channels is open after %v at most", len(names), slices.Max(took))
}
