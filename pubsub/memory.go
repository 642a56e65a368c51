package pubsub

import (
	"sync/atomic"
	"time"

	"sluice/store"
)

// Bounds of what channels remember: the newest events, and where they have been.
const (
	// maxMemory bounds the recent events of one channel. When there is more, the older half is dropped, and read from Redis
	// again when a client needs it.
	maxMemory = 256 << 10
	// memoryTime is how long a history that was just read is kept whatever its size, because more clients that need it
	// are probably coming.
	memoryTime = time.Minute
	// eventBytes is added to an event's data: store.Event, and the text around the data in the piece of memory that both
	// are parts of.
	eventBytes = 96 + 128

	// Beyond plentyMemory of all channels together, each keeps its share of it, histories that were just read are kept for
	// scarceTime only, and trails are cut to scarceTrail positions.
	plentyMemory = 256 << 20
	leastShare   = 1 << 10
	scarceTime   = 2 * time.Second
	scarceTrail  = 64

	placeBytes     = 16 // of a position in a trail
	abandonedBytes = 64 // of an entry of a trail's map
)

// memory is what the channels of a broker remember together. A nil memory has no bound and counts nothing.
type memory struct {
	held     atomic.Int64 // bytes
	channels atomic.Int64 // that the bytes are of
	evicted  atomic.Int64 // events that were dropped because of all channels together
}

// scarce reports whether all channels together remember too much, and what each may keep then.
func (m *memory) scarce() (share int, scarce bool) {
	if m == nil || m.held.Load() <= plentyMemory {
		return maxMemory, false
	}
	return int(min(max(plentyMemory/max(m.channels.Load(), 1), leastShare), maxMemory)), true
}

// remembered returns how many bytes the channel's history takes, with what its array still refers to; c.mu is held.
func (c *channel) remembered() int {
	return c.memoryBytes + len(c.history.Events)*eventBytes + c.cut
}

// account notes what the channel remembers now; c.mu is held.
func (c *channel) account() {
	if c.memory == nil {
		return
	}
	bytes := c.remembered() + c.trail.bytes()
	if c.accounted == 0 && bytes > 0 {
		c.memory.channels.Add(1)
	} else if c.accounted > 0 && bytes == 0 {
		c.memory.channels.Add(-1)
	}
	c.memory.held.Add(int64(bytes - c.accounted))
	c.accounted = bytes
}

// forget is called when the broker has removed the channel. What it remembers does not count any more.
func (c *channel) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.memory != nil && c.accounted > 0 {
		c.memory.held.Add(-int64(c.accounted))
		c.memory.channels.Add(-1)
	}
	c.memory = nil // whoever still has the channel in its hands counts nothing
}

// trim drops old events from memory; c.mu is held. Slices of c.history.Events that callers hold stay as they are,
// because the events in the array are never overwritten.
func (c *channel) trim() {
	c.cutOff(len(c.history.Events) - c.rule.Capacity) // Redis does not have them any more either
	limit, scarce := c.memory.scarce()
	most, keep := memoryTime, 1
	if scarce {
		most, keep = scarceTime, 0 // one event may be larger than the share
		c.trail.shorten(scarceTrail)
		limit -= c.trail.bytes()
	}
	if c.remembered() > limit && time.Since(c.loadedAt) > most {
		n := 0
		for bytes := c.remembered() - c.cut; bytes > limit/2 && n < len(c.history.Events)-keep; n++ {
			bytes -= len(c.history.Events[n].Data) + eventBytes
		}
		c.cutOff(n)
		c.compact() // rarely, because half of the limit is free now
		if n > 0 {
			c.whole = false
		}
		if scarce {
			c.memory.evicted.Add(int64(n))
		}
	}
	if 2*c.cut > c.remembered() {
		c.compact()
	}
	c.account()
}

// cutOff removes the oldest n events; c.mu is held.
func (c *channel) cutOff(n int) {
	if n <= 0 {
		return
	}
	for _, e := range c.history.Events[:n] {
		c.memoryBytes -= len(e.Data)
		c.cut += len(e.Data) + eventBytes
	}
	c.history.Events = c.history.Events[n:]
}

// compact moves the events to a new array, since the old one keeps those alive that were cut off; c.mu is held. The new one
// has room for as many events as come until all of these are cut off.
func (c *channel) compact() {
	c.cut = 0
	if len(c.history.Events) == 0 {
		c.history.Events = nil
		return
	}
	n := len(c.history.Events)
	c.history.Events = append(make([]store.Event, 0, 2*n+1), c.history.Events...)
}

// sweep drops what is kept for too long. While nothing is published, nobody else does.
func (c *channel) sweep(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.memory == nil {
		return // the channel was removed
	}
	c.expire(now)
	c.trim()
	if c.cut > 0 && c.cut == c.cutBefore { // quiet; a busy channel is compacted now and then anyway
		c.compact()
		c.account()
	}
	c.cutBefore = c.cut
}

// published notes that the newest event was stored at this moment; c.mu is held.
func (c *channel) published(e store.Event) {
	if ttl := c.ttlAfter(e); ttl > 0 {
		c.expiresAt = time.Now().Add(ttl)
	}
}

// wasRead notes that the newest event in memory was read from Redis just now; c.mu is held. Its time is one of Redis's clock,
// which may differ from the one here. So when it seems to have expired, although Redis had it, it is looked at again soon.
func (c *channel) wasRead() {
	n := len(c.history.Events)
	if n == 0 {
		return
	}
	now, e := time.Now(), c.history.Events[n-1]
	ttl := c.ttlAfter(e)
	if ttl <= 0 {
		return
	}
	left := min(ttl-now.Sub(time.UnixMilli(e.Time)), ttl)
	if left <= 0 {
		left = max(ttl/16, time.Second)
	}
	c.expiresAt = now.Add(left)
}

// ttlAfter returns how long Redis keeps the channel's events after its newest one; 0: for ever.
func (c *channel) ttlAfter(e store.Event) time.Duration {
	if e.Final && c.rule.FinalTTL > 0 {
		return c.rule.FinalTTL
	}
	return c.rule.TTL
}

// expire drops the events that Redis has dropped too, because no event has followed them for long; c.mu is held. Who needs
// them has them read from Redis: if the clocks differ, it may have them still.
func (c *channel) expire(now time.Time) {
	if len(c.history.Events) == 0 || c.expiresAt.IsZero() || now.Before(c.expiresAt) {
		return
	}
	c.cutOff(len(c.history.Events))
	c.whole = false
	c.compact()
	c.account()
}

// bytes returns how much memory a trail takes.
func (t *trail) bytes() int { return cap(t.positions)*placeBytes + len(t.abandoned)*abandonedBytes }

// shorten forgets all but some of the newest positions. What it forgets of the branches that Redis has left costs their
// clients a gap notice.
func (t *trail) shorten(positions int) {
	t.abandoned = nil
	if len(t.positions) > 2*positions || cap(t.positions) > 4*positions {
		kept := t.positions[max(0, len(t.positions)-positions):]
		t.positions = append(make([]store.Position, 0, 2*positions), kept...)
	}
}
