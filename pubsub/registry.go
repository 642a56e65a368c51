package pubsub

import (
	"context"
	"slices"
	"strings"
	"time"

	"sluice/pubsub/listen"
	"sluice/store"
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

// acquire returns the feed of these channels, types and encoder, and counts one more stream on it. names and types are
// sorted.
func (b *Broker) acquire(names, types []string, encoder Encoder) (*Feed, error) {
	key := feedKey(names, types)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed.Err() != nil {
		return nil, errClosed
	}
	for _, f := range b.feeds[key] {
		if f.encoder == encoder && !f.over() { // a finished task has ended its feed, and a new task may have the same id
			f.streams++
			return f, nil
		}
	}
	if len(b.channels)+len(names) > channelsAtMost {
		return nil, ErrTooMany
	}
	f := &Feed{
		gone:  make(chan struct{}),
		names: names, types: types, encoder: encoder, limit: b.cfg.FeedBytes, held: &b.held, streams: 1,
		at: make([]store.Position, len(names)), ready: make(chan struct{}),
	}
	for _, name := range names {
		c := b.channels[name]
		if c == nil {
			c = b.newChannel(name)
		}
		c.users++
		f.channels = append(f.channels, c)
	}
	b.feeds[key] = append(b.feeds[key], f)
	b.attaching.Go(func() { b.attach(f) })
	return f, nil
}

// attach connects a feed to its channels as soon as all of them are live. It gives up when the feed is released or the
// broker is closed.
func (b *Broker) attach(f *Feed) {
	gone := f.gone
	for {
		for _, c := range f.channels {
			if c.waitLive(b.closed, gone) != nil {
				return
			}
		}
		lock(f.channels)
		if all(f.channels, func(c *channel) bool { return c.state == live }) {
			break
		}
		unlock(f.channels)
	}
	defer unlock(f.channels)
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-gone:
	default:
		f.gone = nil
		for i, c := range f.channels {
			c.feeds = append(c.feeds, feedRef{f, i})
			f.at[i] = c.history.Tip.Position
			f.ended = len(f.channels) == 1 && c.history.Tip.Final
		}
	}
	close(f.ready)
	f.ready = closedChannel
}

// release counts one stream less on a feed, and removes the feed after its last one.
func (b *Broker) release(f *Feed) {
	b.mu.Lock()
	f.streams--
	last := f.streams == 0
	if last {
		key := feedKey(f.names, f.types)
		b.feeds[key] = slices.DeleteFunc(b.feeds[key], func(g *Feed) bool { return g == f })
		if len(b.feeds[key]) == 0 {
			delete(b.feeds, key)
		}
	}
	b.mu.Unlock()
	if !last {
		return
	}
	f.mu.Lock()
	if f.gone != nil { // attach has not connected the feed yet, and must not connect it any more
		close(f.gone)
	}
	f.mu.Unlock()
	for _, c := range f.channels {
		c.detach(f)
	}
	f.discard()
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range f.channels {
		c.users--
		c.idleSince = now
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
	for _, list := range b.feeds {
		feeds = append(feeds, list...)
	}
	b.mu.Unlock()
	b.intake.Forget(unused)
	for _, f := range feeds {
		f.sweep(now)
	}
}

// feedKey is the same for feeds of the same channels and types. Their encoders may differ.
func feedKey(names, types []string) string {
	return strings.Join(names, ",") + "?" + strings.Join(types, ",")
}
