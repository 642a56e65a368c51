package pubsub

import (
	"cmp"
	"slices"

	"sluice/store"
)

// trailLength is how many delivered positions a channel remembers, of 16 bytes each. If Redis comes back from a
// snapshot that is older than all of them, the replica finds no common event.
const trailLength = 4096

// trailSlack is how many older positions a trail collects before it drops them. Dropping moves all others, so it must
// be rare.
const trailSlack = 1024

// maxRewinds is how many times Redis may have come back from an older snapshot before a position cannot be translated
// any more.
const maxRewinds = 16

// trail remembers which positions were delivered, and what became of those that Redis lost. It is not safe for
// concurrent use; the channel guards it.
type trail struct {
	// positions are those of the valid branch that were delivered, or were stored already when the channel began. Their
	// offsets grow. Only recent ones count.
	positions []store.Position
	// abandoned holds, for each position that was delivered and that Redis lost, the place to which its clients go back: the
	// last event common to its branch and the next one. It is nowhere if that branch was followed by one that had been left
	// before. abandoned has at most 3*trailLength entries.
	abandoned map[store.Position]store.Place
}

// nowhere is the place of clients of which nobody knows what they have seen of the valid branch. No channel has it.
var nowhere store.Place

// recent returns the positions that are remembered, oldest first.
func (t *trail) recent() []store.Position { return t.positions[max(0, len(t.positions)-trailLength):] }

// begin forgets everything but a history, with which a new life of the channel begins.
func (t *trail) begin(h store.History) {
	t.abandoned = nil
	t.restart(h)
}

// restart forgets the positions of the valid branch, and remembers those of a history instead.
func (t *trail) restart(h store.History) { t.positions = positionsOf(h) }

// learn remembers those positions of a history that are older than the trail's. They were read, and may be delivered to a
// stream that begins with stored events.
func (t *trail) learn(h store.History) {
	oldest, floor := t.positions[0], h.Floor()
	if room := trailLength - len(t.positions); room > 0 && floor.Offset < oldest.Offset && h.Has(oldest) {
		older := positionsOf(store.History{Tip: h.Tip, Events: h.Events[:oldest.Offset-floor.Offset]})
		older = older[:len(older)-1] // the last one is oldest
		t.positions = append(older[max(0, len(older)-room):], t.positions...)
	}
}

// positionsOf returns the floor of a history and the positions of its events, but not more than a trail remembers.
func positionsOf(h store.History) []store.Position {
	events := h.Last(trailLength)
	positions := make([]store.Position, 0, 1+len(events))
	if len(events) == len(h.Events) {
		positions = append(positions, h.Floor())
	}
	for _, e := range events {
		positions = append(positions, e.Position)
	}
	return positions
}

// has reports whether p was delivered on the valid branch, as far as is remembered.
func (t *trail) has(p store.Position) bool {
	recent := t.recent()
	i, found := slices.BinarySearchFunc(recent, p.Offset, func(q store.Position, offset uint64) int {
		return cmp.Compare(q.Offset, offset)
	})
	return found && recent[i] == p
}

// add remembers a delivered position.
func (t *trail) add(p store.Position) {
	if len(t.positions) >= trailLength+trailSlack {
		t.positions = append(t.positions[:0], t.recent()...)
	}
	t.positions = append(t.positions, p)
}

// last returns the newest position of the valid branch.
func (t *trail) last() store.Position { return t.positions[len(t.positions)-1] }

// rewind finds the newest position of the trail that Redis still has in its history, theirs. If there is one, the positions
// after it become abandoned.
func (t *trail) rewind(theirs store.History) (common store.Position, ok bool) {
	recent := t.recent()
	i := len(recent) - 1
	for i >= 0 && !theirs.Has(recent[i]) {
		i--
	}
	if i < 0 {
		return store.Position{}, false
	}
	common = recent[i]
	back := common.Place()
	if i+1 < len(recent) {
		back.Left = recent[i+1].Nonce.Mark()
	}
	t.abandon(recent[i+1:], back)
	t.positions = recent[:i+1]
	return common, true
}

// abandon notes that clients at some positions have to go to another place. Each call has at most trailLength of them.
func (t *trail) abandon(lost []store.Position, back store.Place) {
	if len(lost) == 0 {
		return
	}
	if len(t.abandoned) > 2*trailLength {
		clear(t.abandoned) // clients of branches that old are told of a gap
	}
	if t.abandoned == nil {
		t.abandoned = make(map[store.Position]store.Place)
	}
	for _, p := range lost {
		t.abandoned[p] = back
	}
}

// left reports whether p was delivered on a branch that Redis has left since.
func (t *trail) left(p store.Position) bool {
	if len(t.abandoned) == 0 {
		return false
	}
	_, left := t.abandoned[p]
	return left
}

// comeBack begins anew with theirs, the history of a branch that was left and has come back. Whoever has seen something of
// the branches that were left may have seen something of this one too: their places are nowhere.
func (t *trail) comeBack(theirs store.History) {
	for p := range t.abandoned {
		t.abandoned[p] = nowhere
	}
	if !theirs.Has(t.last()) {
		t.abandon(t.recent(), nowhere)
	}
	t.restart(theirs)
	for _, p := range t.positions {
		delete(t.abandoned, p)
	}
}

// translate returns the place in the valid branch that stands for p. That is p itself, or, if p was lost with an abandoned
// branch, the last common event: a client at p has seen everything up to there, and nothing after it that is valid.
func (t *trail) translate(p store.Place) store.Place {
	for range maxRewinds {
		back, lost := t.abandoned[p.Position()]
		if !lost {
			break
		}
		p = back
	}
	return p
}
