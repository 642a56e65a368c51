package pubsub

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"sluice/store"
)

// Request says what a stream carries and from where it starts.
type Request struct {
	Channels []string // at least one, checked, no two the same
	Types    []string // only events of these types; none: all
	Encoder  Encoder
	// Resume is true if the client has been here: it gets what came after LastEventID, or a gap notice.
	Resume      bool
	LastEventID string
	// Replay is how many stored events of each channel a client gets that has not been here.
	Replay int
}

// Stream is a place in a feed from which one client goes on.
type Stream struct {
	Start  []byte // what to send before the feed's frames: the client's position, gap notices, replayed events
	Feed   *Feed
	Cursor int64 // of the first frame after Start
	// More is true if Start does not lead to Cursor, because too much is stored: Next makes what follows it.
	More bool
	// Finished is true if the one channel of the stream has ended and the client has seen its last event.
	Finished bool
	// Fresh is true if the one channel of the stream has never had an event.
	Fresh bool

	broker  *Broker
	starts  []start  // by channel: where Start leads to; nil unless More
	short   *Channel // of which
	missing lack     // is what the next part needs
	close   func()
}

// Close lets go of the feed. It may be called more than once, and does nothing to a feed that is not a broker's.
func (s *Stream) Close() {
	if s.close != nil {
		s.close()
	}
}

// Open returns a stream. It waits until the subscription is confirmed: everything that is published after Open has
// returned reaches the feed.
func (b *Broker) Open(ctx context.Context, r Request) (*Stream, error) {
	names := slices.Sorted(slices.Values(r.Channels))
	types := slices.Compact(slices.Sorted(slices.Values(r.Types)))
	f, err := b.acquire(names, types, r.Encoder)
	if err != nil {
		return nil, err
	}
	s := &Stream{Feed: f, broker: b, close: sync.OnceFunc(func() { b.release(f) })}
	if err := s.open(ctx, r); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Next replaces Start, Cursor and More by those of the next part, which follows what Start led to: events that were
// published meanwhile are in it, so a client that is slower than its channel may never come to the feed. It may be called
// while More is true, and does not wait: it returns false, and has changed nothing, if something has to be read first.
// Next and Wait must not be called at the same time.
func (s *Stream) Next() bool {
	_, s.short, s.missing = s.advance()
	return s.missing == nothing
}

// Wait provides what Next has found missing; then Next is to be called again. After an error the stream must be closed;
// the client resumes by its last event id.
func (s *Stream) Wait(ctx context.Context) error { return s.broker.provide(ctx, s.short, s.missing) }

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

// open finds the stream's place, and makes what leads there.
func (s *Stream) open(ctx context.Context, r Request) error {
	f := s.Feed
	f.mu.Lock()
	ready := f.ready
	f.mu.Unlock()
	select {
	case <-ready:
	case <-ctx.Done():
		return fmt.Errorf("channels are not subscribed yet: %w", ctx.Err())
	case <-s.broker.closed.Done():
		return errClosed
	}
	s.starts = f.starts(r)
	for {
		parts, short, missing := s.advance()
		if missing == nothing {
			if len(parts) == 1 {
				s.Fresh = parts[0].tip.Position.Offset == 0
				s.Finished = parts[0].tip.Final && len(parts[0].events) == 0 && r.Resume
			}
			return nil
		}
		if err := s.broker.provide(ctx, short, missing); err != nil {
			return err
		}
	}
}

// advance makes Start of what comes after starts, and moves these to where it leads. It returns what there was, or
// the channel that something is missing of.
func (s *Stream) advance() (parts []part, short *Channel, missing lack) {
	f := s.Feed
	lock(f.channels)
	parts, short, missing = f.replay(s.starts)
	if missing == nothing {
		s.Cursor = f.Head()
	}
	unlock(f.channels)
	if missing != nothing {
		return nil, short, missing
	}
	var at []store.Position
	s.Start, at, s.More = f.encodeStart(parts, s.broker.stats.Gaps.Add)
	if !s.More {
		s.starts = nil // the stream may be long
		return parts, nil, nothing
	}
	for i, p := range parts {
		s.starts[i] = start{resume: true, at: at[i], known: true, epoch: p.epoch}
	}
	return parts, nil, nothing
}

// provide gets what is missing of a channel.
func (b *Broker) provide(ctx context.Context, c *Channel, missing lack) error {
	switch missing {
	case connection:
		if err := c.waitLive(ctx, nil); err != nil {
			return fmt.Errorf("channel %q is being read: %w", c.name, err)
		}
	case older:
		stale, err := c.load(func() (store.History, error) { return b.history(ctx, c.name) })
		if err != nil || !stale {
			return err
		}
		return b.verify(ctx, c)
	case verification:
		return b.verify(ctx, c)
	}
	return nil
}

// verify has a channel synchronised with Redis. Made-up ids must not keep it busy: it does so only so often, and
// otherwise waits a little, as somebody else's question may answer ours.
func (b *Broker) verify(ctx context.Context, c *Channel) error {
	c.mu.Lock()
	soon := time.Until(c.asked.Add(verifyEvery))
	if soon <= 0 {
		c.asked = time.Now()
		if c.state == live {
			c.setState(settled)
			b.queue(c)
		}
	}
	c.mu.Unlock()
	if soon <= 0 {
		return nil
	}
	return sleep(ctx, soon)
}

// sleep waits for d, or less if ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lock takes the locks of channels, which are in the order of their names.
func lock(channels []*Channel) {
	for _, c := range channels {
		c.mu.Lock()
	}
}

func unlock(channels []*Channel) {
	for _, c := range channels {
		c.mu.Unlock()
	}
}

// all reports whether ok is true for every channel.
func all(channels []*Channel, ok func(*Channel) bool) bool {
	return !slices.ContainsFunc(channels, func(c *Channel) bool { return !ok(c) })
}
