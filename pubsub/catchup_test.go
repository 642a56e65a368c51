package pubsub

import (
	"encoding/binary"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"sluice/store"
	"sluice/store/kind"
)

// modelLog is a channel in a Redis that can be put back to an older snapshot, emptied and trimmed.
type modelLog struct {
	base store.Nonce
	all  []store.Event // of the valid branch, oldest first; never trimmed
	kept int           // how many of the newest are in the list
	made *uint32       // how many nonces were made, on all branches
}

func newModelLog() *modelLog {
	m := &modelLog{made: new(uint32)}
	m.base = m.nonce()
	return m
}

// nonce returns one that no event has, in the order of their making, so that a failing history can be repeated.
func (m *modelLog) nonce() (n store.Nonce) {
	*m.made++
	binary.BigEndian.PutUint32(n[:], *m.made<<16)
	return n
}

func (m *modelLog) append(keep int) store.Event {
	p := store.Position{Nonce: m.base}
	if len(m.all) > 0 {
		p = m.all[len(m.all)-1].Position
	}
	e := store.Event{Prev: p.Nonce, Position: store.Position{Offset: p.Offset + 1, Nonce: m.nonce()}}
	m.all = append(slices.Clip(m.all), e)
	m.kept = min(m.kept+1, keep)
	return e
}

func (m *modelLog) history() store.History {
	h := store.History{Tip: store.Tip{Base: m.base, Position: store.Position{Nonce: m.base}}}
	if n := len(m.all); n > 0 {
		h.Tip.Position = m.all[n-1].Position
		h.Events = slices.Clip(m.all[n-m.kept:])
	}
	return h
}

// A replica hears of some events and misses others, while Redis trims, comes back from a snapshot of any branch, or is
// emptied. Whenever it is
// brought up, a client that was connected all the time has had, since the last gap notice, every event of the valid
// branch exactly once and in order.
func TestAConnectedClientGetsTheValidBranchOnceAndInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity := rapid.IntRange(1, 8).Draw(t, "capacity")
		redis := newModelLog()
		rule := kind.Rule{Capacity: capacity}
		c := newChannel("orders", rule)
		c.setSubscribed()
		sync := func() {
			for {
				epoch, stale := c.staleEpoch()
				if !stale {
					return
				}
				h := redis.history()
				if _, err := c.synchronise(epoch, h.Tip, func() (store.History, error) { return h, nil }); err != nil {
					t.Fatal(err)
				}
			}
		}
		sync()

		var snapshots []modelLog
		var client []store.Position // since the last gap
		record := &recorder{}
		c.feed(record, 1<<20, &shared{})

		t.Repeat(map[string]func(*rapid.T){
			"append, heard": func(t *rapid.T) {
				if c.announced(redis.append(capacity)) {
					sync()
				}
			},
			"append, missed": func(t *rapid.T) { redis.append(capacity) },
			"snapshot": func(t *rapid.T) {
				snapshots = append(snapshots, *redis)
			},
			"restore": func(t *rapid.T) {
				if len(snapshots) == 0 {
					t.Skip("no snapshot")
				}
				s := snapshots[rapid.IntRange(0, len(snapshots)-1).Draw(t, "which")]
				redis = &s
				for range rapid.IntRange(0, 3).Draw(t, "stored meanwhile") {
					redis.append(capacity)
				}
				c.setLost() // a Redis that is restored was restarted
				c.setSubscribed()
				sync()
			},
			"empty": func(t *rapid.T) {
				redis = &modelLog{base: redis.nonce(), made: redis.made}
			},
			"reconnect": func(t *rapid.T) {
				c.setLost()
				c.setSubscribed()
				sync()
			},
			"": func(t *rapid.T) {
				// What the client has must be a run of the branch it belongs to: nothing twice, no hole.
				client = record.sinceGap
				for i, p := range client {
					if slices.Contains(client[:i], p) {
						t.Fatalf("event %v came twice", p)
					}
				}
			},
		})
		c.setLost()
		c.setSubscribed()
		sync()
		// Since the last gap, the part of what the client has that belongs to the valid branch is a run up to the tip.
		valid := make(map[store.Position]bool)
		for _, e := range redis.all {
			valid[e.Position] = true
		}
		var had []store.Position
		seen := make(map[store.Position]bool)
		for _, p := range record.sinceGap {
			if seen[p] {
				t.Fatalf("event %v came twice since the last gap", p)
			}
			seen[p] = true
			if valid[p] {
				had = append(had, p)
			}
		}
		if len(had) > len(redis.all) {
			t.Fatalf("had %d events of %d", len(had), len(redis.all))
		}
		for i, e := range redis.all[len(redis.all)-len(had):] {
			if had[i] != e.Position {
				t.Fatalf("event %v is missing or out of order; had %v", e.Position, had)
			}
		}
		if !record.gapped {
			if len(had) != len(redis.all) {
				t.Fatalf("no gap was announced, and the client had %d of %d events", len(had), len(redis.all))
			}
		}
	})
}

// recorder is an encoder that remembers what it is given.
type recorder struct {
	sinceGap []store.Position
	gapped   bool
	gaps     []store.Reason
}

func (r *recorder) ID(dst, _ []byte) []byte { return dst }

func (r *recorder) Event(dst []byte, e store.Event) []byte {
	r.sinceGap = append(r.sinceGap, e.Position)
	return append(dst, 'e')
}

func (r *recorder) Gap(dst []byte, _ string, reason store.Reason) []byte {
	r.sinceGap, r.gapped, r.gaps = nil, true, append(r.gaps, reason)
	return append(dst, 'g')
}

func (r *recorder) Position(dst, _ []byte) []byte { return dst }

func event(prev store.Event) store.Event {
	return store.Event{
		Channel: "orders", Prev: prev.Position.Nonce,
		Position: store.Position{Offset: prev.Position.Offset + 1, Nonce: store.NewNonce()},
	}
}

// history returns the history of a channel that has these events and is trimmed to the newest kept.
func historyOf(base store.Nonce, kept int, events ...store.Event) store.History {
	h := store.History{Tip: store.Tip{Base: base, Position: store.Position{Nonce: base}}}
	if n := len(events); n > 0 {
		h.Tip.Position, h.Events = events[n-1].Position, events[max(0, n-kept):]
	}
	return h
}

func TestWhatIsDeliveredLeadsFromTheLastEventToWhatRedisHasStored(t *testing.T) {
	base := store.NewNonce()
	e1 := event(store.Event{Position: store.Position{Nonce: base}})
	e2 := event(e1)
	e3 := event(e2)
	b2 := event(e1) // another second event: Redis came back from a snapshot with only e1 in it
	b3 := event(b2)
	other := store.NewNonce()
	o1 := event(store.Event{Position: store.Position{Nonce: other}})

	for _, c := range []struct {
		name   string
		ours   store.History
		trail  []store.Event // delivered
		theirs store.History
		want   []store.Event
		gap    store.Reason
	}{
		{"nothing new", historyOf(base, 9, e1, e2), []store.Event{e1, e2}, historyOf(base, 9, e1, e2), nil, ""},
		{"a hole is filled", historyOf(base, 9, e1), []store.Event{e1}, historyOf(base, 9, e1, e2, e3), []store.Event{e2, e3}, ""},
		{"exactly what was missed is still stored", historyOf(base, 9, e1), []store.Event{e1}, historyOf(base, 2, e1, e2, e3), []store.Event{e2, e3}, ""},
		{"some of it is trimmed", historyOf(base, 9, e1), []store.Event{e1}, historyOf(base, 1, e1, e2, e3), []store.Event{e3}, store.Trimmed},
		{"all of it has expired", historyOf(base, 9, e1), []store.Event{e1}, historyOf(base, 0, e1, e2, e3), nil, store.Trimmed},
		{"Redis came back older", historyOf(base, 9, e1, e2, e3), []store.Event{e1, e2, e3}, historyOf(base, 9, e1, e2), nil, ""},
		{"Redis came back older and went on", historyOf(base, 9, e1, e2, e3), []store.Event{e1, e2, e3}, historyOf(base, 9, e1, b2, b3), []store.Event{b2, b3}, ""},
		{"and went on beyond where we were", historyOf(base, 9, e1, e2), []store.Event{e1, e2}, historyOf(base, 9, e1, b2, b3), []store.Event{b2, b3}, ""},
		{"the last common event is the one before the oldest stored", historyOf(base, 9, e1, e2), []store.Event{e1, e2}, historyOf(base, 2, e1, b2, b3), []store.Event{b2, b3}, ""},
		{"the last common event is trimmed", historyOf(base, 9, e1, e2), []store.Event{e1, e2}, historyOf(base, 1, e1, b2, b3), []store.Event{b3}, store.Reset},
		{"Redis was emptied", historyOf(base, 9, e1, e2), []store.Event{e1, e2}, historyOf(other, 9), nil, store.Reset},
		{"Redis was emptied and filled again", historyOf(base, 9, e1, e2), []store.Event{e1, e2}, historyOf(other, 9, o1), []store.Event{o1}, store.Reset},
	} {
		t.Run(c.name, func(t *testing.T) {
			past := &trail{}
			past.begin(historyOf(base, 9))
			for _, e := range c.trail {
				past.add(e.Position)
			}
			m := catchUp(c.ours, past, c.theirs)
			got := m.events
			if m.gap != c.gap {
				t.Errorf("gap: got %q, want %q", m.gap, c.gap)
			}
			if len(got) != len(c.want) {
				t.Fatalf("got %d events, want %d", len(got), len(c.want))
			}
			for i := range got {
				if got[i].Position != c.want[i].Position {
					t.Errorf("event %d: got %v, want %v", i, got[i].Position, c.want[i].Position)
				}
			}
		})
	}
}

func TestAClientOfAnAbandonedBranchGoesOnFromTheLastCommonEvent(t *testing.T) {
	base := store.NewNonce()
	e1 := event(store.Event{Position: store.Position{Nonce: base}})
	e2, b2 := event(e1), event(e1)
	past := &trail{}
	past.begin(historyOf(base, 9, e1, e2))
	if m := catchUp(historyOf(base, 9, e1, e2), past, historyOf(base, 9, e1, b2)); m.gap != "" {
		t.Fatalf("gap %q", m.gap)
	}
	back := e1.Position.Place()
	back.Left = e2.Position.Nonce.Mark()
	if got := past.translate(e2.Position.Place()); got != back {
		t.Errorf("place of a client at the lost event: got %v, want %v", got, back)
	}
	if got := past.translate(e1.Position.Place()); got != e1.Position.Place() {
		t.Errorf("place of a client before: got %v, want %v", got, e1.Position)
	}
}
