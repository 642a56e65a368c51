package pubsub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
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

// newChannel makes a channel and subscribes to it; b.mu is held (or b is not shared yet).
func (b *Broker) newChannel(name string) *Channel {
	c := newChannel(name, b.store.Rule(name))
	b.channels[name] = c
	b.listen.want(want{channel: name, live: true, raw: !kind.Of(name).ByPattern()})
	return c
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

func (b *Broker) channel(name string) *Channel {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.channels[name]
}

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

// queue has a channel synchronised.
func (b *Broker) queue(c *Channel) {
	b.staleMu.Lock()
	b.stale = append(b.stale, c)
	b.staleMu.Unlock()
	select {
	case b.signal <- struct{}{}:
	default:
	}
}

// synchronise brings channels that are queued up to what Redis has stored.
func (b *Broker) synchronise(ctx context.Context) {
	retry := retryAtLeast
	var failed []*Channel // wait for the timer; the others must not
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.signal:
		case <-timer.C:
			for _, c := range failed {
				b.queue(c)
			}
			failed = nil
			continue
		}
		b.staleMu.Lock()
		batch := b.stale
		b.stale = nil
		b.staleMu.Unlock()
		if len(batch) == 0 {
			continue
		}
		slices.SortFunc(batch, func(x, y *Channel) int { return cmp.Compare(x.name, y.name) })
		again := b.synchroniseBatch(ctx, slices.Compact(batch))
		switch {
		case len(again) > 0 && len(failed) > 0:
			failed = append(failed, again...) // go with those that wait already
		case len(again) > 0:
			failed = again
			timer.Reset(retry)
			retry = min(2*retry, retryAtMost)
		case len(failed) == 0:
			retry = retryAtLeast
		}
	}
}

// synchroniseBatch returns the channels that Redis did not answer for.
func (b *Broker) synchroniseBatch(ctx context.Context, batch []*Channel) (failed []*Channel) {
	var mu sync.Mutex
	fail := func(c *Channel, err error) {
		mu.Lock()
		defer mu.Unlock()
		if len(failed) == 0 { // one line, not thousands
			b.log.Warn("channels not read", "for example", c.name, "error", err)
		}
		failed = append(failed, c)
	}
	for part := range slices.Chunk(batch, tipsAtOnce) {
		epochs := make([]int, len(part))
		for i, c := range part {
			epochs[i], _ = c.unsynchronised()
		}
		tips, errs := b.tips(ctx, part, false)
		if err := b.listen.fence(ctx); err != nil {
			failed = append(failed, part...)
			continue
		}
		var wg sync.WaitGroup
		next := make(chan int)
		for range min(syncWorkers, len(part)) {
			wg.Go(func() {
				for i := range next {
					if errs[i] != nil {
						fail(part[i], errs[i])
						continue
					}
					if _, stale := part[i].unsynchronised(); !stale {
						continue
					}
					again, err := part[i].synchronise(epochs[i], tips[i], func() (store.History, error) {
						b.stats.Repairs.Add(1)
						h, err := b.history(ctx, part[i].name)
						if err != nil {
							return h, err
						}
						return h, b.listen.fence(ctx)
					})
					switch {
					case err != nil:
						fail(part[i], err)
					case again:
						b.queue(part[i])
					}
				}
			})
		}
		for i := range part {
			next <- i
		}
		close(next)
		wg.Wait()
	}
	return failed
}

const finishTime = 3 * time.Second

const readTimeout = 5 * time.Second

func (b *Broker) tips(ctx context.Context, channels []*Channel, touch bool) ([]store.Tip, []error) {
	names := make([]string, len(channels))
	for i, c := range channels {
		names[i] = c.name
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return b.store.Tips(ctx, names, touch)
}

func (b *Broker) history(ctx context.Context, channel string) (store.History, error) {
	b.stats.Reads.Add(1)
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return b.store.History(ctx, channel)
}

// sweep lets go of what is no longer used, and checks quiet channels.
func (b *Broker) sweep(ctx context.Context) {
	tick := time.NewTicker(min(sweepEvery, b.cfg.CheckEvery))
	defer tick.Stop()
	checked, touched := time.Now(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			b.drop(now)
			if now.Sub(checked) >= b.cfg.CheckEvery {
				checked = now
				touch := now.Sub(touched) >= touchEvery
				if touch {
					touched = now
				}
				b.check(ctx, touch)
			}
		}
	}
}

// drop ends subscriptions that nobody has used for a while, and frames that are too old.
func (b *Broker) drop(now time.Time) {
	b.mu.Lock()
	var gone []string
	for name, c := range b.channels {
		if c.users == 0 && now.Sub(c.idleSince) > c.lingers() {
			delete(b.channels, name)
			b.listen.unwant(name) // with the lock: whoever makes the channel anew wants it after that
			gone = append(gone, name)
		}
	}
	var feeds []*Feed
	for _, list := range b.feeds {
		feeds = append(feeds, list...)
	}
	b.mu.Unlock()
	b.ingest.forget(gone)
	for _, f := range feeds {
		f.sweep(now)
	}
}

// check compares quiet channels with Redis: a lost announcement that no later one followed is found here, and so is
// a Redis that was emptied.
func (b *Broker) check(ctx context.Context, touch bool) {
	if !b.listen.healthy.Load() {
		return // the next session synchronises everything anyway
	}
	b.mu.Lock()
	var quiet []*Channel
	for _, c := range b.channels {
		c.mu.Lock()
		if c.state == live && (!c.moved || touch) {
			quiet = append(quiet, c)
		}
		c.moved = false
		c.mu.Unlock()
	}
	b.mu.Unlock()
	for part := range slices.Chunk(quiet, tipsAtOnce) {
		tips, errs := b.tips(ctx, part, touch)
		for i, c := range part {
			c.mu.Lock()
			differs := errs[i] == nil && c.state == live && !c.moved &&
				(tips[i].Position != c.history.Tip.Position || tips[i].Base != c.history.Base)
			if differs && !skipRepair {
				c.setState(settled)
				b.queue(c)
			}
			c.mu.Unlock()
		}
	}
}

// feedKey tells feeds of different channels and filters apart; the encoder is compared by itself.
func feedKey(names, types []string) string {
	return strings.Join(names, ",") + "?" + strings.Join(types, ",")
}
