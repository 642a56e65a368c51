package pubsub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"sluice/store"
)

var (
	// ErrEnded means that a stream is over for good: its one channel has ended, and the client has all of it.
	ErrEnded = errors.New("stream has ended")
	// ErrTooSlow means that a stream has fallen off the tail of a feed: the client took too little for too long. The stream is
	// closed; the client resumes by its last event id.
	ErrTooSlow = errors.New("stream is too slow")
	// ErrBehind means that what comes next is not made yet: Advance makes it. It also lets other streams have a turn when a
	// filter has passed none of very many events.
	ErrBehind = errors.New("stream is behind its feeds")
	// ErrTooMany is returned for a stream of channels that would be more than this replica can follow.
	ErrTooMany = errors.New("too many channels")
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

// Stream is the place of one client in the feeds of its channels, and the bytes on the way there. It answers one question,
// whatever state it is in: what comes next? A writer moves these bytes to a connection.
//
//	what was made first ──► the next part of the past ──► live frames of the feeds ──► the end
//	      (Next)             (ErrBehind: Advance)                (Next)               (ErrEnded)
//
// A Stream is for one goroutine at a time. But Close, and the function that Advance returns, may be called meanwhile.
type Stream struct {
	broker  *Broker  // nil for a feed that is not a broker's
	cursors []cursor // by channel, in the order of their names
	filter  *filter  // nil: all types
	ahead   *ahead   // nil: nothing comes before the feeds' frames
	// unseen counts the events since the client was told its place that the filter did not pass.
	unseen uint32
	over   bool // the client's one channel has ended
	closed atomic.Bool
}

// cursor is a stream's place in a feed.
type cursor struct {
	feed *Feed
	next uint64 // number of the frame that the client has not got
	// at is where the client is in the channel. Of a stream of one channel without a filter it is where it went live: the
	// frames' own ids tell the client more.
	at store.Place
}

// filter chooses events by their type.
type filter struct{ types []string }

// passes reports whether events of a type are chosen. A nil filter chooses all.
func (f *filter) passes(typ string) bool { return f == nil || slices.Contains(f.types, typ) }

// ahead is what a stream gets before the frames of its feeds.
type ahead struct {
	bytes []byte
	// past tells where bytes leads to, by channel, if that is not where the feeds begin. It is nil otherwise.
	past []resumePoint
}

// NewStream returns a stream of a feed that its owner fills (see NewFeed). It begins with first, and goes on with the next
// frame of the feed.
func NewStream(f *Feed, first []byte) *Stream {
	return &Stream{cursors: []cursor{{feed: f, next: f.head.Load()}}, ahead: &ahead{bytes: first}}
}

// Open returns a stream. It waits until the subscriptions are confirmed: everything that is published after Open has
// returned reaches the stream. It returns ErrEnded if the client has seen the end of its one channel, ErrTooMany, or the
// error of ctx or of Redis.
func (b *Broker) Open(ctx context.Context, r Request) (*Stream, error) {
	names := slices.Sorted(slices.Values(r.Channels))
	feeds, err := b.acquire(names, r.Encoder)
	if err != nil {
		return nil, err
	}
	s := &Stream{broker: b, cursors: make([]cursor, len(feeds))}
	for i, f := range feeds {
		s.cursors[i].feed = f
	}
	if len(r.Types) > 0 {
		s.filter = &filter{slices.Clone(r.Types)}
	}
	if err := s.open(ctx, r, names); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close ends the stream's interest in its feeds. A second call does nothing.
func (s *Stream) Close() {
	if s.broker != nil && s.closed.CompareAndSwap(false, true) {
		s.broker.release(s.cursors)
	}
}

// Feeds returns the feeds that the stream follows: their wake-ups tell when there may be something new.
func (s *Stream) Feeds() []*Feed {
	feeds := make([]*Feed, len(s.cursors))
	for i, c := range s.cursors {
		feeds[i] = c.feed
	}
	return feeds
}

// Next returns what is to be written to the client next: whole frames, or nothing if the client has everything so far. The
// stream is behind them then: the caller writes all of it, or ends the stream. It returns ErrBehind if Advance has to be
// called first, and ErrTooSlow or ErrEnded if the stream is over.
//
// The bytes must not be changed. If same is true, they stay as they are, and other streams at the same place get the very
// same bytes; otherwise they are valid until a is used again.
func (s *Stream) Next(a *Answer) (b []byte, same bool, err error) {
	switch {
	case s.ahead != nil && len(s.ahead.bytes) > 0:
		b = s.ahead.bytes
		if s.ahead.bytes = nil; s.ahead.past == nil {
			s.ahead = nil // the stream may be long
		}
		return b, false, nil
	case s.ahead != nil && s.ahead.past != nil:
		return nil, false, ErrBehind
	case s.over:
		return nil, false, ErrEnded
	case len(s.cursors) == 1 && s.filter == nil:
		c := &s.cursors[0]
		var final bool
		b, c.next, final, err = a.piece(c.feed, c.next)
		s.over = final
		return b, true, err
	default:
		b, err = s.choose(&a.choice)
		return b, false, err
	}
}

// Idle returns what a writer sends to a client that has had nothing for a while: the place that the client does not know, or
// nothing, if it knows its place.
func (s *Stream) Idle() []byte {
	if s.unseen == 0 || s.ahead != nil {
		return nil
	}
	s.unseen = 0
	return s.encoder().Position(nil, s.appendID(nil))
}

// Advance makes the next part of what leads to the feeds; then Next returns it. Events that were published meanwhile are in
// it, so a client that is slower than its channels may never come to the feeds. It may be called after Next has returned
// ErrBehind.
//
// Advance does not block. If something has to be read first, it changes nothing and returns a function that waits until
// that was read; then Advance is to be called again. If that function returns an error, the stream must be closed.
func (s *Stream) Advance() (wait func(context.Context) error) {
	if s.ahead == nil || len(s.ahead.bytes) > 0 || s.ahead.past == nil {
		return nil // something comes before it
	}
	if _, c, missing := s.advance(); missing != needNothing {
		return func(ctx context.Context) error { return s.broker.provide(ctx, c, missing) }
	}
	return nil
}

// encoder returns the encoder of the stream's feeds.
func (s *Stream) encoder() Encoder { return s.cursors[0].feed.encoder }

// open finds the stream's place, and makes what leads there.
func (s *Stream) open(ctx context.Context, r Request, names []string) error {
	id := store.ParseEventID(r.LastEventID, names)
	s.ahead = &ahead{past: s.resumePoints(r, id)}
	for {
		parts, c, missing := s.advance()
		if missing == needNothing {
			if finished(parts, r, id) {
				return ErrEnded
			}
			return nil
		}
		if err := s.broker.provide(ctx, c, missing); err != nil {
			return err
		}
	}
}

// advance makes a part of what comes after past, and moves past to where it leads. It returns what there was, or the channel
// whose data is missing.
func (s *Stream) advance() (parts []part, c *channel, missing need) {
	parts = make([]part, len(s.cursors))
	for i, point := range s.ahead.past {
		cur := &s.cursors[i]
		if parts[i], missing = cur.feed.channel.replayInto(cur, point); missing != needNothing {
			return nil, cur.feed.channel, missing
		}
	}
	encoded, at, more := s.encodeReplay(parts)
	s.ahead.bytes = encoded
	if !more {
		s.ahead.past = nil
		s.over = len(parts) == 1 && parts[0].tip.Final
		return parts, nil, needNothing
	}
	for i, p := range parts {
		s.ahead.past[i] = resumePoint{resume: true, at: at[i], known: true, epoch: p.epoch}
	}
	return parts, nil, needNothing
}

// appendID appends the event id that says where the client is.
func (s *Stream) appendID(dst []byte) []byte {
	if len(s.cursors) == 1 {
		return s.cursors[0].at.Append(dst)
	}
	names, at := make([]string, len(s.cursors)), make([]store.Place, len(s.cursors))
	for i, c := range s.cursors {
		names[i], at[i] = c.feed.channel.name, c.at
	}
	return store.AppendEventID(dst, names, at)
}

// resumePoints returns where the client is, by channel.
func (s *Stream) resumePoints(r Request, id store.EventID) []resumePoint {
	points := make([]resumePoint, len(s.cursors))
	for i, c := range s.cursors {
		epoch, _ := c.feed.channel.staleEpoch()
		points[i] = resumePoint{
			resume: r.LastEventID != "", at: id.Places[i], known: id.Known[i], replay: r.Replay, epoch: epoch,
		}
	}
	return points
}

// provide gets what is missing of a channel.
func (b *Broker) provide(ctx context.Context, c *channel, missing need) error {
	switch missing {
	case needLive:
		if err := c.waitLive(ctx, b.closed.Done()); err != nil {
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
