package pubsub

import (
	"cmp"
	"slices"

	"sluice/store"
	"sluice/store/kind"
)

// trailLength is how many delivered positions a channel remembers: how far back Redis may come back from a snapshot
// and the replica still finds the last common event. 24 bytes each, allocated as events come.
const trailLength = 4096

// trail remembers which positions were delivered, and what became of those that Redis lost.
//
// It is not safe for concurrent use; the channel guards it.
type trail struct {
	positions []store.Position // delivered on the branch that is now valid, oldest first
	abandoned map[store.Position]store.Position
}

// reset forgets everything but p, which begins a new life of the channel.
func (t *trail) reset(p store.Position) {
	t.positions = append(t.positions[:0], p)
	clear(t.abandoned)
}

// has reports whether p was delivered, as far as is remembered. Offsets in the trail only grow.
func (t *trail) has(p store.Position) bool {
	i, found := slices.BinarySearchFunc(t.positions, p.Offset, func(q store.Position, offset uint64) int {
		return cmp.Compare(q.Offset, offset)
	})
	return found && t.positions[i] == p
}

// add remembers a delivered position.
func (t *trail) add(p store.Position) {
	if len(t.positions) >= 2*trailLength {
		t.positions = append(t.positions[:0], t.positions[trailLength:]...)
	}
	t.positions = append(t.positions, p)
}

// last returns the newest delivered position of the valid branch.
func (t *trail) last() store.Position { return t.positions[len(t.positions)-1] }

// rewind looks for the newest delivered position that theirs still has. If there is one, what was delivered after it
// is remembered as abandoned.
func (t *trail) rewind(theirs store.History) (common store.Position, ok bool) {
	for i := len(t.positions) - 1; i >= 0; i-- {
		if !theirs.Has(t.positions[i]) {
			continue
		}
		common = t.positions[i]
		if len(t.abandoned) > 2*trailLength {
			clear(t.abandoned) // clients of lives that long ago are told of a gap
		}
		if t.abandoned == nil {
			t.abandoned = make(map[store.Position]store.Position)
		}
		for _, lost := range t.positions[i+1:] {
			t.abandoned[lost] = common
		}
		t.positions = t.positions[:i+1]
		return common, true
	}
	return store.Position{}, false
}

// translate returns the place in the valid branch that stands for p: p itself, or, if p was lost with an abandoned
// branch, the last common event. A client at p has seen everything up to there, and nothing after it.
func (t *trail) translate(p store.Position) store.Position {
	for range 16 { // Redis may have come back older more than once
		common, lost := t.abandoned[p]
		if !lost {
			break
		}
		p = common
	}
	return p
}

// catchUp decides what leads from ours, which a replica has delivered, to theirs, which Redis has stored: the events
// to deliver, behind a gap notice if some cannot be. It is the whole of the promise "nothing lost, nothing twice"
// between Redis and the replica, and free of clocks and connections.
func catchUp(ours store.History, past *trail, theirs store.History, rule kind.Rule) ([]store.Event, store.Reason) {
	events, gap := theirs.After(ours.Tip.Position)
	if gap == "" {
		return events, ""
	}
	if theirs.Base != ours.Base {
		gap = store.Reset // another life of the channel, even if the offset looks like an old one
	} else if gap == store.Reset {
		if common, ok := past.rewind(theirs); ok {
			events, gap = theirs.After(common)
		}
	}
	if rule.Latest {
		gap = "" // a state: the newest event makes up for all before it
	}
	return events, gap
}
