package pubsub

import (
	"context"
	"errors"
	"time"

	"sluice/store"
)

// resumePoint is where one stream is in one channel.
type resumePoint struct {
	resume bool        // the client has been here before
	at     store.Place // where a client that resumes stands
	known  bool        // at could be read from the client's last event id
	replay int         // how many of the newest events a client gets that connects for the first time
	// epoch is the epoch of the channel when the client asked. If what is known of the channel is of a later one, Redis has been
	// asked since.
	epoch int
}

// need is what must be provided before a replay can be made.
type need int

const (
	needNothing      need = iota
	needLive              // the channel must be live
	needOlder             // older events must be loaded into memory
	needVerification      // Redis must be asked about the position: another replica may be ahead of this one
)

// replay returns the events that a stream gets before new ones, and the position before the first of them; c.mu is
// held. If missing is not needNothing, the caller must provide what it says and call replay again.
func (c *channel) replay(s resumePoint) (p part, missing need) {
	p.tip, p.epoch = c.history.Tip, c.epoch
	at := c.place(c.trail.translate(s.at))
	switch {
	case !s.resume:
		p.events = c.history.Last(s.replay)
		if len(p.events) < s.replay && !c.whole {
			return p, needOlder
		}
	case !s.known:
		if !c.whole {
			return p, needOlder
		}
		p.events, p.gap = c.history.Events, store.Unknown
	default:
		p.events, p.gap = c.history.AfterPlace(at)
		switch {
		case p.gap == store.Reset && c.known <= s.epoch:
			return p, needVerification
		case p.gap != "" && !c.whole:
			return p, needOlder
		}
	}
	if c.rule.Latest {
		p.gap = "" // the newest event is all that matters
	}
	p.from = c.history.Tip.Position.Place()
	if len(p.events) > 0 {
		p.from = store.Place{Offset: p.events[0].Position.Offset - 1, Nonce: p.events[0].Prev}
	}
	if p.gap == "" && p.from.Position() == at.Position() {
		p.from.Left = at.Left
	}
	return p, needNothing
}

// load reads the whole history into memory. If many streams ask at the same time, it is read once. stale is true if
// what was read ends before the channel's newest event: then the channel must be synchronised first.
func (c *channel) load(ctx context.Context, read func() (store.History, error)) (stale bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loadedAt = time.Now()            // from now on trim keeps the oldest events, so that what is read leads to them
	for !c.whole && c.loading != nil { // somebody else reads
		done := c.loading
		c.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
		}
		c.mu.Lock()
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
	if c.whole {
		return false, nil
	}
	done := make(chan struct{})
	c.loading = done
	c.mu.Unlock()
	theirs, err := read()
	c.mu.Lock()
	c.loading = nil
	close(done)
	if err != nil {
		return false, err
	}
	floor := c.history.Floor()
	var older []store.Event
	switch {
	case theirs.Has(floor):
		older = theirs.Events[:floor.Offset-theirs.Floor().Offset]
	case floor.Offset > theirs.Tip.Position.Offset:
		return true, nil // the channel has moved beyond what was read, or Redis has gone back
	default: // nothing from before the oldest event in memory is stored any more
	}
	events := make([]store.Event, 0, len(older)+len(c.history.Events))
	c.history.Events = append(append(events, older...), c.history.Events...)
	c.cut = 0
	c.trail.learn(c.history)
	for _, e := range older {
		c.memoryBytes += len(e.Data)
	}
	c.whole = true
	if !time.Now().Before(c.expiresAt) {
		c.wasRead() // Redis has not dropped them
	}
	c.account()
	return false, nil
}

var errUnused = errors.New("nobody waits any more")

// waitLive returns nil as soon as the channel is live, and an error if ctx ends or gone is closed before.
func (c *channel) waitLive(ctx context.Context, gone <-chan struct{}) error {
	c.mu.Lock()
	becameLive := c.becameLive
	c.mu.Unlock()
	select {
	case <-becameLive:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-gone:
		return errUnused
	}
}
