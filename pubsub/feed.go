package pubsub

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/store"
)

// ErrTooMany is returned for a stream of channels that would be more than this replica can follow.
var ErrTooMany = errors.New("too many channels")

// Encoder turns what a feed carries into bytes for the wire. Its methods append to dst and return it. The streams of a
// feed share what it makes. Encoders are compared with ==: equal ones must encode equally.
type Encoder interface {
	Event(dst, id []byte, e store.Event) []byte
	// Gap tells the client of a gap. Without an id it says nothing of the client's place.
	Gap(dst, id []byte, channel string, reason store.Reason) []byte
	// Position tells the client its place without an event.
	Position(dst, id []byte) []byte
}

// Chunk sizes of a feed. A quiet feed has no chunk at all, a busy one few large ones, so that what is due to a stream
// is one or two pieces of memory.
const (
	smallestChunk = 512
	largestChunk  = 32 << 10
	overhead      = 96 // bytes of a frame beyond its event's data, more or less
)

// Bounds of all feeds of a broker together. Beyond it feeds keep no more than scarceBytes each: whoever asks for very many
// different sets of channels and types must not fill the memory. Streams are closed sooner then, and resume.
const (
	plentyBytes = 256 << 20
	scarceBytes = 64 << 10
)

// keepFor is how long a feed keeps frames: a stream that has not taken a frame by then is too slow.
const keepFor = 30 * time.Second

// skippedAtMost is how many events a filter may pass over before the streams are told their new position, so that
// they resume from near where they are.
const skippedAtMost = 32

// chunk is a piece of a feed's log. Its bytes are appended to, never changed.
type chunk struct {
	start int64 // cursor of its first byte
	bytes []byte
	last  time.Time // of its newest frame
}

// Feed is a log of encoded frames for one set of channels and one filter. All streams that ask for the same share it,
// each with a cursor into it.
//
// A Feed is safe for concurrent use. It keeps the newest limit bytes (fewer, if all feeds together are very large), for
// at most keepFor; older ones are gone, and a stream still behind them gets ErrTooSlow.
type Feed struct {
	channels []*channel
	names    []string // of channels, sorted
	types    []string // sorted; empty: all
	encoder  Encoder
	limit    int
	held     *atomic.Int64 // bytes of all feeds together; nil: of none but this

	mu      sync.Mutex
	at      []store.Position // delivered, by channel; guarded by mu
	chunks  []chunk          // guarded by mu
	size    int              // bytes in chunks' backing memory; guarded by mu
	head    int64            // cursor behind the newest byte; guarded by mu
	tail    int64            // cursor of the oldest byte kept; guarded by mu
	ended   bool             // nothing comes any more; guarded by mu
	skipped int              // events since the clients were last told their position; guarded by mu
	changed chan struct{}    // closed at the next append; nil while nobody waits; guarded by mu
	wakers  []*func()        // guarded by mu
	id      []byte           // scratch; guarded by mu

	// The broker's.
	streams int           // guarded by the broker's mu
	ready   chan struct{} // closed when the feed is connected to its channels; guarded by mu
	gone    chan struct{} // closed when the last stream leaves before that; nil when connected; guarded by mu
}

// NewFeed returns a feed without channels, for frames that its owner makes itself (see Write). It keeps limit bytes.
func NewFeed(limit int) *Feed { return &Feed{limit: limit} }

// after returns frames behind cursor: all of them, or a good part. It returns nothing if there are none yet,
// ErrTooSlow if some are gone, and ErrEnded if there will be none any more.
//
// The bytes are shared and must not be changed.
func (f *Feed) after(cursor int64) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case cursor < f.tail:
		return nil, ErrTooSlow
	case cursor == f.head && f.ended:
		return nil, ErrEnded
	case cursor == f.head:
		return nil, nil
	}
	i, found := slices.BinarySearchFunc(f.chunks, cursor, func(c chunk, cursor int64) int {
		return int(min(max(c.start-cursor, -1), 1))
	})
	if !found {
		i--
	}
	c := f.chunks[i]
	return c.bytes[cursor-c.start : len(c.bytes) : len(c.bytes)], nil
}

// Answer remembers what a feed has answered. Most streams of a feed stand at the same place: a writer that gives one Answer
// to all of them asks the feed once. It serves the streams of one feed, in one round of writing; what the feed gets during
// the round is noticed in the next one, since the feed wakes its writers again. The zero value remembers nothing.
//
// An Answer is for one goroutine at a time.
type Answer struct {
	frames   []byte // due at cursor, if there are some
	cursor   int64
	upToDate bool // nothing is due at end
	end      int64
}

// after is Feed.after, or its remembered answer.
func (a *Answer) after(f *Feed, cursor int64) ([]byte, error) {
	switch {
	case len(a.frames) > 0 && a.cursor == cursor:
		return a.frames, nil
	case a.upToDate && a.end == cursor:
		return nil, nil
	}
	frames, err := f.after(cursor)
	switch {
	case len(frames) > 0:
		a.frames, a.cursor = frames, cursor
	case err == nil:
		a.upToDate, a.end = true, cursor
	}
	return frames, err
}

// Changed returns a channel that is closed when the feed gets a frame, or ends, after the call. Whoever waits for something
// new takes the channel first and asks what is due then, so that nothing comes between the two unnoticed.
func (f *Feed) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	return f.changed
}

var closedChannel = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Notify has wake called after every append, until stop is called. wake must not block and must not call the feed.
func (f *Feed) Notify(wake func()) (stop func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wakers = append(f.wakers, &wake)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.wakers = slices.DeleteFunc(f.wakers, func(w *func()) bool { return w == &wake })
	}
}

// place returns the cursor behind the newest frame.
func (f *Feed) place() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.head
}

// Write appends frames that are encoded already.
func (f *Feed) Write(frames []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.room(len(frames))
	c.bytes = append(c.bytes, frames...)
	f.grown(c)
}

// append adds the next event of the i-th channel.
func (f *Feed) append(i int, e store.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at[i] = e.Position
	end := e.Final && len(f.names) == 1
	shown := wanted(f.types, e.Type)
	if !shown {
		f.skipped++
	}
	if !shown && !end && f.skipped < skippedAtMost {
		return
	}
	f.skipped = 0
	f.ended = f.ended || end
	f.id = store.AppendEventID(f.id[:0], f.names, f.at)
	c := f.room(len(e.Data) + len(f.id) + len(e.Type) + len(e.Channel) + overhead)
	switch {
	case shown:
		c.bytes = f.encoder.Event(c.bytes, f.id, e)
	case end: // the client must not come back for more
		c.bytes = f.encoder.Position(c.bytes, append(f.id, store.EndMark...))
	default:
		c.bytes = f.encoder.Position(c.bytes, f.id)
	}
	f.grown(c)
}

// rewind tells the clients that the i-th channel stands at an earlier position.
func (f *Feed) rewind(i int, at store.Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at[i] = at
	f.id = store.AppendEventID(f.id[:0], f.names, f.at)
	c := f.room(len(f.id) + overhead)
	c.bytes = f.encoder.Position(c.bytes, f.id)
	f.grown(c)
}

// over reports whether nothing comes any more.
func (f *Feed) over() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended
}

// gap adds a gap notice for the i-th channel, whose next event comes right after from.
func (f *Feed) gap(i int, from store.Position, reason store.Reason) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at[i] = from
	f.id = store.AppendEventID(f.id[:0], f.names, f.at)
	c := f.room(len(f.id) + len(f.names[i]) + overhead)
	c.bytes = f.encoder.Gap(c.bytes, f.id, f.names[i], reason)
	f.grown(c)
}

// room returns the newest chunk if size bytes fit in, or a new one; f.mu is held.
func (f *Feed) room(size int) *chunk {
	if n := len(f.chunks); n > 0 {
		if c := &f.chunks[n-1]; cap(c.bytes)-len(c.bytes) >= size {
			return c
		}
	}
	want := smallestChunk
	if n := len(f.chunks); n > 0 {
		want = min(2*cap(f.chunks[n-1].bytes), largestChunk)
	}
	if size > largestChunk/4 {
		want = size // a large frame has a chunk of its own: the rest of another one would be wasted, and count
	}
	f.chunks = append(f.chunks, chunk{start: f.head, bytes: make([]byte, 0, max(want, size))})
	f.resize(cap(f.chunks[len(f.chunks)-1].bytes))
	return &f.chunks[len(f.chunks)-1]
}

// resize notes that chunks have grown by n bytes; f.mu is held.
func (f *Feed) resize(n int) {
	f.size += n
	if f.held != nil {
		f.held.Add(int64(n))
	}
}

// grown notes that the newest chunk c has grown, and drops what is too old; f.mu is held.
func (f *Feed) grown(c *chunk) {
	f.head = c.start + int64(len(c.bytes))
	c.last = time.Now()
	limit := f.limit
	if f.held != nil && f.held.Load() > plentyBytes {
		limit = min(limit, scarceBytes)
	}
	for f.size > limit && len(f.chunks) > 1 {
		f.drop()
	}
	f.tell()
}

// drop removes the oldest chunk; f.mu is held.
func (f *Feed) drop() {
	f.resize(-cap(f.chunks[0].bytes))
	f.chunks[0] = chunk{} // so that the memory goes before the array does
	f.chunks = f.chunks[1:]
	f.tail = f.head
	if len(f.chunks) > 0 {
		f.tail = f.chunks[0].start
	} else {
		f.chunks = nil
	}
}

// tell wakes everybody who waits; f.mu is held.
func (f *Feed) tell() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
	for _, wake := range f.wakers {
		(*wake)()
	}
}

// sweep drops frames older than keepFor. It reports whether any are left.
func (f *Feed) sweep(now time.Time) (more bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.chunks) > 0 && now.Sub(f.chunks[0].last) > keepFor {
		f.drop()
	}
	return len(f.chunks) > 0
}

// discard drops everything: nobody reads the feed any more.
func (f *Feed) discard() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.chunks) > 0 {
		f.drop()
	}
}

// wanted reports whether a filter lets events of a type through.
func wanted(types []string, t string) bool {
	return len(types) == 0 || slices.Contains(types, t)
}
