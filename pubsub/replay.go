package pubsub

import (
	"sluice/store"
	"sluice/store/kind"
)

// partBytes bounds one part of what leads a stream to its feed. The last event of a part may go beyond it. Each stream holds
// its part by itself until the client has taken it: that is what a client costs that comes back and takes nothing.
const partBytes = 32 << 10

// part is what a stream gets of one channel before it goes live.
type part struct {
	from   store.Position // the place before the first event
	events []store.Event
	gap    store.Reason // empty: events follow the client's place without a hole
	tip    store.Tip    // where the channel stood when the part was made
	epoch  int          // the channel's epoch at that moment
}

// starts returns where the client is, by channel.
func (f *Feed) starts(r Request, id store.EventID) []resumePoint {
	starts := make([]resumePoint, len(f.names))
	for i, c := range f.channels {
		epoch, _ := c.staleEpoch()
		starts[i] = resumePoint{
			resume: r.LastEventID != "", at: id.Positions[i], known: id.Known[i], replay: r.Replay, epoch: epoch,
		}
	}
	return starts
}

// finished reports whether nothing will come any more: the one channel of the feed has ended, and the client has seen its
// last event. When nothing of the channel is stored any more, only the client's id can tell.
func (f *Feed) finished(parts []part, r Request, id store.EventID) bool {
	if len(parts) != 1 || r.LastEventID == "" {
		return false
	}
	if p := parts[0]; p.tip.Position.Offset > 0 {
		return p.tip.Final && len(p.events) == 0
	}
	return id.End && kind.Of(f.names[0]).Ends()
}

// replay collects the parts; the channels are locked. short is the channel that something is missing of.
func (f *Feed) replay(starts []resumePoint) (parts []part, short *channel, missing need) {
	parts = make([]part, len(starts))
	for i, c := range f.channels {
		if c.state != live {
			return nil, c, needLive
		}
		if parts[i], missing = c.replay(starts[i]); missing != needNothing {
			return nil, c, missing
		}
	}
	return parts, nil, needNothing
}

// encodeReplay makes the bytes of a part: gap notices, then the events of all channels in the order of their times. If none of
// them tells the client its place, a position does, so that it resumes from there even if it never gets an event. It stops
// after partBytes; at is the place, by channel, that the bytes lead to, and more tells that this is not the end of parts.
func (f *Feed) encodeReplay(parts []part, countGaps func(int64) int64) (encoded []byte, at []store.Position, more bool) {
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
	encoded = make([]byte, 0, size+256)
	for i, p := range parts {
		if p.gap == "" {
			continue
		}
		place := id
		if gaps > 1 { // the place is behind the other gaps too: a client that is cut here must hear of them again
			place = nil
		}
		encoded = f.encoder.Gap(encoded, place, f.names[i], p.gap)
		gaps--
	}
	told := len(encoded) > 0 // the bytes tell the client the place that they lead to
	for {
		i := earliest(events)
		if i < 0 || len(encoded) >= partBytes {
			if !told {
				encoded = f.encoder.Position(encoded, id)
			}
			return encoded, at, i >= 0
		}
		e := events[i][0]
		events[i] = events[i][1:]
		at[i] = e.Position
		id = store.AppendEventID(id[:0], f.names, at)
		told = true
		switch {
		case wanted(f.types, e.Type):
			encoded = f.encoder.Event(encoded, id, e)
		case e.Final && len(f.names) == 1:
			encoded = f.encoder.Position(encoded, append(id, store.EndMark...))
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
