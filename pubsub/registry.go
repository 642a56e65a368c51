package pubsub

import (
	"context"
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
	sweepEvery     = time.Second      // at most; more often if quiet channels are compared more often
)

// channel returns the channel of a name, or nil.
func (b *Broker) channel(name string) *channel {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.channels[name]
}

// allChannels returns the channels that the replica follows.
func (b *Broker) allChannels() []*channel {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]*channel, 0, len(b.channels))
	for _, c := range b.channels {
		all = append(all, c)
	}
	return all
}

// newChannel makes a channel and subscribes to it; b.mu is held (or b is not shared yet).
func (b *Broker) newChannel(name string) *channel {
	c := newChannel(name, b.store.Rule(name))
	b.channels[name] = c
	b.listener.Want(listen.Subscription{Channel: name, Live: true, Raw: !kind.Of(name).ByPattern()})
	return c
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
			c.remove(cur.feed)
		}
	}
}

// sweep removes channels that are no longer used, and compares quiet channels with Redis, until ctx ends.
func (b *Broker) sweep(ctx context.Context) {
	tick := time.NewTicker(min(sweepEvery, b.cfg.CheckEvery))
	defer tick.Stop()
	compared, touched := time.Now(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			b.removeUnused(now)
			if now.Sub(compared) >= b.cfg.CheckEvery {
				compared = now
				touch := now.Sub(touched) >= touchEvery
				if touch {
					touched = now
				}
				b.compareQuiet(ctx, touch)
			}
		}
	}
}

// removeUnused ends the subscriptions that nobody has used for a while, and drops frames that are too old.
func (b *Broker) removeUnused(now time.Time) {
	b.mu.Lock()
	var unused []string
	for name, c := range b.channels {
		if c.users == 0 && now.Sub(c.idleSince) > c.lingers() {
			delete(b.channels, name)
			b.listener.Unwant(name) // under b.mu: whoever makes the channel again must call Want after this
			unused = append(unused, name)
		}
	}
	var feeds []*Feed
	for _, c := range b.channels {
		c.mu.Lock()
		feeds = append(feeds, c.feeds...)
		c.mu.Unlock()
	}
	b.mu.Unlock()
	b.intake.Forget(unused)
	for _, f := range feeds {
		f.sweep(now)
	}
}
