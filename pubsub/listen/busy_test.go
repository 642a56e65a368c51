package listen_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"sluice/pubsub/dispatch"
	"sluice/pubsub/ingest"
	"sluice/pubsub/listen"
	"sluice/store/storetest"
)

// slow is a dispatch.Handler for which an announcement takes until the test lets it go on.
type slow struct {
	begun, finish chan struct{}
	once          sync.Once
}

func (s *slow) Announced(string, []byte) {
	s.once.Do(func() { close(s.begun) })
	<-s.finish
}
func (s *slow) Dropped(string)         {}
func (s *slow) Subscribed(string)      {}
func (s *slow) Lost(func(string) bool) {}

// queueing is a listen.Receiver that puts announcements into a queue, and counts raw messages.
type queueing struct {
	*diary
	queue *dispatch.Queue

	mu      sync.Mutex
	numbers []uint64 // of the raw messages, as they came; guarded by mu
}

func (r *queueing) Announced(channel string, payload []byte) { r.queue.Announced(channel, payload) }
func (r *queueing) Raw(_ string, m ingest.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.numbers = append(r.numbers, m.ID.Number)
}

func (r *queueing) came() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.numbers)
}

// counter returns the value of a metric without labels.
func counter(t *testing.T, c prometheus.Collector, name string) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

func TestHoweverSlowAnnouncementsAreHandledNoRawMessageWaitsForThemAndTheSessionIsKept(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s := storetest.Real(t)
	rdb := s.Client(t)
	h := &slow{begun: make(chan struct{}), finish: make(chan struct{})}
	queue := dispatch.New(h, 2)
	r := &queueing{diary: &diary{grown: make(chan struct{}, 1)}, queue: queue}
	l := listen.New(listen.Config{
		Redis: rdb, Replica: "a", Names: names, MaxPayload: 4096, Receiver: r, Queue: queue,
		Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { l.Run(ctx) })
	wg.Go(func() { queue.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	finish := sync.OnceFunc(func() { close(h.finish) })
	defer finish()
	l.Want(listen.Subscription{Channel: "orders", Live: true, Raw: true})
	r.waitFor(t, "subscribed [orders], alone: true", 1)

	const messages, together = 20_000, 500
	rdb.Publish(t.Context(), names.Live("orders"), "news")
	select {
	case <-h.begun:
	case <-time.After(30 * time.Second):
		t.Fatal("no announcement came")
	}
	for i := 0; i < messages; i += together {
		if _, err := rdb.Pipelined(t.Context(), func(p redis.Pipeliner) error {
			for range together {
				p.Publish(t.Context(), "orders", "x")
				p.Publish(t.Context(), names.Live("orders"), "news")
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	waitUntil(t, "all raw messages", func() bool { return r.came() == messages })
	for i, n := range r.numbers {
		if n != uint64(i)+1 {
			t.Fatalf("message %d has number %d", i+1, n)
		}
	}
	waitUntil(t, "the probes to come back", func() bool { return l.Ready() == nil })
	short, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if err := l.Fence(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("before announcements are handled, a fence returns %v", err)
	}
	finish()
	if err := l.Fence(t.Context()); err != nil {
		t.Errorf("after announcements are handled, a fence returns %v", err)
	}
	if n := counter(t, l, "sluice_redis_sessions_lost_total"); n != 0 {
		t.Errorf("%v sessions were lost", n)
	}
}

// waitUntil polls until ok is true.
func waitUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
		time.Sleep(2 * time.Millisecond) // between two tries of a poll
	}
}
