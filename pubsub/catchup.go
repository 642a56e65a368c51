package pubsub

import (
	"slices"

	"sluice/store"
)

// missed is what a replica has still to tell the streams of a channel.
type missed struct {
	back   store.Place  // where clients go back to, because Redis has lost what is after it; zero: they stay where they are
	gap    store.Reason // why other events are lost, before the first of events; empty: none are
	events []store.Event
}

// catchUp decides what a replica must deliver, and notes it in past. ours is what it has delivered, theirs is what Redis has
// stored. Between Redis and the replica, this function alone keeps the promise "nothing lost, nothing twice". It uses no
// clock and no connection.
func catchUp(ours store.History, past *trail, theirs store.History) missed {
	at := ours.Tip.Position
	events, gap := theirs.After(at)
	switch {
	case gap != "" && theirs.Base != ours.Base: // Redis lost the channel and it began anew, even if an offset looks familiar
		past.begin(theirs)
		return missed{gap: store.Reset, events: theirs.Events}
	case gap == store.Reset:
		if common, ok := past.rewind(theirs); ok {
			events, gap = theirs.After(common)
		}
	}
	switch {
	case slices.ContainsFunc(events, func(e store.Event) bool { return past.left(e.Position) }):
		// The branch was left and comes back. Some clients have had these events, and others have not.
		past.comeBack(theirs)
		return missed{gap: store.Reset, events: theirs.Events}
	case gap != "":
		past.begin(theirs)
		return missed{gap: gap, events: events}
	}
	m := missed{events: events}
	if back := past.translate(at.Place()); back.Position() != at {
		m.back = back
	}
	past.learn(theirs)
	for _, e := range events {
		past.add(e.Position)
	}
	return m
}
