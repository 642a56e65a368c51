package store

import "slices"

// Reason says why events cannot be delivered; it is what a client reads in a gap notice.
type Reason string

// The reasons of a gap.
const (
	Trimmed Reason = "trimmed" // the events are too old: they are no longer stored
	Reset   Reason = "reset"   // Redis has lost events that the client had seen
	Unknown Reason = "unknown" // the last event id has no position of this channel
)

// History is what is known of a channel: where it stands, and its newest events, oldest first. There is no hole between
// the events, and the last one is at the tip. There may be none, or fewer than Redis has.
type History struct {
	Tip
	Events []Event
}

// Floor returns the oldest position after which no event is missing: the place before the oldest event, or the tip.
func (h History) Floor() Position {
	if len(h.Events) == 0 {
		return h.Tip.Position
	}
	oldest := h.Events[0]
	return Position{Offset: oldest.Position.Offset - 1, Nonce: oldest.Prev}
}

// Has reports whether p is the place of an event in this history, or the floor.
func (h History) Has(p Position) bool {
	floor := h.Floor()
	if p.Offset <= floor.Offset || p.Offset > h.Tip.Position.Offset {
		return p == floor
	}
	return h.Events[p.Offset-floor.Offset-1].Position == p
}

// Extended returns a history that begins earlier, if announced events are direct predecessors of the oldest event. They
// must be in the order in which they were announced. Other events are ignored. h stays as it is.
func (h History) Extended(announced []Event) History {
	var older []Event
	floor := h.Floor()
	for _, e := range slices.Backward(announced) {
		if e.Position == floor && floor.Offset > 0 {
			older = append(older, e)
			floor = Position{Offset: floor.Offset - 1, Nonce: e.Prev}
		}
	}
	if len(older) > 0 {
		slices.Reverse(older)
		h.Events = append(older, h.Events...)
	}
	return h
}

// After returns the events after p. If some of them are missing, gap says why, and events are all that the history has.
func (h History) After(p Position) (events []Event, gap Reason) {
	floor := h.Floor()
	switch {
	case h.Has(p):
		return h.Events[p.Offset-floor.Offset:], ""
	case p.Offset < floor.Offset && !(p.Offset == 0 && p.Nonce != h.Base):
		return h.Events, Trimmed
	default:
		return h.Events, Reset
	}
}

// AfterPlace returns the events after the place of a client, as After does. If the client has seen the first of them already,
// or nobody can know that, the gap is Reset: Redis has gone to another branch and come back.
func (h History) AfterPlace(p Place) (events []Event, gap Reason) {
	events, gap = h.After(p.Position())
	again := len(events) > 0 && events[0].Position.Nonce.Mark() == p.Left
	if p.Left != 0 && (gap == "" && again || gap == Trimmed) {
		return h.Events, Reset
	}
	return events, gap
}

// Last returns the newest n events, or as many as there are, oldest first.
func (h History) Last(n int) []Event { return h.Events[max(0, len(h.Events)-n):] }
