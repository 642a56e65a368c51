package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/cmd/internal/rig"
	"sluice/store/storetest"
)

// connects is how many streams TestNothingIsLeftOfStreams opens: enough to see a leak at home; .ci/run wants 100,000.
func connects(t *testing.T) int {
	text := os.Getenv("SLUICE_TEST_CONNECTS")
	if text == "" {
		return 3000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("SLUICE_TEST_CONNECTS=%q", text)
	}
	return n
}

func TestNothingIsLeftOfStreamsThatCameAndWent(t *testing.T) {
	server := storetest.Real(t)
	g := launch(t, "REDIS_URL=redis://"+server.Addr, "DRAIN_TIME=0s")
	rdb := server.Client(t)
	subscriptions := func() int64 { // channels with a subscriber, as Redis sees it
		names, err := rdb.PubSubChannels(t.Context(), "*").Result()
		if err != nil {
			t.Fatal(err)
		}
		return int64(len(names))
	}
	openFiles := func() int64 {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("no /proc here")
		}
		return int64(len(entries))
	}
	g.comeAndGo(t, 200) // whatever is made once is made now
	waitFor(t, "the first streams to be gone", func() bool { return g.metric(t, "sluice_streams") == 0 })
	goroutines, files, subscribed := int64(runtime.NumGoroutine()), openFiles(), subscriptions()

	n := connects(t)
	g.comeAndGo(t, n)
	waitFor(t, "all streams to be gone", func() bool { return g.metric(t, "sluice_streams") == 0 })
	waitFor(t, "all feeds to be gone", func() bool { return g.metric(t, "sluice_feeds") == 0 })
	if opened := g.metric(t, "sluice_streams_opened_total"); opened < int64(n) {
		t.Fatalf("%d streams were opened, want %d: this is not the test", opened, n)
	}
	// Connections of the test's own HTTP client and of Redis's pool may come and go.
	const few = 20
	waitFor(t, "goroutines", func() bool { return int64(runtime.NumGoroutine()) <= goroutines+few })
	waitFor(t, "open files", func() bool { return openFiles() <= files+few })
	// Channels stay subscribed for half a minute after their last stream; there are not many different ones.
	if now := subscriptions(); now > subscribed+few {
		t.Errorf("%d subscriptions, %d before", now, subscribed)
	}
}

// comeAndGo opens n streams on some ten channels and closes each after its first frame.
func (g *instance) comeAndGo(t *testing.T, n int) {
	t.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	failed := make(chan error, 64)
	for range 64 {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if err := visit(g.addr, int(i)); err != nil {
					failed <- fmt.Errorf("stream %d: %w", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		t.Fatal(err)
	default:
	}
}

// visit opens a stream, reads its first frame, and leaves: by FIN or by RST.
func visit(addr string, i int) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	path := []string{
		"/api/sse/notifications", "/api/sse/time", fmt.Sprintf("/api/sse/channels/c%d", i%7),
		fmt.Sprintf("/api/sse?channels=c%d,c%d", i%5, 5+i%3), "/api/sse/progress/t",
	}[i%5]
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, addr); err != nil {
		return err
	}
	r := bufio.NewReaderSize(conn, 512)
	for found := false; !found; {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return err
		}
		found = bytes.HasPrefix(line, []byte("retry:"))
	}
	if i%2 == 0 {
		_ = conn.(*net.TCPConn).SetLinger(0)
	}
	return nil
}

// metric returns a metric of /metrics; its name may have labels.
func (g *instance) metric(t *testing.T, name string) int64 {
	t.Helper()
	v, err := rig.Metric(t.Context(), "http://"+g.addr, name)
	if err != nil {
		t.Fatal(err)
	}
	return int64(v)
}
