package world

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"sluice/cmd/internal/judge"
	"sluice/gateway"
	"sluice/pubsub"
	"sluice/store"
)

// replica is one incarnation of a gateway: the real store, broker and server.
type replica struct {
	world  *world
	name   string
	host   string // name and incarnation
	number int    // of the incarnation
	server *gateway.Server
	rdb    *redis.Client
	broker context.CancelFunc
	ended  chan struct{} // closed when broker and server have ended
	dead   bool          // killed, or vanished; guarded by world.mu
	busy   bool          // a fault is at work on it; guarded by world.mu
}

// drainTime is over which a replica closes its streams.
const drainTime = 300 * ms

// start brings a replica up; cmd/gateway does the same with processes and settings (run.go, redis.go).
func (w *world) start(name string, number int) *replica {
	r := &replica{
		world: w, name: name, number: number, host: fmt.Sprintf("%s.%d", name, number), ended: make(chan struct{}),
	}
	log := w.log.With("replica", r.host)
	r.rdb = redis.NewClient(&redis.Options{
		Addr: "redis:6379",
		Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := w.net.Dial(ctx, r.host, "redis")
			if err != nil {
				return nil, err // not a nil *Conn in an interface
			}
			return c, nil
		},
		ContextTimeoutEnabled: true, DialTimeout: 3 * time.Second,
		ReadTimeout: 4 * time.Second, WriteTimeout: 4 * time.Second,
		DialerRetries: 1, MaxRetries: -1, PipelinePoolSize: -1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	events := store.New(r.rdb, store.Config{
		HistorySize: w.plan.History, HistoryTTL: 24 * time.Hour, MaxBodyBytes: 64 << 10,
	})
	ingest := w.plan.Channels[:len(w.plan.Channels)-1]
	broker := pubsub.NewBroker(r.rdb, events, pubsub.Config{
		Replica: r.host, Ingest: ingest, FeedBytes: w.plan.Feed, CheckEvery: w.plan.Check,
	}, log)
	r.server = gateway.New(broker, events, gateway.Config{
		Heartbeat: 5 * time.Second, Retry: 200 * ms, DrainTime: drainTime,
		Writer: gateway.WriterGoroutine,
	}, log)
	ctx, cancel := context.WithCancel(w.ctx)
	r.broker = cancel
	l := w.net.Listen(r.host)
	running := make(chan struct{})
	w.wg.Go(func() {
		broker.Run(ctx)
		close(running)
	})
	w.wg.Go(func() {
		if err := r.server.Serve(l); err != nil && !r.isDead() {
			w.blame(judge.Process, "%s: serve: %v", r.host, err)
		}
		<-running
		close(r.ended)
	})
	w.mu.Lock()
	w.hosts[r.host] = r
	w.mu.Unlock()
	return r
}

func (r *replica) isDead() bool {
	r.world.mu.Lock()
	defer r.world.mu.Unlock()
	return r.dead || r.world.ctx.Err() != nil
}

// cancel ends a replica whose network is gone.
func (r *replica) cancel() {
	r.broker()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = r.server.Shutdown(ctx) // its outcome is of no interest
	_ = r.rdb.Close()
}

// shutDown ends a replica in order and waits for it.
func (r *replica) shutDown() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime+5*time.Second)
	defer cancel()
	err := r.server.Shutdown(ctx)
	r.broker()
	<-r.ended
	_ = r.rdb.Close()
	return err
}

// join starts a new replica and lets clients turn to it.
func (w *world) join() *replica {
	w.mu.Lock()
	w.serial++
	name := fmt.Sprintf("r%d", w.serial)
	w.mu.Unlock()
	r := w.start(name, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.members = append(w.members, r)
	return r
}

// restart starts the next incarnation of a replica in its place.
func (w *world) restart(r *replica) {
	next := w.start(r.name, r.number+1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := slices.Index(w.members, r); i >= 0 {
		w.members[i] = next
	}
	w.tracef("%s starts", next.host)
}

// leave takes a replica off those that clients may turn to.
func (w *world) leave(r *replica) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.members = slices.DeleteFunc(w.members, func(other *replica) bool { return other == r })
}

// replicas returns those that clients may turn to, dead ones too.
func (w *world) replicas() []*replica {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.members)
}

// target returns the host of the n-th replica.
func (w *world) target(n int) string {
	all := w.replicas()
	return all[n%len(all)].host
}

// allReady says which replica is not ready.
func (w *world) allReady() string {
	for _, r := range w.replicas() {
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		status, body, err := w.call(ctx, "operator", r.host, http.MethodGet, "/readyz", nil, nil)
		cancel()
		if err != nil {
			return fmt.Sprintf("%s: %v", r.host, err)
		}
		if status != http.StatusOK {
			return fmt.Sprintf("%s: %d %s", r.host, status, body)
		}
	}
	return ""
}
