package pubsub

import (
	"context"
	"sync"
	"time"
)

// Bounds of comparing channels with events in rounds.
const (
	roundTime      = 10 * time.Second // in which each is compared once, unless Config says otherwise
	roundAtMost    = 1000             // channels a second; a round of more than 10,000 channels takes longer
	roundTick      = 100 * time.Millisecond
	roundTickLeast = 10 * time.Millisecond
)

// rounds holds the channels with events, which are compared with Redis one after the other, again and again. That finds an
// event that was stored and not announced, a list that has expired, and keys that somebody has deleted. It is safe for
// concurrent use. Its mu is taken after that of a channel.
type rounds struct {
	mu   sync.Mutex
	list []*channel // guarded by mu; the channel's turn is its index and one
	next int        // index of the channel that is due, or beyond the end; guarded by mu
}

// turnOver is the turn of a channel that was removed for good.
const turnOver = -1

// add adds a channel, unless it is there already or was removed for good.
func (r *rounds) add(c *channel) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.turn == 0 {
		r.list = append(r.list, c)
		c.turn = len(r.list)
	}
}

// remove removes a channel, if it is there; for good, unless it may be added again.
func (r *rounds) remove(c *channel, turn int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := c.turn - 1; i >= 0 {
		last := len(r.list) - 1
		r.list[i] = r.list[last]
		r.list[i].turn = i + 1
		r.list[last] = nil
		r.list = r.list[:last]
	}
	c.turn = turn
}

// take returns the n channels that are due, or all if there are fewer.
func (r *rounds) take(n int) []*channel {
	r.mu.Lock()
	defer r.mu.Unlock()
	n = min(n, len(r.list))
	due := make([]*channel, 0, n)
	for range n {
		if r.next >= len(r.list) {
			r.next = 0
		}
		due = append(due, r.list[r.next])
		r.next++
	}
	return due
}

func (r *rounds) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.list)
}

// pace says how many channels are to be compared at each tick.
type pace struct {
	tick, round time.Duration
	due         float64
}

// next returns how many of n channels are due at this tick.
func (p *pace) next(n int) int {
	p.due += min(float64(n)*float64(p.tick)/float64(p.round), roundAtMost*p.tick.Seconds())
	whole := int(p.due)
	p.due -= float64(whole)
	return whole
}

// compareInRounds compares the channels that have events with Redis, until ctx ends. Channels without events are not read:
// the epoch tells when Redis has lost everything.
func (b *Broker) compareInRounds(ctx context.Context) {
	p := pace{tick: min(max(b.cfg.CheckEvery/100, roundTickLeast), roundTick), round: b.cfg.CheckEvery}
	tick := time.NewTicker(p.tick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if n := p.next(b.rounds.len()); n > 0 && b.listener.Ready() == nil { // else the next session synchronises all channels
			_ = b.compareSome(ctx, b.rounds.take(n), false) // what was not read is due again in the next round
		}
	}
}

// compareSome compares channels with Redis, and has those synchronised that differ. With fenced, announcements of what was
// published before the reading are waited for: then a channel without events that Redis does not have either has missed none.
// It returns an error if not all of them could be compared.
func (b *Broker) compareSome(ctx context.Context, some []*channel, fenced bool) error {
	var quiet []*channel
	for _, c := range some {
		if c.beginCompare() {
			quiet = append(quiet, c)
		}
	}
	if len(quiet) == 0 {
		return nil
	}
	tips, errs := b.tips(ctx, quiet, false)
	if fenced {
		if err := b.listener.Fence(ctx); err != nil {
			return err
		}
	}
	var failed error
	for i, c := range quiet {
		switch {
		case errs[i] != nil:
			failed = errs[i]
		case c.compare(tips[i]):
			b.synchroniseLater(c)
		case tips[i].Position.Offset == 0:
			c.leaveRounds()
		}
	}
	return failed
}

// leaveRounds takes a channel that has no events any more off the rounds.
func (c *channel) leaveRounds() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.history.Tip.Position.Offset == 0 {
		c.rounds.remove(c, 0)
	}
}
