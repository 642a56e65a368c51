package pubsub

import (
	"cmp"
	"slices"

	"sluice/store"
	"sluice/store/kind"
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
	// positions were delivered on the valid branch. Their offsets grow. Only recent ones count.
	positions []store.Position
	// abandoned holds, for each position that was delivered and that Redis lost, the last event common to its branch and
	// the next one. It has at most 3*trailLength entries.
	abandoned map[store.Position]store.Position
}

// recent returns the positions that are remembered, oldest first.
func (t *trail) recent() []store.Position { return t.positions[max(0, len(t.positions)-trailLength):] }

// reset forgets everything but p, which begins a new life of the channel.
func (t *trail) reset(p store.Position) {
	t.positions = append(t.positions[:0], p)
	clear(t.abandoned)
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

// last returns the newest delivered position of the valid branch.
func (t *trail) last() store.Position { return t.positions[len(t.positions)-1] }

// rewind finds the newest delivered position that Redis still has in its history, theirs. If there is one, the
// positions that were delivered after it become abandoned.
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
	if len(t.abandoned) > 2*trailLength {
		clear(t.abandoned) // clients of branches that old are told of a gap
	}
	if t.abandoned == nil {
		t.abandoned = make(map[store.Position]store.Position)
	}
	for _, lost := range recent[i+1:] {
		t.abandoned[lost] = common
	}
	t.positions = recent[:i+1]
	return common, true
}

// translate returns the place in the valid branch that stands for p. That is p itself, or, if p was lost with an
// abandoned branch, the last common event: a client at p has seen everything up to there, and nothing after it.
func (t *trail) translate(p store.Position) store.Position {
	for range maxRewinds {
		common, lost := t.abandoned[p]
		if !lost {
			break
		}
		p = common
	}
	return p
}

// catchUp decides what a replica must deliver. ours is what it has delivered, theirs is what Redis has stored. catchUp
// returns the events to deliver, and the reason for a gap notice before them if other events are lost. Between Redis
// and the replica, this function alone keeps the promise "nothing lost, nothing twice". It uses no clock and no
// connection.
func catchUp(ours store.History, past *trail, theirs store.History, rule kind.Rule) ([]store.Event, store.Reason) {
	events, gap := theirs.After(ours.Tip.Position)
	if gap == "" {
		return events, ""
	}
	if theirs.Base != ours.Base {
		gap = store.Reset // Redis lost the channel and it began anew, even if an offset looks familiar
	} else if gap == store.Reset {
		if common, ok := past.rewind(theirs); ok {
			events, gap = theirs.After(common)
		}
	}
	if rule.Latest {
		gap = "" // the newest event is all that matters here, and it is stored
	}
	return events, gap
}
