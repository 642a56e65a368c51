package pubsub

import (
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
}

func (m *modelLog) append(keep int) store.Event {
	p := store.Position{Nonce: m.base}
	if len(m.all) > 0 {
		p = m.all[len(m.all)-1].Position
	}
	e := store.Event{Prev: p.Nonce, Position: store.Position{Offset: p.Offset + 1, Nonce: store.NewNonce()}}
	m.all = append(slices.Clip(m.all), e)
	m.kept = min(m.kept+1, keep)
	return e
}

func (m *modelLog) history() store.History {
	h := store.History{Tip: store.Tip{Base: m.base, Position: store.Position{Nonce: m.base}}}
	if n := len(m.all); n > 0 {
		h.Tip.Position = m.all[n-1].Position
		h.Events = m.all[n-m.kept:]
	}
	return h
}

// A replica hears of some events and misses others, while Redis trims, comes back older, or is emptied. Whenever it is
// brought up, a client that was connected all the time has had, since the last gap notice, every event of the valid
// branch exactly once and in order.
func TestAConnectedClientGetsTheValidBranchOnceAndInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity := rapid.IntRange(1, 8).Draw(t, "capacity")
		redis := &modelLog{base: store.NewNonce()}
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

		var snapshot *modelLog
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
				s := *redis
				snapshot = &s
			},
			"restore": func(t *rapid.T) {
				if snapshot == nil {
					t.Skip("no snapshot")
				}
				s := *snapshot
				redis = &s
				c.setLost() // a Redis that is restored was restarted
				c.setSubscribed()
				sync()
			},
			"empty": func(t *rapid.T) {
				redis = &modelLog{base: store.NewNonce()}
				snapshot = nil
			},
			"reconnect": func(t *rapid.T) {
				c.setLost()
				c.setSubscribed()
				sync()
			},
			"": func(t *rapid.T) {
				// What the client has must be a run of the branch it belongs to: nothing twice, no hole.
				client = record.sinceGap
				for i := 1; i < len(client); i++ {
					if client[i] == client[i-1] {
						t.Fatalf("event %v came twice", client[i])
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
	e4 := event(e3)
	b2 := event(e1) // another second event: Redis came back from a snapshot with only e1 in it
	b3 := event(b2)
	other := store.NewNonce()
	o1 := event(store.Event{Position: store.Position{Nonce: other}})

	for _, c := range []struct {
		name   string
		ours   store.History
		trail  []store.Event // delivered
		theirs store.History
		latest bool
		want   []store.Event
		gap    store.Reason
	}{
		{"nothing new", historyOf(base, 9, e1, e2), []store.Event{e1, e2}, historyOf(base, 9, e1, e2), false, nil, ""},
		{"a hole is filled", historyOf(base, 9, e1), []store.Event{e1}, historyOf(base, 9, e1, e2, e3), false, []store.Event{e2, e3}, ""},
		{"exactly what was missed is still stored", historyOf(base, 9, e1), []store.Event{e1}, historyOf(base, 2, e1, e2, e3), false, []store.Event{e2, e3}, ""},
		{"some of it is trimmed", historyOf(base, 9, e1), []store.Event{e1}, historyOf(base, 1, e1, e2, e3), false, []store.Event{e3}, store.Trimmed},
		{"all of it has expired", historyOf(base, 9, e1), []store.Event{e1}, historyOf(base, 0, e1, e2, e3), false, nil, store.Trimmed},
		{"Redis came back older", historyOf(base, 9, e1, e2, e3), []store.Event{e1, e2, e3}, historyOf(base, 9, e1, e2), false, nil, ""},
		{"Redis came back older and went on", historyOf(base, 9, e1, e2, e3), []store.Event{e1, e2, e3}, historyOf(base, 9, e1, b2, b3), false, []store.Event{b2, b3}, ""},
		{"and went on beyond where we were", historyOf(base, 9, e1, e2), []store.Event{e1, e2}, historyOf(base, 9, e1, b2, b3), false, []store.Event{b2, b3}, ""},
		{"the last common event is the one before the oldest stored", historyOf(base, 9, e1, e2), []store.Event{e1, e2}, historyOf(base, 2, e1, b2, b3), false, []store.Event{b2, b3}, ""},
		{"the last common event is trimmed", historyOf(base, 9, e1, e2), []store.Event{e1, e2}, historyOf(base, 1, e1, b2, b3), false, []store.Event{b3}, store.Reset},
		{"Redis was emptied", historyOf(base, 9, e1, e2), []store.Event{e1, e2}, historyOf(other, 9), false, nil, store.Reset},
		{"Redis was emptied and filled again", historyOf(base, 9, e1, e2), []store.Event{e1, e2}, historyOf(other, 9, o1), false, []store.Event{o1}, store.Reset},
		{"a state needs no past", historyOf(base, 1, e1), []store.Event{e1}, historyOf(base, 1, e1, e2, e3, e4), true, []store.Event{e4}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			past := &trail{}
			past.add(store.Position{Nonce: base})
			for _, e := range c.trail {
				past.add(e.Position)
			}
			got, gap := catchUp(c.ours, past, c.theirs, kind.Rule{Latest: c.latest})
			if gap != c.gap {
				t.Errorf("gap: got %q, want %q", gap, c.gap)
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
	for _, e := range []store.Event{e1, e2} {
		past.add(e.Position)
	}
	if _, gap := catchUp(historyOf(base, 9, e1, e2), past, historyOf(base, 9, e1, b2), kind.Rule{}); gap != "" {
		t.Fatalf("gap %q", gap)
	}
	if got := past.translate(e2.Position); got != e1.Position {
		t.Errorf("place of a client at the lost event: got %v, want %v", got, e1.Position)
	}
	if got := past.translate(e1.Position); got != e1.Position {
		t.Errorf("place of a client before: got %v, want %v", got, e1.Position)
	}
}
