package pubsub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"sluice/pubsub/dispatch"
	"sluice/pubsub/ingest"
	"sluice/pubsub/listen"
	"sluice/store"
	"sluice/store/kind"
)

// finishTime is for storing the raw messages that are left at the end.
const finishTime = 3 * time.Second

// Broker connects Redis channels with feeds. It is safe for concurrent use. It is also the prometheus.Collector of what
// it counts.
type Broker struct {
	cfg      Config
	store    *store.Store
	log      *slog.Logger
	stats    stats
	metrics  []prometheus.Collector
	listener *listen.Listener
	queue    *dispatch.Queue // between the listener and the channels
	intake   *ingest.Intake

	closed context.Context // ends when Run does: streams that are opened meanwhile give up
	cancel context.CancelFunc

	mu        sync.Mutex
	channels  map[string]*channel // guarded by mu
	list      []*channel          // the same, in any order; guarded by mu
	feedCount int                 // guarded by mu
	feeds     shared              // what all feeds have in common
	memory    memory              // of all channels
	rounds    rounds

	epoch atomic.Pointer[store.Epoch] // of the dataset with which all channels were compared; nil: not known yet
	looks atomic.Int64                // how often Redis was asked which dataset it has, and has said so
	doubt chan struct{}               // capacity 1: Redis may have another dataset

	sync *synchroniser
}

var errClosed = errors.New("the broker is closed")

// NewBroker returns a Broker on rdb, whose connection options it also uses for its own connection. Run makes it work.
func NewBroker(rdb *redis.Client, s *store.Store, cfg Config, log *slog.Logger) *Broker {
	cfg.CheckEvery = cmp.Or(cfg.CheckEvery, roundTime)
	ctx, cancel := context.WithCancel(context.Background())
	b := &Broker{
		cfg: cfg, store: s, log: log, cancel: cancel, closed: ctx,
		channels: make(map[string]*channel), doubt: make(chan struct{}, 1),
	}
	b.sync = newSynchroniser(b)
	b.intake = ingest.New(s, s.MaxBodyBytes(), log)
	b.queue = dispatch.New(worker{b}, runtime.GOMAXPROCS(0))
	b.listener = listen.New(listen.Config{
		Redis: rdb, Replica: cfg.Replica, Names: s.Names(), Receiver: receiver{b}, Queue: b.queue, Log: log,
		MaxPayload: max(s.MaxAnnouncement(), s.MaxBodyBytes()+1), // a raw message that is cut off is too long anyway
	})
	b.metrics = b.collectors()
	channels, patterns := kind.Always()
	for _, name := range append(channels, cfg.Ingest...) {
		if b.channels[name] == nil {
			c := b.newChannel(name)
			c.users++ // for ever
		}
	}
	for _, pattern := range patterns {
		b.listener.Want(listen.Subscription{Channel: pattern, Raw: true, Pattern: true})
	}
	return b
}

// Before has do called each time before the broker begins to follow Redis, at the start and after it could not. No event that
// was published meanwhile reaches a stream before do has returned nil. It must not be called after Run.
func (b *Broker) Before(do func(context.Context) error) { b.listener.Before(do) }

// Run follows Redis until ctx ends. While Redis does not answer it tries again and again, and Ready returns an error.
// At the end it stores the raw messages that have arrived, because Redis told their publishers that this replica
// received them. It gives up after finishTime. It may be called once.
func (b *Broker) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { b.listener.Run(ctx) })
	wg.Go(func() { b.queue.Run(ctx) })
	wg.Go(func() { b.sync.run(ctx) })
	wg.Go(func() { b.sweep(ctx) })
	wg.Go(func() { b.watchDataset(ctx) })
	wg.Go(func() { b.compareInRounds(ctx) })
	wg.Wait()
	b.intake.Close(finishTime)
	b.cancel()
}

// Ready returns why this replica should get no streams, or nil.
func (b *Broker) Ready() error {
	if err := b.listener.Ready(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	channels, _ := kind.Always()
	for _, name := range channels {
		c := b.channels[name]
		c.mu.Lock()
		state := c.state
		c.mu.Unlock()
		if state != live {
			return fmt.Errorf("channel %q is being read", name)
		}
	}
	return nil
}

// Replica returns the name of this replica.
func (b *Broker) Replica() string { return b.cfg.Replica }

// Counts returns how many channels the replica follows and how many feeds it has. It is exported for tests of the rooms
// above, which check that streams leave nothing behind.
func (b *Broker) Counts() (channels, feeds int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.channels), b.feedCount
}

// receiver is the broker as a listen.Receiver. Its methods are called by the goroutine that reads Redis, and must not
// wait. Raw messages go to the intake at once; what concerns channels goes to the worker of the channel.
type receiver struct{ b *Broker }

func (r receiver) Announced(channel string, payload []byte) { r.b.queue.Announced(channel, payload) }

func (r receiver) Raw(channel string, m ingest.Message) { r.b.intake.Add(channel, m) }

func (r receiver) Adopted(channel string, id ingest.RawID) { r.b.intake.Adopted(channel, id) }

func (r receiver) Subscribed(channels []string, alone bool) {
	r.b.intake.Followed(channels, alone) // here, because it must come before the next raw message
	r.b.queue.Subscribed(channels)
}

func (r receiver) Connected(session string) { r.b.intake.Connected(session) }

func (r receiver) Lost() {
	heard := r.b.intake.Lost()
	r.b.queue.Lost()
	r.b.queue.Fence(heard)
}

// worker is the broker as a dispatch.Handler. Its methods are called by several goroutines, for one channel always by the
// same one.
type worker struct{ b *Broker }

func (w worker) Announced(channel string, payload []byte) { w.b.announced(channel, payload) }

func (w worker) Dropped(channel string) {
	if c := w.b.channel(channel); c != nil && c.setBehind() {
		w.b.synchroniseLater(c)
	}
}

func (w worker) Subscribed(channel string) {
	if c := w.b.channel(channel); c != nil {
		c.setSubscribed()
		w.b.synchroniseLater(c)
	}
}

func (w worker) Lost(mine func(channel string) bool) {
	for some := range w.b.chunks(atOnce) {
		for _, c := range some {
			if mine(c.name) {
				c.setLost()
			}
		}
	}
}

// announced takes an announcement to its channel.
func (b *Broker) announced(channel string, payload []byte) {
	b.stats.announced.Add(1)
	a, err := store.ParseAnnouncement(channel, payload)
	if err != nil {
		b.stats.malformed.Add(1)
		b.log.Warn("announcement not readable", "channel", channel, "error", err)
		return // the next announcement, or the comparison with Redis, notices that this event is missing
	}
	if a.Marker != "" {
		b.intake.Adopted(channel, ingest.RawID{Marker: a.Marker, Number: a.Number})
	}
	c := b.channel(channel)
	if c == nil {
		return
	}
	for _, e := range a.Events {
		if c.announced(e) {
			b.synchroniseLater(c)
		}
	}
}
