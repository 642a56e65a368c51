package pubsub

import (
	"time"

	"sluice/store"
)

// The origin of a channel is the place before its first event. Redis stores nothing for a channel without events, so the
// origin is one place under many names: its nonce differs from day to day, and once more when the first event comes.

// expirySlack is how much sooner than expected a position may be gone from Redis and still count as expired.
const expirySlack = time.Minute

// place returns the place in history that a client's place stands for; c.mu is held.
func (c *channel) place(p store.Place) store.Place {
	resolved := c.history.Tip.Resolve(c.name, c.rule.MetaTTL, p.Position()).Place()
	resolved.Left = p.Left
	return resolved
}

// noteTip notes that history has another tip, which was read from Redis; c.mu is held.
func (c *channel) noteTip() {
	c.tipAt = time.Now()
	c.keptUntil = c.tipAt.Add(c.history.Tip.Left)
	c.inRounds()
}

// inRounds has a channel with events compared with Redis from time to time; c.mu is held.
func (c *channel) inRounds() {
	if c.rounds != nil && c.history.Tip.Position.Offset > 0 {
		c.rounds.add(c)
	}
}

// confirm notes that Redis has the tip that the channel has; c.mu is held.
func (c *channel) confirm(tip store.Tip) {
	c.history.Tip.Epoch = tip.Epoch
	if tip.Left > 0 {
		c.keptUntil = time.Now().Add(tip.Left)
	}
}

// align gives the channel's origin the name that it has in theirs, a tip that was read from Redis, if it is the same place:
// then no event is missing between the two. c.mu is held.
func (c *channel) align(theirs store.Tip) {
	ours := c.history.Tip
	if !c.begun || ours.Base == theirs.Base {
		return
	}
	var same bool
	switch {
	case ours.Position.Offset == 0:
		// Every event since the channel was live would have been announced, even if Redis has lost everything since. If
		// some may have passed unheard, they may have come and gone, unless the dataset is the same.
		same = !c.unheard || theirs.Resolve(c.name, c.rule.MetaTTL, ours.Position).Nonce == theirs.Base
	default: // Redis may have forgotten the channel because nothing was published for long
		same = c.expired() && ours.Epoch.Same(theirs.Epoch)
	}
	if same {
		c.moveOrigin(theirs)
	}
}

// expired reports whether Redis has forgotten the channel because nothing was published for long; c.mu is held.
func (c *channel) expired() bool {
	return !c.unheard && c.history.Tip.Position.Offset > 0 && time.Now().After(c.keptUntil.Add(-expirySlack))
}

// moveOrigin puts the channel at its origin as theirs has it; c.mu is held. Connected clients that are there already when
// theirs has no event are told the new name, so that they can come back with it.
func (c *channel) moveOrigin(theirs store.Tip) {
	at := store.Position{Nonce: theirs.Base}
	c.history = store.History{Tip: store.Tip{Position: at, Base: theirs.Base, Epoch: theirs.Epoch}}
	c.whole, c.memoryBytes, c.cut, c.tipAt = true, 0, 0, time.Now()
	c.trail.begin(c.history)
	if theirs.Position.Offset == 0 && !c.rule.Latest { // a client of a state needs no place
		for _, f := range c.feeds {
			f.rewind(at.Place())
		}
	}
}
