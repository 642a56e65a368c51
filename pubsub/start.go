package pubsub

import "sluice/store"

// partBytes bounds Start, but for its last event: each stream has a copy of its own until the client has taken it.
const partBytes = 32 << 10

// part is what a stream gets of one channel before it goes live.
type part struct {
	from   store.Position // before events
	events []store.Event
	gap    store.Reason
	// Of the channel at that moment.
	tip   store.Tip
	epoch int
}

// starts returns, per channel, where the client is.
func (f *Feed) starts(r Request) []start {
	starts := make([]start, len(f.names))
	at, known := store.ParseEventID(r.LastEventID, f.names)
	for i, c := range f.channels {
		epoch, _ := c.unsynchronised()
		starts[i] = start{resume: r.Resume, at: at[i], known: known[i], replay: r.Replay, epoch: epoch}
	}
	return starts
}

// replay collects the parts; the channels are locked. short is the channel that something is missing of.
func (f *Feed) replay(starts []start) (parts []part, short *Channel, missing lack) {
	parts = make([]part, len(starts))
	for i, c := range f.channels {
		if c.state != live {
			return nil, c, connection
		}
		if parts[i], missing = c.replay(starts[i]); missing != nothing {
			return nil, c, missing
		}
	}
	return parts, nil, nothing
}

// encodeStart makes the bytes a stream starts with: first the client's place (so that it resumes from there even if
// it never gets an event), then gap notices, then the events of all channels in the order of their times. It stops when
// it has partBytes; at is where that leads to.
func (f *Feed) encodeStart(parts []part, countGaps func(int64) int64) (start []byte, at []store.Position, more bool) {
	at = make([]store.Position, len(parts))
	events := make([][]store.Event, len(parts)) // still to come
	size, gaps := 0, 0
	for i, p := range parts {
		at[i], events[i] = p.from, p.events
		for j := 0; j < len(p.events) && size < partBytes; j++ {
			size += len(p.events[j].Data) + overhead
		}
		if p.gap != "" {
			gaps++
		}
	}
	countGaps(int64(gaps))
	id := store.AppendEventID(nil, f.names, at)
	start = make([]byte, 0, size+256)
	if gaps == 0 {
		start = f.encoder.Position(start, id)
	}
	for i, p := range parts {
		if p.gap == "" {
			continue
		}
		place := id
		if gaps > 1 { // it is behind the other gaps: a client that got no further must come back from where it was
			place = nil
		}
		start = f.encoder.Gap(start, place, f.names[i], p.gap)
		gaps--
	}
	told := true // that at is where this leads to
	for {
		i := earliest(events)
		if i < 0 || len(start) >= partBytes {
			if !told {
				start = f.encoder.Position(start, id)
			}
			return start, at, i >= 0
		}
		e := events[i][0]
		events[i] = events[i][1:]
		at[i] = e.Position
		id = store.AppendEventID(id[:0], f.names, at)
		told = true
		switch {
		case wanted(f.types, e.Type):
			start = f.encoder.Event(start, id, e)
		case e.Final && len(f.names) == 1:
			start = f.encoder.Position(start, append(id, store.EndMark...))
		default:
			told = false
		}
	}
}

// earliest returns which list's first event is the oldest, or -1 if none has one.
func earliest(events [][]store.Event) int {
	first := -1
	for i, list := range events {
		if len(list) > 0 && (first < 0 || list[0].Time < events[first][0].Time) {
			first = i
		}
	}
	return first
}
