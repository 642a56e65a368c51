package pubsub

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"sluice/store"
	"sluice/store/kind"
)

// Bounds of what one channel holds in memory.
const (
	memoryBytes  = 256 << 10   // of recent events' data; older ones are read from Redis again
	memoryTime   = time.Minute // but a history that was just read stays: a herd may be on its way
	pendingBytes = 16 << 20    // announced while the channel is being synchronised; beyond, it is synchronised again
)

// Channel is a replica's view of one channel: where it stands, its recent events, and the feeds that want them.
// All of its methods are safe for concurrent use.
type Channel struct {
	name string
	rule kind.Rule

	// mu is also held while events are appended to feeds, so that whoever holds it sees every feed of this channel
	// exactly at the tip. Several channels' mu are taken in the order of their names; a feed's mu after them.
	mu       sync.Mutex
	state    state         // guarded by mu
	asked    time.Time     // when a client's unknown position had it compared with Redis last; guarded by mu
	epoch    int           // how often it was settled: what was read before the last time is too old; guarded by mu
	begun    bool          // history is valid: the channel was synchronised once; guarded by mu
	history  store.History // newest events, as delivered; guarded by mu
	whole    bool          // history reaches as far back as Redis's; guarded by mu
	loaded   time.Time     // when all of history was read from Redis; guarded by mu
	bytes    int           // of history's data; guarded by mu
	moved    bool          // an event came since the last check of quiet channels; guarded by mu
	past     trail         // guarded by mu
	pending  []store.Event // announced while not live; guarded by mu
	waiting  int           // bytes in pending; guarded by mu
	overflow bool          // pending was full; guarded by mu
	live     chan struct{} // closed while state is live; guarded by mu
	feeds    []feedRef     // guarded by mu

	loading sync.Mutex // one reading of the whole history at a time

	// The broker's, guarded by its mu.
	users     int // feeds that exist, and one for a pinned channel
	idleSince time.Time
}

// state is how well a channel is connected to Redis.
type state int

const (
	unsettled state = iota // events may pass without reaching us
	settled                // they reach us; what passed before is still to be read
	live                   // and has been read
)

func newChannel(name string, rule kind.Rule) *Channel {
	return &Channel{name: name, rule: rule, live: make(chan struct{})}
}

// feedRef is a feed that wants a channel's events, and its index of the channel.
type feedRef struct {
	feed  *Feed
	index int
}

// verdict is what to do with an announced event.
type verdict int

const (
	deliver verdict = iota // the next one
	ignore                 // delivered already
	repair                 // a hole, or another branch: what Redis has stored decides
)

// admit decides on an announced event; c.mu is held.
func (c *Channel) admit(e store.Event) verdict {
	tip := c.history.Tip.Position
	switch {
	case e.Position.Offset == tip.Offset+1 && e.Prev == tip.Nonce:
		return deliver
	case c.history.Has(e.Position) || c.past.has(e.Position):
		return ignore
	default:
		return repair
	}
}

// announced takes in an announcement. It reports whether the channel must be synchronised with Redis.
func (c *Channel) announced(e store.Event) (stale bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != live {
		c.hold(e)
		return false // it will be, or is being
	}
	switch c.admit(e) {
	case deliver:
		c.deliver([]store.Event{e})
	case repair:
		c.hold(e)
		c.setState(settled)
		return true
	}
	return false
}

// hold keeps an event until the channel is live; c.mu is held.
func (c *Channel) hold(e store.Event) {
	if c.waiting += len(e.Data) + overhead; c.waiting > pendingBytes {
		c.overflow = true
		return
	}
	c.pending = append(c.pending, e)
}

// settle notes that everything published from now on reaches us. The channel must be synchronised then.
func (c *Channel) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setState(settled)
}

// unsettle notes that the connection to Redis is lost.
func (c *Channel) unsettle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setState(unsettled)
	c.pending, c.waiting, c.overflow = nil, 0, false // what they say is read from Redis later
}

// endPeriod ends a period between two comparisons of quiet channels. It reports whether the channel is to be compared
// now: it is live, and had no event in that period (or always is true).
func (c *Channel) endPeriod(always bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	quiet := !c.moved
	c.moved = false
	return c.state == live && (quiet || always)
}

// compare looks whether the channel stands where Redis does. If it does not, it must be synchronised: then compare
// returns true. An event that came since endPeriod may be younger than tip, so then nothing can be said.
func (c *Channel) compare(tip store.Tip) (stale bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != live || c.moved || tip.Position == c.history.Tip.Position && tip.Base == c.history.Base {
		return false
	}
	c.setState(settled)
	return true
}

// detach ends the delivery to a feed.
func (c *Channel) detach(f *Feed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.feeds = slices.DeleteFunc(c.feeds, func(r feedRef) bool { return r.feed == f })
	if len(c.feeds) == 0 {
		c.feeds = nil
	}
}

// setState changes the state and keeps the live channel in step; c.mu is held.
func (c *Channel) setState(s state) {
	if (s == live) != (c.state == live) {
		if s == live {
			close(c.live)
			c.live = closedChannel // one for all: there may be very many channels
		} else {
			c.live = make(chan struct{})
		}
	}
	c.state = s
	if s == settled {
		c.epoch++
	}
}

// unsynchronised returns the epoch to give to synchronise; ok is false if there is nothing to synchronise.
func (c *Channel) unsynchronised() (epoch int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epoch, c.state == settled
}

// synchronise brings the channel up to what Redis has stored: tip, or, if that is not where the channel stands, all
// of read(). It reports whether it must be called again. It is called for one channel by one goroutine at a time.
//
// tip and read() must be younger than epoch (see unsynchronised): an older one could say that nothing was missed while
// something was. And what was announced before they were read must have arrived: the list may have been trimmed of
// events that are on their way to us, and these are not lost.
func (c *Channel) synchronise(epoch int, tip store.Tip, read func() (store.History, error)) (again bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != settled || c.epoch != epoch {
		return c.state == settled, nil
	}
	switch {
	case !c.begun && !c.rule.Latest:
		c.begin(store.History{Tip: tip}.Extended(c.pending))
	case c.begun && c.reaches(tip):
	default:
		begun, before := c.begun, len(c.pending)
		c.mu.Unlock()
		theirs, err := read()
		c.mu.Lock()
		if err != nil {
			return true, err
		}
		switch {
		case c.state != settled:
			return false, nil // the connection was lost meanwhile; the next one will bring us back
		case c.epoch != epoch || theirs.Base == (store.Nonce{}): // or everything was lost between the two readings
			return true, nil
		}
		if theirs = theirs.Extended(c.pending); begun {
			c.catchUp(theirs)
		} else {
			c.begin(theirs)
		}
		c.forgetUnknown(before)
	}
	if !c.drain() || c.overflow {
		c.overflow = false
		return true, nil
	}
	c.setState(live)
	return false, nil
}

// reaches reports whether the channel, with what was announced meanwhile, stands where Redis did; c.mu is held.
func (c *Channel) reaches(tip store.Tip) bool {
	ours := c.history.Tip.Position
	if tip.Base != c.history.Base || ours.Offset > tip.Position.Offset {
		return false // Redis was emptied, or came back older
	}
	return c.drain() && (c.history.Tip.Position == tip.Position || c.past.has(tip.Position))
}

// forgetUnknown drops, of the first n pending events, those that lead nowhere: they were announced before Redis was
// read, so what it still has of them is known by now. The others are of a branch that is lost. c.mu is held.
func (c *Channel) forgetUnknown(n int) {
	kept := make([]store.Event, 0, len(c.pending))
	for i, e := range c.pending {
		if i < n && c.admit(e) == repair {
			c.waiting -= len(e.Data) + overhead
			continue
		}
		kept = append(kept, e)
	}
	c.pending = kept
}

// drain delivers pending events as far as they follow the last one. It reports whether none is left; c.mu is held.
func (c *Channel) drain() bool {
	for len(c.pending) > 0 {
		e := c.pending[0]
		switch c.admit(e) {
		case deliver:
			c.deliver([]store.Event{e})
		case repair:
			return false
		}
		c.pending = c.pending[1:]
		c.waiting -= len(e.Data) + overhead
	}
	c.pending, c.waiting = nil, 0
	return true
}

// begin sets the channel to where it stands in Redis, the first time; c.mu is held.
func (c *Channel) begin(h store.History) {
	c.begun, c.history, c.whole = true, h, c.rule.Latest
	c.past.add(h.Tip.Position)
	for _, e := range h.Events {
		c.bytes += len(e.Data)
	}
}

// catchUp delivers what leads to theirs; c.mu is held.
func (c *Channel) catchUp(theirs store.History) {
	before := c.history.Tip.Position
	events, gap := catchUp(c.history, &c.past, theirs, c.rule)
	if common := c.past.last(); gap == "" && common != before {
		for _, r := range c.feeds { // so that clients hold a position that every replica knows, even if nothing comes
			r.feed.rewind(r.index, common)
		}
	}
	// Whatever was in memory may be of an abandoned branch; theirs is what is stored.
	c.history, c.whole, c.loaded, c.bytes = theirs, true, time.Now(), 0
	for _, e := range theirs.Events {
		c.bytes += len(e.Data)
	}
	if gap != "" {
		from := theirs.Floor()
		c.past.reset(from)
		for _, r := range c.feeds {
			r.feed.gap(r.index, from, gap)
		}
	}
	for _, e := range events {
		c.past.add(e.Position)
		for _, r := range c.feeds {
			r.feed.append(r.index, e)
		}
	}
	c.trim()
}

// deliver appends new events, in order and without a hole, to the memory and to all feeds; c.mu is held.
func (c *Channel) deliver(events []store.Event) {
	c.moved = true
	for _, e := range events {
		c.history.Events = append(c.history.Events, e)
		c.history.Tip.Position, c.history.Tip.Final = e.Position, e.Final
		c.bytes += len(e.Data)
		c.past.add(e.Position)
		for _, r := range c.feeds {
			r.feed.append(r.index, e)
		}
	}
	c.trim()
}

// trim bounds the memory; c.mu is held. Slices of c.history.Events that were handed out stay as they are: nothing is
// ever written over.
func (c *Channel) trim() {
	events := c.history.Events
	drop := 0
	if len(events) > c.rule.Capacity {
		drop = len(events) - c.rule.Capacity // Redis does not have them any more either
	}
	bytes := c.bytes
	for _, e := range events[:drop] {
		bytes -= len(e.Data)
	}
	for bytes > memoryBytes && drop < len(events)-1 && time.Since(c.loaded) > memoryTime {
		bytes -= len(events[drop].Data)
		drop++
		c.whole = false
	}
	c.history.Events, c.bytes = events[drop:], bytes
}

// lingers returns how long the channel stays subscribed after its last stream.
func (c *Channel) lingers() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.history.Tip.Position.Offset == 0 {
		return emptyLinger
	}
	return linger
}

// waitLive returns when the channel is live, or when ctx ends or gone is closed.
func (c *Channel) waitLive(ctx context.Context, gone <-chan struct{}) error {
	c.mu.Lock()
	ready := c.live
	c.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-gone:
		return errUnused
	}
}

var errUnused = errors.New("nobody waits any more")

// start says from where one stream of the channel starts.
type start struct {
	resume bool
	at     store.Position // of a resume
	known  bool           // at could be read
	replay int            // newest events for a first connect
	epoch  int            // the channel's when the client asked: live in a later one, it was compared with Redis since
}

// lack is what is missing for a replay.
type lack int

const (
	nothing      lack = iota
	connection        // the channel is not live
	older             // events that are not in memory: load
	verification      // the position is unknown here, but another replica may be ahead of us: synchronise first
)

// replay returns what a stream gets before it goes live, and the position it has before the first of these events.
// c.mu is held. If something is missing for that, it must be provided and replay called again.
func (c *Channel) replay(s start) (p part, missing lack) {
	p.tip, p.epoch = c.history.Tip, c.epoch
	switch {
	case !s.resume:
		p.events = c.history.Last(s.replay)
		if len(p.events) < s.replay && !c.whole {
			return p, older
		}
	case !s.known:
		if !c.whole {
			return p, older
		}
		p.events, p.gap = c.history.Events, store.Unknown
	default:
		p.events, p.gap = c.history.After(c.past.translate(s.at))
		switch {
		case p.gap == store.Reset && c.epoch == s.epoch:
			return p, verification
		case p.gap != "" && !c.whole:
			return p, older
		}
	}
	if c.rule.Latest {
		p.gap = ""
	}
	p.from = c.history.Tip.Position
	if len(p.events) > 0 {
		p.from = store.Position{Offset: p.events[0].Position.Offset - 1, Nonce: p.events[0].Prev}
	}
	return p, nothing
}

// load reads the whole history from Redis into memory. However many streams ask at once, it is read once. It reports
// whether what it read does not lead to where the channel stands: then the channel must be synchronised first.
func (c *Channel) load(read func() (store.History, error)) (stale bool, err error) {
	c.loading.Lock()
	defer c.loading.Unlock()
	c.mu.Lock()
	whole := c.whole
	c.loaded = time.Now() // what is delivered meanwhile must not push the floor out of the list's reach
	c.mu.Unlock()
	if whole {
		return false, nil
	}
	theirs, err := read()
	if err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	floor := c.history.Floor()
	var older []store.Event
	switch {
	case theirs.Has(floor):
		older = theirs.Events[:floor.Offset-theirs.Floor().Offset]
	case floor.Offset > theirs.Tip.Position.Offset:
		return true, nil // we have moved beyond what was read, or Redis has gone back
	default: // nothing from before our oldest event is stored any more
	}
	events := make([]store.Event, 0, len(older)+len(c.history.Events))
	c.history.Events = append(append(events, older...), c.history.Events...)
	for _, e := range older {
		c.bytes += len(e.Data)
	}
	c.whole = true
	return false, nil
}
