package pubsub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/store"
	"sluice/store/kind"
)

// Times of the broker.
const (
	linger         = 30 * time.Second       // a channel stays subscribed after its last stream, for those that reconnect
	sweepEvery     = time.Second            // at most; more often if quiet channels are checked more often
	checkEvery     = 5 * time.Second        // quiet channels, unless Config says otherwise
	touchEvery     = 20 * time.Minute       // so that a watched channel's position does not expire
	tipsAtOnce     = 1000                   // channels in one pipeline
	verifyEvery    = 100 * time.Millisecond // a channel, at most, because of clients' unknown positions
	freshLinger    = 10 * time.Second       // but not one that has never had an event: names can be made up without end
	channelsAtMost = 200_000                // that a replica follows, some 2 KiB each
	syncWorkers    = 8                      // histories read side by side
	finishTime     = 3 * time.Second        // for the raw messages that are left at the end
)

// Broker connects Redis channels with feeds. It is safe for concurrent use.
type Broker struct {
	cfg    Config
	store  *store.Store
	log    *slog.Logger
	stats  Stats
	listen *listener
	ingest *ingest
	cancel context.CancelFunc
	closed context.Context

	mu       sync.Mutex
	channels map[string]*Channel // guarded by mu
	feeds    map[string][]*Feed  // by names and types; guarded by mu
	held     atomic.Int64        // bytes that all feeds keep

	staleMu sync.Mutex
	stale   []*Channel    // to be synchronised; guarded by staleMu
	signal  chan struct{} // 1: stale is not empty
}

// NewBroker returns a Broker on rdb, whose connection options it also uses for its own connection. Run makes it work.
func NewBroker(rdb *redis.Client, s *store.Store, cfg Config, log *slog.Logger) *Broker {
	cfg.CheckEvery = cmp.Or(cfg.CheckEvery, checkEvery)
	ctx, cancel := context.WithCancel(context.Background())
	b := &Broker{
		cfg: cfg, store: s, log: log, cancel: cancel, closed: ctx,
		channels: make(map[string]*Channel), feeds: make(map[string][]*Feed), signal: make(chan struct{}, 1),
	}
	b.ingest = newIngest(ctx, s, s.MaxBodyBytes(), log, &b.stats)
	// An announcement is a payload in a JSON string (six times as long at worst) and some fields; a marker names a batch.
	longest := max(8*s.MaxBodyBytes(), namesPerBatch*(kind.MaxChannelLength+1)) + 4096
	b.listen = newListener(rdb, cfg.Replica, longest, b, log, &b.stats)
	channels, patterns := kind.Always()
	for _, name := range append(channels, cfg.Ingest...) {
		if b.channels[name] == nil {
			c := b.newChannel(name)
			c.users++ // for ever
		}
	}
	for _, pattern := range patterns {
		b.listen.want(want{channel: pattern, raw: true, pattern: true})
	}
	return b
}

// Run follows Redis until ctx ends. It does not give up: while Redis is away it tries again, and Ready says so. At the
// end it stores the raw messages that Redis has counted it as a receiver of, if Redis takes them within finishTime.
func (b *Broker) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { b.listen.run(ctx) })
	wg.Go(func() { b.synchronise(ctx) })
	wg.Go(func() { b.sweep(ctx) })
	wg.Wait()
	b.ingest.finish(finishTime)
	b.cancel()
	b.ingest.close()
}

// Ready returns why this replica should get no streams, or nil.
func (b *Broker) Ready() error {
	if !b.listen.healthy.Load() {
		return errors.New(b.listen.problem.Load().(string))
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

// Stats returns the broker's counters.
func (b *Broker) Stats() *Stats { return &b.stats }

// Counts returns how many channels the replica follows and how many feeds it has.
func (b *Broker) Counts() (channels, feeds int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, list := range b.feeds {
		feeds += len(list)
	}
	return len(b.channels), feeds
}

// The listener's side: called by its reading goroutine, which must not wait.

func (b *Broker) announced(channel string, payload []byte) {
	b.stats.Announced.Add(1)
	a, err := store.ParseAnnouncement(channel, payload)
	if err != nil {
		b.stats.Malformed.Add(1)
		b.log.Warn("announcement not readable", "channel", channel, "error", err)
		return // the next one, or the check of quiet channels, finds the hole
	}
	if a.Marker != "" {
		b.ingest.adopted(channel, name{marker: a.Marker, number: a.Number})
	}
	if c := b.channel(channel); c != nil && c.announced(a.Event) {
		b.queue(c)
	}
}

func (b *Broker) raw(channel string, payload []byte, n name) { b.ingest.add(channel, payload, n) }

func (b *Broker) settled(channels []string, alone bool) {
	if !alone {
		b.ingest.joined(channels)
	}
	for _, name := range channels {
		if c := b.channel(name); c != nil {
			c.settle()
			b.queue(c)
		}
	}
}

func (b *Broker) sessionEnded() {
	b.mu.Lock()
	all := make([]*Channel, 0, len(b.channels))
	for _, c := range b.channels {
		all = append(all, c)
	}
	b.mu.Unlock()
	for _, c := range all {
		c.unsettle()
	}
}
