package pubsub

import (
	"errors"
	"time"

	"sluice/store"
)

// errUnread says that a channel needs its history from Redis.
var errUnread = errors.New("the history must be read")

// staleEpoch returns the epoch to give to synchronise. stale is false if there is nothing to synchronise.
func (c *channel) staleEpoch() (epoch int, stale bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epoch, c.state == subscribed
}

// synchronise delivers what the channel has missed. tip is the channel's tip in Redis. read returns the whole history
// from Redis; it is called only if the channel cannot reach tip without it. synchronise reports whether it must be
// called again. One goroutine at a time calls it for a channel. If read is nil and would be called, it returns errUnread, and is
// to be called again with it.
//
// tip and the history must be read after the epoch began (see staleEpoch). A reading from before could say that nothing
// was missed although something was. And all announcements from before the reading must have arrived: Redis may already
// have trimmed an event whose announcement has not arrived yet, and that event is not lost.
func (c *channel) synchronise(epoch int, tip store.Tip, read func() (store.History, error)) (again bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != subscribed || c.epoch != epoch {
		return c.state == subscribed, nil
	}
	c.align(tip)
	switch {
	case !c.begun && !c.rule.Latest:
		c.begin(store.History{Tip: tip}.Extended(c.pending))
	case c.begun && c.reaches(tip):
	case read == nil:
		return true, errUnread
	default:
		again, err := c.synchroniseFully(epoch, read)
		if err != nil || again || c.state != subscribed {
			return again, err
		}
	}
	if !c.deliverPending() || c.pendingLost {
		c.pendingLost = false
		return true, nil
	}
	if tip.Position == c.history.Tip.Position {
		c.confirm(tip)
	}
	c.setState(live)
	return false, nil
}

// synchroniseFully delivers what the channel has missed according to the history that read returns. It reports whether
// that history is out of date. c.mu is held, but not while read is called.
func (c *channel) synchroniseFully(epoch int, read func() (store.History, error)) (again bool, err error) {
	begun, before := c.begun, len(c.pending)
	c.mu.Unlock()
	theirs, err := read()
	c.mu.Lock()
	switch {
	case err != nil:
		return true, err
	case c.state != subscribed:
		return false, nil // the connection was lost meanwhile; everything begins again when it is back
	case c.epoch != epoch:
		return true, nil
	case theirs.Base == (store.Nonce{}):
		return true, nil // Redis was emptied after tip was read
	}
	if theirs = theirs.Extended(c.pending); begun {
		c.align(theirs.Tip)
		c.catchUp(theirs)
	} else {
		c.begin(theirs)
	}
	c.forgetUnknown(before)
	return false, nil
}

// reaches reports whether the pending events bring the channel to tip, or beyond it; c.mu is held.
func (c *channel) reaches(tip store.Tip) bool {
	ours := c.history.Tip.Position
	if tip.Base != c.history.Base || ours.Offset > tip.Position.Offset {
		return false // Redis was emptied, or came back older
	}
	return c.deliverPending() && (c.history.Tip.Position == tip.Position || c.trail.has(tip.Position))
}

// forgetUnknown drops those of the first n pending events that do not follow the newest event. They were announced
// before Redis was read, so the channel has all of them that Redis still has. The others belong to a lost branch. c.mu
// is held.
func (c *channel) forgetUnknown(n int) {
	kept := make([]store.Event, 0, len(c.pending))
	for i, e := range c.pending {
		if i < n && (c.judge(e) == repair || e.Position.Offset == 1 && e.Prev != c.history.Base) {
			c.pendingBytes -= len(e.Data) + overhead
			continue
		}
		kept = append(kept, e)
	}
	c.pending = kept
}

// deliverPending delivers pending events as far as they follow the last one. It reports whether none is left; c.mu is
// held.
func (c *channel) deliverPending() bool {
	for len(c.pending) > 0 {
		e := c.pending[0]
		switch c.judge(e) {
		case deliver:
			c.deliver(e)
		case repair:
			return false
		}
		c.pending[0] = store.Event{} // frees its data
		c.pending = c.pending[1:]
		c.pendingBytes -= len(e.Data) + overhead
	}
	c.pending, c.pendingBytes = nil, 0
	return true
}

// begin gives the channel its first history; c.mu is held.
func (c *channel) begin(h store.History) {
	c.begun, c.history, c.whole = true, h, c.rule.Latest
	c.noteTip()
	c.trail.begin(h)
	for _, e := range h.Events {
		c.memoryBytes += len(e.Data)
	}
	c.wasRead()
	c.trim()
}

// catchUp delivers what the channel has missed according to theirs, the history that Redis has stored; c.mu is held.
func (c *channel) catchUp(theirs store.History) {
	m := catchUp(c.history, &c.trail, theirs)
	// The events in memory may belong to an abandoned branch, so the stored history replaces them.
	c.history, c.whole, c.loadedAt, c.memoryBytes = theirs, true, time.Now(), 0
	c.noteTip()
	c.cut = 0
	c.wasRead()
	for _, e := range theirs.Events {
		c.memoryBytes += len(e.Data)
	}
	for _, f := range c.feeds {
		switch {
		case c.rule.Latest && m.gap != "": // the newest event, stored or still to come, is all that matters
		case m.gap != "":
			f.gap(theirs.Floor(), m.gap)
		case m.back != store.Place{}:
			f.rewind(m.back) // even if no new event comes, clients must hold a place that every replica knows
		}
	}
	for _, e := range m.events {
		c.toFeeds(e)
	}
	c.trim()
}
