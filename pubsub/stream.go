package pubsub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"sluice/store"
)

var (
	// ErrEnded means that a stream is over for good: its one channel has ended, and the client has all of it.
	ErrEnded = errors.New("stream has ended")
	// ErrTooSlow means that a stream has fallen off its feed's tail: the client took too little for too long. The stream is
	// closed; the client resumes by its last event id.
	ErrTooSlow = errors.New("stream is too slow")
	// ErrBehind means that what comes next is not made yet: Advance makes it.
	ErrBehind = errors.New("stream is behind its feed")
)

// Request says what a stream carries and from where it starts.
type Request struct {
	Channels []string // at least one, checked, no two the same
	Types    []string // only events of these types; none: all
	Encoder  Encoder
	// LastEventID is the id that a returning client sends. It gets what came after it, or a gap notice. Empty: the client
	// comes for the first time.
	LastEventID string
	// Replay is how many stored events of each channel a client gets that comes for the first time.
	Replay int
}

// Stream is the place of one client in a feed, and the bytes on the way there. It answers one question, whatever state it
// is in: what comes next? A writer moves these bytes to a connection.
//
//	what was made first ──► the next part of the past ──► live frames of the feed ──► the end
//	      (Next)             (ErrBehind: Advance)               (Next)              (ErrEnded)
//
// A Stream is for one goroutine at a time, but for Close, which may be called at any time.
type Stream struct {
	feed   *Feed
	cursor int64   // of the first frame of the feed that the client has not got
	rest   []byte  // comes before the feed's frames
	past   *past   // nil once rest leads to cursor
	broker *Broker // nil for a feed that is not a broker's
	closed atomic.Bool
}

// past is the state of a stream whose rest does not lead to its cursor, because too much is stored.
type past struct {
	starts []resumePoint // by channel: where rest leads to
}

// NewStream returns a stream of a feed that its owner fills (see NewFeed). It begins with first, and goes on with the next
// frame of the feed.
func NewStream(f *Feed, first []byte) *Stream {
	return &Stream{feed: f, cursor: f.place(), rest: first}
}

// Open returns a stream. It waits until the subscription is confirmed: everything that is published after Open has
// returned reaches the stream. It returns ErrEnded if the client has seen the end of its one channel, ErrTooMany, or the
// error of ctx or of Redis.
func (b *Broker) Open(ctx context.Context, r Request) (*Stream, error) {
	names := slices.Sorted(slices.Values(r.Channels))
	types := slices.Compact(slices.Sorted(slices.Values(r.Types)))
	f, err := b.acquire(names, types, r.Encoder)
	if err != nil {
		return nil, err
	}
	s := &Stream{feed: f, broker: b}
	if err := s.open(ctx, r); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close ends the stream's interest in its feed. A second call does nothing.
func (s *Stream) Close() {
	if s.broker != nil && s.closed.CompareAndSwap(false, true) {
		s.broker.release(s.feed)
	}
}

// Feed returns the feed that the stream follows: its wake-ups tell when something new may be due.
func (s *Stream) Feed() *Feed { return s.feed }

// Next returns what is to be written to the client next: whole frames, or nothing if the client has everything so far. The
// stream is behind them then: the caller writes all of it, or ends the stream. The bytes must not be changed. It returns
// ErrBehind if Advance has to be called first, and ErrTooSlow or ErrEnded if the stream is over.
//
// shared spares questions to the feed: see Answer.
func (s *Stream) Next(shared *Answer) ([]byte, error) {
	switch {
	case len(s.rest) > 0:
		rest := s.rest
		s.rest = nil
		return rest, nil
	case s.past != nil:
		return nil, ErrBehind
	}
	frames, err := shared.after(s.feed, s.cursor)
	s.cursor += int64(len(frames))
	return frames, err
}

// Advance makes the next part of what leads to the feed; then Next returns it. Events that were published meanwhile are in it, so
// a client that is slower than its channel may never come to the feed. It may be called after Next has returned ErrBehind.
//
// Advance does not block. If something has to be read first, it changes nothing and returns a function that waits until
// that was read; then Advance is to be called again. If that function returns an error, the stream must be closed.
func (s *Stream) Advance() (wait func(context.Context) error) {
	if len(s.rest) > 0 || s.past == nil {
		return nil // something comes before it
	}
	if _, short, missing := s.advance(); missing != needNothing {
		return func(ctx context.Context) error { return s.broker.provide(ctx, short, missing) }
	}
	return nil
}

// open finds the stream's place, and makes what leads there.
func (s *Stream) open(ctx context.Context, r Request) error {
	f := s.feed
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
	id := store.ParseEventID(r.LastEventID, f.names)
	s.past = &past{starts: f.starts(r, id)}
	for {
		parts, short, missing := s.advance()
		if missing == needNothing {
			if f.finished(parts, r, id) {
				return ErrEnded
			}
			return nil
		}
		if err := s.broker.provide(ctx, short, missing); err != nil {
			return err
		}
	}
}

// advance makes rest of what comes after past.starts, and moves these to where it leads. It returns what there was, or
// the channel that something is missing of.
func (s *Stream) advance() (parts []part, short *channel, missing need) {
	f, starts := s.feed, s.past.starts
	lock(f.channels)
	parts, short, missing = f.replay(starts)
	if missing == needNothing {
		s.cursor = f.place()
	}
	unlock(f.channels)
	if missing != needNothing {
		return nil, short, missing
	}
	var at []store.Position
	var more bool
	s.rest, at, more = f.encodeReplay(parts, s.broker.stats.gaps.Add)
	if !more {
		s.past = nil // the stream may be long
		return parts, nil, needNothing
	}
	for i, p := range parts {
		starts[i] = resumePoint{resume: true, at: at[i], known: true, epoch: p.epoch}
	}
	return parts, nil, needNothing
}

// provide gets what is missing of a channel.
func (b *Broker) provide(ctx context.Context, c *channel, missing need) error {
	switch missing {
	case needLive:
		if err := c.waitLive(ctx, nil); err != nil {
			return fmt.Errorf("channel %q is being read: %w", c.name, err)
		}
	case needOlder:
		stale, err := c.load(ctx, func() (store.History, error) { return b.history(ctx, c.name) })
		if err != nil || !stale {
			return err
		}
		return b.verify(ctx, c)
	case needVerification:
		return b.verify(ctx, c)
	}
	return nil
}

// verify has a channel synchronised with Redis. Made-up ids must not keep it busy: it does so only so often, and
// otherwise waits a little, as somebody else's question may answer ours.
func (b *Broker) verify(ctx context.Context, c *channel) error {
	c.mu.Lock()
	soon := time.Until(c.verifiedAt.Add(verifyEvery))
	if soon <= 0 {
		c.verifiedAt = time.Now()
		if c.state == live {
			c.setState(subscribed)
			b.synchroniseLater(c)
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
func lock(channels []*channel) {
	for _, c := range channels {
		c.mu.Lock()
	}
}

func unlock(channels []*channel) {
	for _, c := range channels {
		c.mu.Unlock()
	}
}

// all reports whether ok is true for every channel.
func all(channels []*channel, ok func(*channel) bool) bool {
	return !slices.ContainsFunc(channels, func(c *channel) bool { return !ok(c) })
}
