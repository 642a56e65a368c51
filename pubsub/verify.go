package pubsub

import (
	"context"
	"time"

	"sluice/store"
)

// verify asks Redis about a channel because of a client's position that this replica does not know. The channel stays live
// meanwhile: only if Redis is found to be elsewhere must it be synchronised.
//
// Made-up ids must not keep Redis busy: at most one check per channel and verifyEvery is made. Other callers wait that long:
// the check under way may answer them too.
func (b *Broker) verify(ctx context.Context, c *channel) error {
	asked, wait := c.beginVerifying(time.Now())
	if asked > 0 {
		tips, errs := b.tips(ctx, []*channel{c}, false)
		// What was published before the reading has come after the fence, so the channel is not behind what was read.
		if errs[0] == nil && b.listener.Fence(ctx) == nil {
			if c.endVerifying(asked, tips[0]) {
				b.synchroniseLater(c)
			}
			return nil
		}
		wait = verifyEvery // whoever still wants to know asks again
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// beginVerifying begins to compare a live channel with Redis, which endVerifying ends. It returns what to give to that, or how
// long to wait because another check is under way, or because the channel is not live.
func (c *channel) beginVerifying(now time.Time) (asked int, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if wait = c.verifiedAt.Add(verifyEvery).Sub(now); wait > 0 {
		return 0, wait
	}
	if c.state != live {
		return 0, 0 // it is going to be compared
	}
	c.verifiedAt = now
	c.epoch++ // for clients that ask from now on, this check may be too early
	return c.epoch, 0
}

// endVerifying takes the tip that was read after beginVerifying, when all announcements from before the reading have arrived. It
// reports whether the channel must be synchronised.
func (c *channel) endVerifying(asked int, tip store.Tip) (stale bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != live {
		return false // it is going to be compared
	}
	c.align(tip)
	if tip.Base == c.history.Base && (tip.Position == c.history.Tip.Position || c.trail.has(tip.Position)) {
		c.known = max(c.known, asked)
		return false
	}
	c.setState(subscribed)
	return true
}
