package pubsub

import (
	"context"
	"iter"
	"time"

	"sluice/pubsub/listen"
	"sluice/store/kind"
)

// The registry holds the broker's channels and feeds. It makes those that streams ask for, and removes those that no
// stream uses any more.

// Bounds of the registry.
const (
	linger         = 30 * time.Second // a channel stays subscribed after its last stream: the client may come back
	emptyLinger    = 10 * time.Second // the same for a channel that never had an event: anyone can invent names
	channelsAtMost = 200_000          // how many channels a replica follows; each takes some 2 KiB
	sweepEvery     = time.Second      // at most; more often if channels are compared more often
	atOnce         = 500              // channels that are visited while the broker's lock is held
)

// channel returns the channel of a name, or nil.
func (b *Broker) channel(name string) *channel {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.channels[name]
}

// chunks returns the channels that the replica follows, at most n at a time. The broker's lock is held for atOnce of them at
// most. Channels that are made meanwhile may be left out, and some may come twice.
func (b *Broker) chunks(n int) iter.Seq[[]*channel] {
	return func(yield func([]*channel) bool) {
		b.mu.Lock()
		end := len(b.list)
		b.mu.Unlock()
		var some []*channel
		for end > 0 {
			// From the end to the beginning: removing a channel moves the last one to its place.
			b.mu.Lock()
			end = min(end, len(b.list))
			begin := max(0, end-min(n-len(some), atOnce))
			some = append(some, b.list[begin:end]...)
			end = begin
			b.mu.Unlock()
			if len(some) == n || end == 0 {
				if len(some) > 0 && !yield(some) {
					return
				}
				some = some[:0]
			}
		}
	}
}

// newChannel makes a channel and subscribes to it; b.mu is held (or b is not shared yet).
func (b *Broker) newChannel(name string) *channel {
	c := newChannel(name, b.store.Rule(name))
	c.rounds = &b.rounds
	c.index = len(b.list)
	c.memory = &b.memory
	b.channels[name] = c
	b.list = append(b.list, c)
	b.listener.Want(listen.Subscription{Channel: name, Live: true, Raw: !kind.Of(name).ByPattern()})
	return c
}

// remove removes a channel; b.mu is held.
func (b *Broker) remove(c *channel) {
	last := b.list[len(b.list)-1]
	b.list[c.index], last.index = last, c.index
	b.list[len(b.list)-1] = nil
	b.list = b.list[:len(b.list)-1]
	delete(b.channels, c.name)
	b.rounds.remove(c, turnOver)
	c.forget()
	b.listener.Unwant(c.name) // under b.mu: whoever makes the channel again must call Want after this
}

// acquire returns the feeds of channels in the representation of an encoder, and counts one more stream on each.
func (b *Broker) acquire(names []string, encoder Encoder) ([]*Feed, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed.Err() != nil {
		return nil, errClosed
	}
	if len(b.channels)+len(names) > channelsAtMost {
		return nil, ErrTooMany
	}
	feeds := make([]*Feed, len(names))
	for i, name := range names {
		c := b.channels[name]
		if c == nil {
			c = b.newChannel(name)
		}
		c.users++
		feeds[i] = c.feed(encoder, b.cfg.FeedBytes, &b.feeds)
		if feeds[i].streams == 0 {
			b.feedCount++
		}
		feeds[i].streams++
	}
	return feeds, nil
}

// release counts one stream less on the feeds of cursors, and removes those that no stream follows any more.
func (b *Broker) release(cursors []cursor) {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, cur := range cursors {
		c := cur.feed.channel
		c.users--
		c.idleSince = now
		if cur.feed.streams--; cur.feed.streams == 0 {
			b.feedCount--
			c.remove(cur.feed)
		}
	}
}

// sweep removes channels that are no longer used and frames that are too old, and has channels compared with Redis that were
// not since it has another dataset, until ctx ends.
func (b *Broker) sweep(ctx context.Context) {
	tick := time.NewTicker(min(sweepEvery, b.cfg.CheckEvery))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for some := range b.chunks(atOnce) {
				b.removeUnused(some, now)
				b.refresh(ctx, some, now)
			}
		}
	}
}

// removeUnused ends the subscriptions of channels that nobody has used for a while.
func (b *Broker) removeUnused(some []*channel, now time.Time) {
	var unused []string
	b.mu.Lock()
	for _, c := range some {
		if c.users == 0 && now.Sub(c.idleSince) > c.lingers() && b.channels[c.name] == c {
			b.remove(c)
			unused = append(unused, c.name)
		}
	}
	b.mu.Unlock()
	b.intake.Forget(unused)
}

// refresh drops frames and histories that are too old, and has channels compared that were not since Redis has another dataset.
func (b *Broker) refresh(ctx context.Context, some []*channel, now time.Time) {
	epoch := b.epoch.Load()
	var outdated []*channel
	for _, c := range some {
		c.sweepFeeds(now)
		c.sweep(now)
		if epoch != nil && c.outdated(epoch) {
			outdated = append(outdated, c)
		}
	}
	if len(outdated) > 0 && b.listener.Ready() == nil {
		_ = b.compareSome(ctx, outdated, true) // what was not read is outdated still
	}
}
