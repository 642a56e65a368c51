package pubsub

import (
	"slices"
	"sync"
	"time"

	"sluice/store"
	"sluice/store/kind"
)

// maxPending bounds the events that are announced while the channel is synchronised, in bytes. When there are more, it is
// synchronised once more.
const maxPending = 16 << 20

// channel is a replica's view of one channel: its tip, its recent events, and the feeds that get its events.
// All of its methods are safe for concurrent use.
type channel struct {
	name string
	rule kind.Rule

	// mu is also held while events are appended to feeds, so that whoever holds it sees every feed of this channel
	// exactly at the tip. The mu of a feed is taken after it. Nobody holds the mu of two channels.
	mu sync.Mutex

	state state // guarded by mu
	// epoch counts how often state became subscribed, or a live channel was verified. A reading of Redis from an earlier epoch
	// must not be used.
	epoch      int           // guarded by mu
	known      int           // the newest epoch in which Redis was asked where the channel stands; guarded by mu
	becameLive chan struct{} // closed while state is live; guarded by mu
	busy       bool          // an event has come since the last comparison of quiet channels; guarded by mu
	unheard    bool          // events may have passed unheard since state was live; guarded by mu
	verifiedAt time.Time     // when Redis was last asked because of a client with an unknown position; guarded by mu

	begun       bool          // the channel was synchronised once, so history is valid; guarded by mu
	history     store.History // the newest events, as they were delivered; guarded by mu
	whole       bool          // history reaches as far back as the one in Redis; guarded by mu
	loadedAt    time.Time     // when all of history was read from Redis; guarded by mu
	memoryBytes int           // size of the data of history's events; guarded by mu
	trail       trail         // guarded by mu
	tipAt       time.Time     // when history got its tip; guarded by mu
	keptUntil   time.Time     // when Redis forgets the tip if nothing is published; guarded by mu
	cut         int           // bytes of events before history's that its array still refers to; guarded by mu
	cutBefore   int           // cut at the last sweep; guarded by mu
	expiresAt   time.Time     // when Redis drops history's events if none follows; zero: not known; guarded by mu
	memory      *memory       // of all channels; nil: not a broker's; guarded by mu
	accounted   int           // bytes of the channel there; guarded by mu

	pending      []store.Event // announced while not live, in order; guarded by mu
	pendingBytes int           // size of pending; guarded by mu
	pendingLost  bool          // pending was full; guarded by mu

	feeds []*Feed // one for each representation that a stream follows; guarded by mu

	loading chan struct{} // closed when the reading for streams that is under way ends; nil while there is none; guarded by mu

	// The fields below belong to the broker. Its mu guards them.
	users     int // streams, and one more if the channel is always followed
	idleSince time.Time
	index     int // in the broker's list

	rounds *rounds // nil: the channel is not a broker's
	turn   int     // its place there, see rounds; guarded by rounds.mu
}

// state is how well a channel is connected to Redis.
type state int

const (
	lost       state = iota // events may pass without reaching this replica
	subscribed              // events reach this replica; those that passed before must still be read
	live                    // nothing is missing
)

func newChannel(name string, rule kind.Rule) *channel {
	return &channel{name: name, rule: rule, becameLive: make(chan struct{})}
}

// verdict is what to do with an announced event.
type verdict int

const (
	deliver verdict = iota // it follows the last event
	ignore                 // it was delivered already
	repair                 // an event before it is missing, or it belongs to another branch: Redis must be asked
)

// judge decides on an announced event; c.mu is held.
func (c *channel) judge(e store.Event) verdict {
	tip := c.history.Tip.Position
	switch {
	case e.Position.Offset == tip.Offset+1 && (e.Prev == tip.Nonce || tip.Offset == 0) && !c.trail.left(e.Position):
		return deliver // the first event's Prev is the channel's base, which is made with it
	case c.history.Has(e.Position) || c.trail.has(e.Position):
		return ignore
	default:
		return repair
	}
}

// announced handles an announced event. It reports whether the channel must be synchronised because of it.
func (c *channel) announced(e store.Event) (stale bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != live {
		c.addPending(e)
		return false // it is going to be synchronised anyway
	}
	switch c.judge(e) {
	case deliver:
		c.deliver(e)
	case repair:
		c.addPending(e)
		c.setState(subscribed)
		return true
	}
	return false
}

// addPending keeps an event until the channel is live; c.mu is held.
func (c *channel) addPending(e store.Event) {
	if c.pendingBytes += len(e.Data) + overhead; c.pendingBytes > maxPending {
		c.pendingLost, c.unheard = true, true
		return
	}
	c.pending = append(c.pending, e)
}

// setSubscribed notes that everything published from now on reaches the channel. It must be synchronised then.
func (c *channel) setSubscribed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setState(subscribed)
}

// setBehind notes that announcements were dropped. It reports whether the channel must be synchronised because of that: a
// channel that is lost is going to be anyway.
func (c *channel) setBehind() (stale bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == lost {
		return false
	}
	c.unheard = true
	c.setState(subscribed) // with a new epoch: what was read of Redis before may lack what was dropped
	return true
}

// setLost notes that the connection to Redis is lost.
func (c *channel) setLost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setState(lost)
	c.unheard = true
	c.pending, c.pendingBytes, c.pendingLost = nil, 0, false // they will be read from Redis
}

// setState changes the state, and closes or replaces becameLive accordingly; c.mu is held.
func (c *channel) setState(s state) {
	if (s == live) != (c.state == live) {
		if s == live {
			close(c.becameLive)
			c.becameLive = closedChannel // one for all: there may be very many channels
		} else {
			c.becameLive = make(chan struct{})
		}
	}
	c.state = s
	switch s {
	case live:
		c.unheard, c.known = false, c.epoch
	case subscribed:
		c.epoch++
	}
}

// beginCompare begins a comparison with Redis, which compare ends. It reports whether the channel is live.
func (c *channel) beginCompare() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = false
	return c.state == live
}

// compare returns true if the channel's tip differs from tip, which was read from Redis after beginCompare. Then the channel
// must be synchronised. If an event has come since beginCompare, tip may be older than it, so compare returns false.
func (c *channel) compare(tip store.Tip) (stale bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == live && tip.Base == c.history.Base {
		c.history.Tip.Epoch = tip.Epoch
	}
	if c.state != live || c.busy {
		return false
	}
	if tip.Position.Offset == 0 {
		c.align(tip)
	}
	if tip.Position == c.history.Tip.Position && tip.Base == c.history.Base {
		c.confirm(tip)
		return false
	}
	c.setState(subscribed)
	return true
}

// deliver appends the next event to the memory and to all feeds; c.mu is held.
func (c *channel) deliver(e store.Event) {
	c.busy = true
	if e.Position.Offset == 1 {
		c.history.Base = e.Prev
	}
	c.history.Events = append(c.history.Events, e)
	c.history.Tip.Position, c.history.Tip.Final = e.Position, e.Final
	c.tipAt = time.Now()
	c.keptUntil = c.tipAt.Add(c.rule.MetaTTL)
	if e.Position.Offset == 1 {
		c.inRounds()
	}
	c.memoryBytes += len(e.Data)
	c.published(e)
	c.trail.add(e.Position)
	c.toFeeds(e)
	c.trim()
}

// toFeeds appends an event to all feeds; c.mu is held.
func (c *channel) toFeeds(e store.Event) {
	for _, f := range c.feeds {
		f.event(e)
	}
}

// feed returns the channel's feed in the representation of an encoder, and makes it if there is none.
func (c *channel) feed(encoder Encoder, limit int, shared *shared) *Feed {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.feeds {
		if f.encoder == encoder {
			return f
		}
	}
	f := &Feed{channel: c, encoder: encoder, limit: limit, shared: shared}
	c.feeds = append(c.feeds, f)
	return f
}

// sweepFeeds drops frames that are too old.
func (c *channel) sweepFeeds(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.feeds {
		f.sweep(now)
	}
}

// remove ends a feed that no stream follows any more.
func (c *channel) remove(f *Feed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.feeds = slices.DeleteFunc(c.feeds, func(g *Feed) bool { return g == f })
	if len(c.feeds) == 0 {
		c.feeds = nil // frees the array: there may be very many channels
	}
	f.discard()
}

// lingers returns how long the channel stays subscribed after its last stream has ended.
func (c *channel) lingers() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.history.Tip.Position.Offset == 0 {
		return emptyLinger
	}
	return linger
}
