package pubsub

import (
	"context"
	"slices"
	"strings"
	"time"

	"sluice/store"
	"sluice/store/kind"
)

// newChannel makes a channel and subscribes to it; b.mu is held (or b is not shared yet).
func (b *Broker) newChannel(name string) *Channel {
	c := newChannel(name, b.store.Rule(name))
	b.channels[name] = c
	b.listen.want(want{channel: name, live: true, raw: !kind.Of(name).ByPattern()})
	return c
}

func (b *Broker) channel(name string) *Channel {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.channels[name]
}

// acquire returns the feed of these channels, types and encoder, and counts one more stream on it.
func (b *Broker) acquire(names, types []string, encoder Encoder) (*Feed, error) {
	key := feedKey(names, types)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.feeds[key] {
		if f.encoder == encoder && !f.over() { // a task's id may be used again
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
	go b.attach(f) // ends when the channels are live, the feed is released, or the broker is closed
	return f, nil
}

// attach connects a feed to its channels as soon as all of them are live.
func (b *Broker) attach(f *Feed) {
	gone := f.gone
	for {
		for _, c := range f.channels {
			if c.waitLive(b.closed, gone) != nil {
				return
			}
		}
		lock(f.channels)
		if all(f.channels, func(c *Channel) bool { return c.state == live }) {
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

// release counts one stream less on a feed, and drops the feed after its last one.
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
	if f.gone != nil { // attach has not connected it yet, and shall not
		close(f.gone)
	}
	f.mu.Unlock()
	for _, c := range f.channels {
		c.mu.Lock()
		c.feeds = slices.DeleteFunc(c.feeds, func(r feedRef) bool { return r.feed == f })
		if len(c.feeds) == 0 {
			c.feeds = nil
		}
		c.mu.Unlock()
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

// feedKey tells feeds of different channels and filters apart; the encoder is compared by itself.
func feedKey(names, types []string) string {
	return strings.Join(names, ",") + "?" + strings.Join(types, ",")
}
