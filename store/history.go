package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Reason says why events cannot be delivered; it is what a client reads in a gap notice.
type Reason string

// The reasons of a gap.
const (
	Trimmed Reason = "trimmed" // the events were there, and are no longer stored
	Reset   Reason = "reset"   // the position belongs to a past that Redis has lost
	Unknown Reason = "unknown" // the last event id says nothing about this channel
)

// History is what is known of a channel: where it stands, and its newest events without a hole, oldest first. Events
// may be empty, or fewer than are stored; they always end at the tip.
type History struct {
	Tip
	Events []Event
}

// newHistory makes a History from a tip and the list of the same moment (newest first). It keeps what forms an
// unbroken chain from the tip backwards: whatever somebody else may have pushed into the list ends it.
func newHistory(channel string, tip Tip, list []string) History {
	h := History{Tip: tip, Events: make([]Event, 0, len(list))}
	next := tip.Position
	for _, text := range list {
		e, err := parseEvent(channel, []byte(text))
		if err != nil || e.Position != next {
			break
		}
		h.Events = append(h.Events, e)
		next = Position{Offset: e.Position.Offset - 1, Nonce: e.Prev}
	}
	slices.Reverse(h.Events)
	return h
}

// Floor returns the oldest position from which everything up to the tip can be delivered.
func (h History) Floor() Position {
	if len(h.Events) == 0 {
		return h.Tip.Position
	}
	oldest := h.Events[0]
	return Position{Offset: oldest.Position.Offset - 1, Nonce: oldest.Prev}
}

// Has reports whether p is a place in this history: what comes after it is exactly what Events holds after it.
func (h History) Has(p Position) bool {
	floor := h.Floor()
	if p.Offset <= floor.Offset || p.Offset > h.Tip.Position.Offset {
		return p == floor
	}
	return h.Events[p.Offset-floor.Offset-1].Position == p
}

// Extended returns the history with those of some other events that lead up to its oldest one in front. They are in
// the order in which they were announced.
func (h History) Extended(announced []Event) History {
	var older []Event
	floor := h.Floor()
	for i := len(announced) - 1; i >= 0; i-- {
		if e := announced[i]; e.Position == floor && floor.Offset > 0 {
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

// After returns the events after p. If some of them are not here, gap says why, and the events are all there are.
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

// Last returns the newest n events, or as many as there are, oldest first.
func (h History) Last(n int) []Event { return h.Events[max(0, len(h.Events)-n):] }

// History returns what is stored of a channel, list and position of the same moment. A channel that nobody touched has
// the zero History.
//
// A full Redis refuses every transaction, one that only reads too. So the position is read before the list and after
// it; sent together, the three are carried out together but for rare cases, which are read again.
func (s *Store) History(ctx context.Context, channel string) (History, error) {
	for try := 1; ; try++ {
		p := s.rdb.Pipeline()
		before := p.HMGet(ctx, metaKey(channel), tipFields...)
		list := p.LRange(ctx, historyKey(channel), 0, -1)
		after := p.HMGet(ctx, metaKey(channel), tipFields...)
		if _, err := p.Exec(ctx); err != nil {
			return History{}, fmt.Errorf("read history of channel %q: %w", channel, err)
		}
		if !slices.Equal(before.Val(), after.Val()) {
			if try < 100 {
				continue
			}
			return History{}, fmt.Errorf("read history of channel %q: it never stands still", channel)
		}
		tip, err := parseTip(before.Val())
		if errors.Is(err, errNoMeta) {
			return History{}, nil
		}
		if err != nil {
			return History{}, fmt.Errorf("position of channel %q: %w", channel, err)
		}
		return newHistory(channel, tip, list.Val()), nil
	}
}
