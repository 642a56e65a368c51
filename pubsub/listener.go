package pubsub

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/store"
)

// Times of the listener. A probe goes out every probeInterval; an answer that takes longer than probeTimeout ends the
// session, and so does a silence of the connection.
const (
	probeInterval  = time.Second
	probeTimeout   = 4 * time.Second
	leaveTimeout   = time.Second
	pauseTolerance = 10 * time.Second // a longer pause of our own process: what lies in the buffers is too old
	retryAtLeast   = 50 * time.Millisecond
	retryAtMost    = 2 * time.Second
	namesPerBatch  = 500     // in one SUBSCRIBE
	namesPerWrite  = 25      // in one without a transaction: Redis reads 16 KiB at a time, and carries them out in one go
	countsAtMost   = 100_000 // channels counted under one marker of a pattern; then a new marker is due
)

// receiver is what the listener tells the broker. All of it is called from one goroutine, the one that reads the
// connection, and must not block: while it does, Redis's output buffer for us fills up.
type receiver interface {
	announced(channel string, payload []byte) // an announcement on a channel's live channel
	raw(channel string, payload []byte, n name)
	settled(channels []string, alone bool) // all that is published on them from now on reaches us
	sessionEnded()                         // nothing does any more
}

// want is one channel the replica is interested in, as a set of Redis subscriptions.
type want struct {
	channel string
	live    bool // its announcements
	raw     bool // raw messages on the channel itself
	pattern bool // channel is a pattern, and raw is meant
}

// names returns the Redis channels of a want, and its source of raw messages ("" for none).
func (w want) names() (channels []string, source string) {
	if w.live {
		channels = append(channels, store.LiveChannel(w.channel))
	}
	if w.raw {
		source = w.channel
		if !w.pattern {
			channels = append(channels, w.channel)
		}
	}
	return channels, source
}

// listener holds a replica's Redis subscriptions: it keeps one connection that has all of them, whatever happens to
// it, and says so whenever something may have been missed.
type listener struct {
	rdb      *redis.Client
	replica  string
	maxBytes int
	to       receiver
	log      *slog.Logger
	stats    *Stats

	mu      sync.Mutex
	wanted  map[string]want // by channel; guarded by mu
	pending []string        // channels to subscribe in the running session; guarded by mu
	dropped []want          // to unsubscribe in it; guarded by mu
	signal  chan struct{}   // 1: pending or dropped is not empty; a second signal would say nothing new

	running atomic.Pointer[session]
	full    atomic.Bool  // Redis refused a transaction because it is full
	healthy atomic.Bool  // settled, and the last probe came back
	problem atomic.Value // string: why it is not healthy
}

func newListener(rdb *redis.Client, replica string, maxBytes int, to receiver, log *slog.Logger, stats *Stats) *listener {
	l := &listener{
		rdb: rdb, replica: replica, maxBytes: maxBytes, to: to, log: log, stats: stats,
		wanted: make(map[string]want), signal: make(chan struct{}, 1),
	}
	l.problem.Store("not connected to Redis yet")
	return l
}

// want adds a channel; the receiver hears of it by settled. It is safe for concurrent use and does not block.
func (l *listener) want(w want) {
	l.mu.Lock()
	l.wanted[w.channel] = w
	l.pending = append(l.pending, w.channel)
	l.mu.Unlock()
	l.nudge()
}

// unwant removes a channel.
func (l *listener) unwant(channel string) {
	l.mu.Lock()
	if w, ok := l.wanted[channel]; ok {
		delete(l.wanted, channel)
		l.dropped = append(l.dropped, w)
	}
	l.mu.Unlock()
	l.nudge()
}

func (l *listener) nudge() {
	select {
	case l.signal <- struct{}{}:
	default:
	}
}

// run keeps a session open until ctx ends.
func (l *listener) run(ctx context.Context) {
	wait := retryAtLeast
	for ctx.Err() == nil {
		start := time.Now()
		err := l.session(ctx)
		l.healthy.Store(false)
		l.to.sessionEnded()
		if ctx.Err() != nil {
			return
		}
		l.problem.Store("Redis: " + err.Error())
		// A full Redis refuses everything inside a transaction, SUBSCRIBE too. Outside of one it does not, and one write is
		// carried out in one go in practice; and while it is full no raw message can be stored anyway.
		l.full.Store(strings.HasPrefix(err.Error(), "OOM"))
		if time.Since(start) > 10*time.Second {
			wait = retryAtLeast
		}
		l.stats.Sessions.Add(1)
		l.log.Warn("subscription lost", "error", err, "retry", wait)
		pause := time.NewTimer(wait/2 + rand.N(wait/2+1))
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		wait = min(2*wait, retryAtMost)
	}
}

// session connects, subscribes to all that is wanted, and reads until something breaks.
func (l *listener) session(ctx context.Context) error {
	probes := store.ProbeChannel(l.replica)
	c, err := dial(ctx, l.rdb.Options(), l.maxBytes, probes, store.MarkerChannel)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	s := &session{
		listener: l, conn: c, naming: newNaming(), batches: make(map[string]batch),
		probes: probes, probed: make(map[string]chan struct{}), confirm: make(chan struct{}, 1),
	}
	s.ticked.Store(time.Now().UnixNano())
	l.running.Store(s)
	defer l.running.Store(nil)
	asked := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer context.AfterFunc(ctx, func() {
		if asked.Err() != nil {
			s.leave()
		} else {
			_ = c.Close() // wakes the reader
		}
	})()

	l.mu.Lock()
	l.pending, l.dropped = l.pending[:0], nil
	for channel := range l.wanted {
		l.pending = append(l.pending, channel)
	}
	l.mu.Unlock()
	l.nudge()

	var wg sync.WaitGroup
	wg.Go(func() { cancel(s.write(ctx)) })
	wg.Go(func() { cancel(s.watch(ctx)) })
	cancel(s.read())
	_ = c.Close()
	wg.Wait()
	return context.Cause(ctx)
}

// take returns the next batch. Drops go first: a channel that is dropped and wanted again ends up subscribed.
func (l *listener) take() (add []want, drop []want) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.dropped {
		if _, again := l.wanted[w.channel]; !again {
			drop = append(drop, w)
		}
	}
	l.dropped = nil
	most := namesPerBatch
	if l.full.Load() {
		most = namesPerWrite
	}
	n := min(len(l.pending), most)
	for _, channel := range l.pending[:n] {
		if w, still := l.wanted[channel]; still {
			add = append(add, w)
		}
	}
	l.pending = l.pending[n:]
	if len(l.pending) == 0 {
		l.pending = nil
	}
	return add, drop
}

// fence returns when everything that was published on subscribed channels before the call has been handed to the
// receiver.
func (l *listener) fence(ctx context.Context) error {
	s := l.running.Load()
	if s == nil {
		return errNoSession
	}
	return s.probe(ctx)
}
