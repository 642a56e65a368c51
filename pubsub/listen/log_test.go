package listen_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"sluice/pubsub/listen"
	"sluice/store/storetest"
)

// logText is a log that a test reads.
type logText struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// count returns how many lines have a text.
func (l *logText) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

func TestTheLogSaysOnceThatRedisIsAwayAndOnceThatItIsBack(t *testing.T) {
	s := storetest.Real(t)
	text := &logText{}
	d := &diary{grown: make(chan struct{}, 1)}
	l := listen.New(listen.Config{
		Redis: s.Client(t), Replica: "a", Names: names, MaxPayload: 4096, Receiver: d, Queue: atOnce{},
		Log: slog.New(slog.NewTextHandler(text, nil)),
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { l.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	waitUntil(t, "Redis", func() bool { return l.Ready() == nil })
	for outage := 1; outage <= 2; outage++ {
		lost := counter(t, l, "sluice_redis_sessions_lost_total")
		s.Real.Kill()
		waitUntil(t, "some tries", func() bool { return counter(t, l, "sluice_redis_sessions_lost_total") >= lost+3 })
		s.Real.Start(t)
		waitUntil(t, "Redis to be back", func() bool { return l.Ready() == nil })
		away, back := text.count(`level=WARN msg="waiting for Redis"`), text.count(`level=INFO msg="Redis is back" after=`)
		if away != outage || back != outage {
			t.Fatalf("after %d outages: %d lines say that Redis is away, %d that it is back:\n%s", outage, away, back, text.text.String())
		}
	}
}
