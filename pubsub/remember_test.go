package pubsub

import (
	"bytes"
	"log/slog"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/redis/go-redis/v9"

	"sluice/store"
	"sluice/store/kind"
)

// brokersChannel returns a live channel without events, as a broker has it.
func brokersChannel(m *memory, rule kind.Rule) *channel {
	c := newChannel("orders", rule)
	c.memory = m
	c.begin(store.History{})
	c.setState(live)
	return c
}

// sized gives events data of some size, each its own, and times.
func sized(events []store.Event, size int) []store.Event {
	for i := range events {
		events[i].Data = bytes.Repeat([]byte("x"), size)
		events[i].Time = time.Now().UnixMilli()
	}
	return events
}

func deliverAll(t *testing.T, c *channel, events []store.Event) {
	t.Helper()
	for _, e := range events {
		if c.announced(e) {
			t.Fatalf("event %v is not in order", e.Position)
		}
	}
}

// stored is what Redis has after events.
func stored(events []store.Event) store.History {
	return store.History{Tip: store.Tip{Position: events[len(events)-1].Position}, Events: events}
}

// loadFrom loads a history into memory, and returns how often it was read.
func loadFrom(t *testing.T, c *channel, h store.History) (reads int) {
	t.Helper()
	stale, err := c.load(t.Context(), func() (store.History, error) { reads++; return h, nil })
	if stale || err != nil {
		t.Fatal(stale, err)
	}
	return reads
}

func TestAHistoryThatWasLoadedForAReplayIsDroppedAlsoWhenNothingIsPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m memory
		c := brokersChannel(&m, kind.Rule{Capacity: 5000})
		events := sized(chain(5000), 1000)
		deliverAll(t, c, events)
		if reads := loadFrom(t, c, stored(events)); reads != 1 || m.held.Load() < 5_000_000 {
			t.Fatalf("%d readings, %d bytes", reads, m.held.Load())
		}
		time.Sleep(memoryTime - time.Second)
		c.sweep(time.Now())
		if c.memoryBytes < 5_000_000 {
			t.Errorf("dropped before others can use it: %d bytes are left", c.memoryBytes)
		}
		time.Sleep(2 * time.Second)
		c.sweep(time.Now())
		if c.remembered() > maxMemory || c.memoryBytes == 0 || c.whole {
			t.Errorf("%d bytes of data are kept, all of it: %v", c.memoryBytes, c.whole)
		}
		if held := m.held.Load(); held > maxMemory+100_000 {
			t.Errorf("%d bytes are held", held)
		}
		loadFrom(t, c, stored(events))
		if len(c.history.Events) != 5000 || !c.whole {
			t.Errorf("read again: %d events", len(c.history.Events))
		}
	})
}

func TestAChannelWithTinyEventsRemembersLittle(t *testing.T) {
	var m memory
	c := brokersChannel(&m, kind.Rule{Capacity: 100_000})
	deliverAll(t, c, sized(chain(20_000), 10))
	if bytes := cap(c.history.Events) * 96; bytes > maxMemory {
		t.Errorf("the events alone, without their data, take %d bytes", bytes)
	}
	if held := m.held.Load(); held > maxMemory+100_000 || held < maxMemory/2 {
		t.Errorf("the channel counts as %d bytes", held)
	}
}

func TestManyChannelsRememberABoundedAmountTogether(t *testing.T) {
	var m memory
	const many = 3000
	var all []*channel
	for range many { // each would keep 256 KiB, and a trail
		c := brokersChannel(&m, kind.Rule{Capacity: 1000})
		deliverAll(t, c, sized(chain(300), 1000))
		all = append(all, c)
	}
	for range 2 {
		for _, c := range all {
			c.sweep(time.Now())
		}
	}
	if held := m.held.Load(); held > plentyMemory || held < plentyMemory/4 {
		t.Errorf("%d channels hold %d bytes", many, held)
	}
	if m.evicted.Load() == 0 {
		t.Error("nothing is counted")
	}
	for _, c := range all {
		c.forget()
		c.sweep(time.Now())
	}
	if m.held.Load() != 0 || m.channels.Load() != 0 {
		t.Errorf("no channel is left, and %d bytes of %d channels are held", m.held.Load(), m.channels.Load())
	}
}

func TestTrailsAreShortenedWhereMemoryIsScarce(t *testing.T) {
	var m memory
	c := brokersChannel(&m, kind.Rule{Capacity: 1})
	events := chain(6000)
	deliverAll(t, c, events)
	if c.trail.bytes() < trailLength*placeBytes {
		t.Fatalf("a trail takes %d bytes", c.trail.bytes())
	}
	m.held.Add(plentyMemory)
	c.sweep(time.Now())
	if c.trail.bytes() > 4*scarceTrail*placeBytes {
		t.Errorf("the trail takes %d bytes", c.trail.bytes())
	}
	if !c.trail.has(events[len(events)-scarceTrail].Position) || c.trail.last() != events[len(events)-1].Position {
		t.Error("the newest positions are forgotten")
	}
}

func TestDroppedEventsAreFreed(t *testing.T) {
	c := brokersChannel(nil, kind.Rule{Capacity: 50})
	events := sized(chain(120), 1000)
	var old []weak.Pointer[byte]
	for i, e := range events {
		if i < 70 {
			old = append(old, weak.Make(&e.Data[0]))
		}
	}
	deliverAll(t, c, events)
	clear(events)
	alive := func() (n int) {
		runtime.GC()
		for _, p := range old {
			if p.Value() != nil {
				n++
			}
		}
		return n
	}
	if n := alive(); n > 50 {
		t.Errorf("%d dropped events are alive beside 50 that are kept", n)
	}
	c.memory = new(memory)
	c.sweep(time.Now())
	c.sweep(time.Now())
	if n := alive(); n > 0 {
		t.Errorf("%d dropped events of a quiet channel are alive", n)
	}
	runtime.KeepAlive(c)
}

func TestEventsThatWaitedAreFreedWhenTheyAreDelivered(t *testing.T) {
	c := brokersChannel(nil, kind.Rule{Capacity: 1})
	c.setSubscribed()
	events := sized(chain(3), 1000)
	c.announced(events[0])
	c.announced(events[2]) // the one before it is missing
	waiting := c.pending
	c.mu.Lock()
	c.deliverPending()
	c.mu.Unlock()
	if waiting[0].Data != nil {
		t.Error("what was delivered is kept until the missing event is there")
	}
}

// resumed is what a new stream gets that wants so many stored events; Redis has h.
func replayed(t *testing.T, c *channel, want int, h store.History) (events, reads int) {
	t.Helper()
	for range 3 {
		cur := cursor{feed: &Feed{}}
		p, missing := c.replayInto(&cur, resumePoint{replay: want})
		switch missing {
		case needNothing:
			return len(p.events), reads
		case needOlder:
			reads += loadFrom(t, c, h)
		default:
			t.Fatalf("the channel needs %v", missing)
		}
	}
	t.Fatal("nothing is ever enough")
	return 0, 0
}

func TestNobodyGetsWhatHasExpiredInRedis(t *testing.T) {
	const ttl = 10 * time.Second
	gone := func(events []store.Event) store.History {
		return store.History{Tip: store.Tip{Position: events[len(events)-1].Position}}
	}
	t.Run("events that were heard", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := brokersChannel(nil, kind.Rule{Capacity: 5, TTL: ttl})
			events := sized(chain(5), 10)
			deliverAll(t, c, events[:4])
			time.Sleep(ttl - time.Millisecond)
			deliverAll(t, c, events[4:]) // keeps them all
			time.Sleep(ttl - time.Millisecond)
			if n, _ := replayed(t, c, 5, stored(events)); n != 5 {
				t.Fatalf("got %d events before the time is over", n)
			}
			time.Sleep(2 * time.Millisecond)
			if n, reads := replayed(t, c, 5, gone(events)); n != 0 || reads != 1 {
				t.Errorf("got %d events, with %d readings", n, reads)
			}
			if n, reads := replayed(t, c, 5, gone(events)); n != 0 || reads != 0 {
				t.Errorf("got %d events, with %d more readings", n, reads)
			}
		})
	})
	t.Run("events that were read", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			events := sized(chain(5), 10)
			time.Sleep(ttl - time.Second)
			c := newChannel("orders", kind.Rule{Capacity: 5, TTL: ttl})
			c.begin(gone(events))
			c.setState(live)
			if n, reads := replayed(t, c, 5, stored(events)); n != 5 || reads != 1 {
				t.Fatalf("got %d events, with %d readings", n, reads)
			}
			time.Sleep(2 * time.Second)
			if n, reads := replayed(t, c, 5, gone(events)); n != 0 || reads != 1 {
				t.Errorf("got %d events, with %d readings", n, reads)
			}
		})
	})
	t.Run("a finished task", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := brokersChannel(nil, kind.Of("progress:1").Rule(kind.Rule{}))
			events := sized(chain(1), 10)
			events[0].Final = true
			deliverAll(t, c, events)
			time.Sleep(c.rule.FinalTTL + time.Millisecond)
			if n, _ := replayed(t, c, 1, gone(events)); n != 0 {
				t.Errorf("got %d events", n)
			}
		})
	})
	t.Run("the clock is an hour ahead of that of Redis", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			events := sized(chain(5), 10)
			for i := range events {
				events[i].Time -= time.Hour.Milliseconds()
			}
			c := newChannel("orders", kind.Rule{Capacity: 5, TTL: ttl})
			c.begin(gone(events))
			c.setState(live)
			reads := 0
			for range 100 {
				n, more := replayed(t, c, 5, stored(events))
				if n != 5 {
					t.Fatalf("got %d events", n)
				}
				reads += more
				time.Sleep(100 * time.Millisecond)
			}
			if reads > 12 {
				t.Errorf("%d readings in ten seconds", reads)
			}
		})
	})
}

func TestTheBrokersSweepDropsWhatIsKeptForTooLong(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}) // nobody asks it for anything
	defer rdb.Close()
	s := store.New(rdb, store.Config{HistorySize: 1000, HistoryTTL: time.Hour, MaxBodyBytes: 4096})
	b := NewBroker(rdb, s, Config{Replica: "a", FeedBytes: 1 << 20}, slog.New(slog.DiscardHandler))
	feeds, err := b.acquire([]string{"orders"}, benchEncoder{})
	if err != nil {
		t.Fatal(err)
	}
	c := b.channel("orders")
	c.setSubscribed()
	c.loadedAt = time.Now()
	bring(t, c, store.History{})
	deliverAll(t, c, sized(chain(500), 1000))
	if held := b.memory.held.Load(); held < 500_000 {
		t.Fatalf("%d bytes are held", held)
	}
	c.loadedAt = time.Now().Add(-memoryTime - time.Second)
	b.refresh(t.Context(), []*channel{c}, time.Now())
	if held := b.memory.held.Load(); held > 300_000 || held < 100_000 {
		t.Errorf("%d bytes are held a minute later", held)
	}
	b.refresh(t.Context(), []*channel{c}, time.Now().Add(time.Hour+time.Second))
	if n := len(c.history.Events); n > 0 {
		t.Errorf("%d events are held after an hour", n)
	}
	b.release([]cursor{{feed: feeds[0]}})
	b.removeUnused([]*channel{c}, time.Now().Add(time.Hour))
	b.refresh(t.Context(), []*channel{c}, time.Now().Add(time.Hour)) // it had the channel in its hands
	if held, n := b.memory.held.Load(), b.memory.channels.Load(); b.channel("orders") != nil || held != 0 || n != 0 {
		t.Errorf("the channel is gone, and %d bytes of %d channels are held", held, n)
	}
}
