package pubsub

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/store"
)

// Encoder turns what a feed carries into bytes for the wire. Its methods append to dst and return it. The streams of a
// feed share what it makes. Encoders are compared with ==: equal ones must encode equally.
type Encoder interface {
	// ID encodes an event id. It stands in front of what Event and Gap encode.
	ID(dst, id []byte) []byte
	Event(dst []byte, e store.Event) []byte
	// Gap tells the client of a gap.
	Gap(dst []byte, channel string, reason store.Reason) []byte
	// Position tells the client its place without an event. The id is in it already.
	Position(dst, id []byte) []byte
}

// Bounds of a feed's memory. A quiet feed has no chunk at all, a busy one few large ones, so that what comes next for a stream
// is one piece of memory.
const (
	smallestChunk = 512
	largestChunk  = 32 << 10
	overhead      = 96 // bytes of a frame beyond its event's data, more or less
	frameBytes    = 72 // size of a frame's entry in the index
	fewestFrames  = 8  // are kept, however large they are: a reader must have the time to take one
)

// Bounds of all feeds of a broker together. Beyond plentyBytes, each keeps no more than scarceBytes: whoever follows very many
// channels must not fill the memory. Streams are ended sooner then, and resume.
const (
	plentyBytes = 256 << 20
	scarceBytes = 64 << 10
)

// keepFor is how long a feed keeps frames. A stream that has not taken a frame by then is too slow.
const keepFor = 30 * time.Second

// frameKind says what a frame is.
type frameKind uint8

const (
	eventFrame    frameKind = iota
	finalFrame              // an event that ended its channel
	gapFrame                // a gap notice; no filter drops it
	positionFrame           // a place; a stream with an id of its own makes the frame anew; no filter drops it
)

// frame is one frame of a feed. Frames are never changed.
type frame struct {
	bytes   []byte      // a part of a chunk
	typ     string      // of an event
	at      store.Place // where a client is in the channel that has got the frame
	arrival uint64      // grows from frame to frame over all channels of a replica
	start   uint32      // of bytes in the chunk
	idBytes uint16      // length of the id at the beginning of bytes
	kind    frameKind
}

// chunk is a piece of memory with frames, one after the other. Bytes are appended to it and never changed.
type chunk struct {
	first uint64 // number of its first frame
	bytes []byte
	last  time.Time // when its newest frame was appended
	final bool      // its newest frame is a finalFrame; nothing is appended to it any more
}

// Feed is the log of the ready frames of one channel in one representation. Each event is encoded once, however many streams
// follow the channel together with whatever other channels. A stream has a cursor into each of its feeds: the number of the
// frame that it has not got.
//
// A Feed is safe for concurrent use. It keeps the newest limit bytes (fewer, if all feeds together are very large), for
// at most keepFor; older ones are gone, and a stream that has not got them is too slow.
type Feed struct {
	channel *channel // nil: the feed's owner fills it by Write
	encoder Encoder
	limit   int
	shared  *shared // with all feeds of a broker; nil: a feed by itself

	head atomic.Uint64 // number of the next frame; it changes under mu

	mu      sync.Mutex
	frames  []frame       // the frames that are kept, oldest first; guarded by mu
	chunks  []chunk       // their memory; guarded by mu
	size    int           // bytes of the chunks' memory; guarded by mu
	changed chan struct{} // closed at the next append; nil while nobody waits; guarded by mu
	wakers  []*func()     // guarded by mu
	id      []byte        // scratch; guarded by mu

	streams int // guarded by the broker's mu
}

// shared is what the feeds of a broker have in common.
type shared struct {
	held     atomic.Int64  // bytes that they take together
	arrivals atomic.Uint64 // frames that they have got together
}

// NewFeed returns a feed without a channel, for frames that its owner makes itself (see Write). It keeps limit bytes.
func NewFeed(limit int) *Feed { return &Feed{limit: limit} }

// from appends to dst the frames from number next on, most of them at most, and returns it. more tells that there are more.
// It returns ErrTooSlow if the first of them is gone.
func (f *Feed) from(dst []frame, next uint64, most int) (all []frame, more bool, err error) {
	if f.head.Load() == next {
		return dst, false, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	i := len(f.frames) - int(f.head.Load()-next)
	if i < 0 {
		return dst, false, ErrTooSlow
	}
	end := min(i+most, len(f.frames))
	return append(dst, f.frames[i:end]...), end < len(f.frames), nil
}

// piece returns frames from number next on that lie in one piece of memory, and the number of the frame after them. final
// tells that the last of them is a finalFrame; then nothing else follows it in the piece. There are none if next is the
// head. It returns ErrTooSlow if the first of them is gone.
func (f *Feed) piece(next uint64) (bytes []byte, after uint64, final bool, err error) {
	if f.head.Load() == next {
		return nil, next, false, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	head := f.head.Load()
	i := len(f.frames) - int(head-next)
	if i < 0 {
		return nil, next, false, ErrTooSlow
	}
	k, found := slices.BinarySearchFunc(f.chunks, next, func(c chunk, next uint64) int {
		return int(min(max(int64(c.first-next), -1), 1))
	})
	if !found {
		k--
	}
	c := f.chunks[k]
	after = head
	if k+1 < len(f.chunks) {
		after = f.chunks[k+1].first
	}
	return c.bytes[f.frames[i].start:len(c.bytes):len(c.bytes)], after, c.final, nil
}

// Changed returns a channel that is closed when the feed gets a frame after the call. Whoever waits for something new takes
// the channel first and asks what comes next then, so that nothing comes between the two unnoticed.
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

// Write appends a frame that is encoded already.
func (f *Feed) Write(encoded []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.room(len(encoded))
	c.bytes = append(c.bytes, encoded...)
	f.commit(c, frame{kind: eventFrame}, len(encoded))
}

// event appends the next event of the channel.
func (f *Feed) event(e store.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := frame{typ: e.Type, at: e.Position.Place()}
	f.id = e.Position.Append(f.id[:0])
	if e.Final {
		g.kind = finalFrame
		f.id = append(f.id, store.EndMark...)
	}
	f.encode(g, len(e.Data)+len(e.Type)+len(e.Channel), func(dst []byte) []byte { return f.encoder.Event(dst, e) })
}

// rewind tells the clients that the channel stands at an earlier place.
func (f *Feed) rewind(at store.Place) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.id = at.Append(f.id[:0])
	c := f.room(2*len(f.id) + overhead)
	before := len(c.bytes)
	c.bytes = f.encoder.Position(c.bytes, f.id)
	f.commit(c, frame{kind: positionFrame, at: at}, len(c.bytes)-before)
}

// gap tells the clients of a gap in the channel, whose next event comes right after from.
func (f *Feed) gap(from store.Position, reason store.Reason) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.id = from.Append(f.id[:0])
	g := frame{kind: gapFrame, at: from.Place()}
	f.encode(g, len(f.channel.name), func(dst []byte) []byte { return f.encoder.Gap(dst, f.channel.name, reason) })
}

// encode appends a frame that begins with f.id; size is about that of its text. f.mu is held.
func (f *Feed) encode(g frame, size int, text func(dst []byte) []byte) {
	c := f.room(len(f.id) + size + overhead)
	before := len(c.bytes)
	c.bytes = f.encoder.ID(c.bytes, f.id)
	g.idBytes = uint16(len(c.bytes) - before)
	c.bytes = text(c.bytes)
	f.commit(c, g, len(c.bytes)-before)
}

// room returns the newest chunk if size bytes fit in, or a new one; f.mu is held.
func (f *Feed) room(size int) *chunk {
	if n := len(f.chunks); n > 0 {
		if c := &f.chunks[n-1]; cap(c.bytes)-len(c.bytes) >= size && !c.final {
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
	f.chunks = append(f.chunks, chunk{first: f.head.Load(), bytes: make([]byte, 0, max(want, size))})
	f.resize(cap(f.chunks[len(f.chunks)-1].bytes), 0)
	return &f.chunks[len(f.chunks)-1]
}

// resize notes that the feed's chunks take so many bytes more, and that it has so many frames more; f.mu is held.
func (f *Feed) resize(bytes, frames int) {
	f.size += bytes
	if f.shared != nil {
		f.shared.held.Add(int64(bytes + frames*frameBytes))
	}
}

// commit adds the frame that the last n bytes of the newest chunk hold, drops what is too old, and wakes everybody who
// waits; f.mu is held.
func (f *Feed) commit(c *chunk, g frame, n int) {
	g.start = uint32(len(c.bytes) - n)
	g.bytes = c.bytes[g.start:len(c.bytes):len(c.bytes)]
	c.last, c.final = time.Now(), g.kind == finalFrame
	if f.shared != nil {
		g.arrival = f.shared.arrivals.Add(1)
	}
	f.frames = append(f.frames, g)
	f.resize(0, 1)
	f.head.Add(1)
	limit, fewest := f.limit, uint64(fewestFrames)
	if f.shared != nil && f.shared.held.Load() > plentyBytes {
		limit, fewest = min(limit, scarceBytes), 1
	}
	for f.size > limit && len(f.chunks) > 1 && f.head.Load()-f.chunks[1].first >= fewest {
		f.dropOldest()
	}
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
	for _, wake := range f.wakers {
		(*wake)()
	}
}

// dropOldest removes the oldest chunk and its frames; f.mu is held.
func (f *Feed) dropOldest() {
	n := len(f.frames)
	if len(f.chunks) > 1 {
		n -= int(f.head.Load() - f.chunks[1].first)
	}
	f.resize(-cap(f.chunks[0].bytes), -n)
	f.chunks = slices.Delete(f.chunks, 0, 1) // frees the chunk: a slice of the rest would keep it
	clear(f.frames[:n])                      // frees the memory that they refer to
	if f.frames = f.frames[n:]; len(f.frames) == 0 {
		f.frames, f.chunks = nil, nil
	}
}

// sweep drops frames older than keepFor.
func (f *Feed) sweep(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.chunks) > 0 && now.Sub(f.chunks[0].last) > keepFor {
		f.dropOldest()
	}
}

// discard drops everything: nobody reads the feed any more.
func (f *Feed) discard() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.chunks) > 0 {
		f.dropOldest()
	}
}

// Answer remembers what a feed has answered. Most streams that follow one channel stand at the same place: a writer that gives
// one Answer to all streams of a feed asks the feed once. It serves one round of writing; what the feed gets during the round
// is noticed in the next one, since the feed wakes its writers again. The zero value remembers nothing.
//
// An Answer is for one goroutine at a time.
type Answer struct {
	feed  *Feed
	next  uint64 // of the question
	bytes []byte // the answer: see Feed.piece
	after uint64
	final bool

	upToDate *Feed // this feed has nothing from number head on
	head     uint64

	choice choice // memory for a stream that chooses among frames, or has ids of its own
}

// Forget makes the Answer ready for another round. The memory that it has is used again.
func (a *Answer) Forget() {
	*a = Answer{choice: a.choice}
}

// piece is Feed.piece, or its remembered answer.
func (a *Answer) piece(f *Feed, next uint64) (bytes []byte, after uint64, final bool, err error) {
	switch {
	case a.feed == f && a.next == next:
		return a.bytes, a.after, a.final, nil
	case a.upToDate == f && a.head == next:
		return nil, next, false, nil
	}
	bytes, after, final, err = f.piece(next)
	switch {
	case err != nil:
	case len(bytes) > 0:
		a.feed, a.next, a.bytes, a.after, a.final = f, next, bytes, after, final
	default:
		a.upToDate, a.head = f, next
	}
	return bytes, after, final, err
}
