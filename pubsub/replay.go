package pubsub

import (
	"time"

	"sluice/store"
	"sluice/store/kind"
)

// partBytes bounds one part of what leads a stream to its feed. The last event of a part may go beyond it. Each stream holds
// its part by itself until the client has taken it: that is what a client costs that comes back and takes nothing.
const partBytes = 32 << 10

// part is what a stream gets of one channel before it goes live.
type part struct {
	from   store.Place // the place before the first event
	events []store.Event
	gap    store.Reason // empty: events follow the client's place without a hole
	tip    store.Tip    // where the channel stood when the part was made
	epoch  int          // the channel's epoch at that moment
}

// finished reports whether nothing will come any more on a stream of one channel: the channel has ended, and the client has
// seen its last event. When nothing of the channel is stored any more, only the client's id can tell.
func finished(parts []part, r Request, id store.EventID) bool {
	if len(parts) != 1 || r.LastEventID == "" {
		return false
	}
	if p := parts[0]; p.tip.Position.Offset > 0 {
		return p.tip.Final && len(p.events) == 0
	}
	return id.End && kind.Of(r.Channels[0]).Ends()
}

// replayInto makes the part that leads from a place to the feed of a cursor, and sets the cursor to the feed's head.
func (c *channel) replayInto(cur *cursor, from resumePoint) (p part, missing need) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != live {
		return part{}, needLive
	}
	c.expire(time.Now())
	if p, missing = c.replay(from); missing == needNothing {
		cur.next, cur.at = cur.feed.head.Load(), p.from // the head does not move while c.mu is held
		if n := len(p.events); n > 0 {
			cur.at = p.events[n-1].Position.Place()
		}
	}
	return p, missing
}

// encodeReplay makes the bytes of a part: gap notices, then the events of all channels in the order of their times. If none of
// them tells the client its place, a position does, so that it resumes from there even if it never gets an event. It stops
// after partBytes; at is the place, by channel, that the bytes lead to, and more tells that this is not the end of parts.
func (s *Stream) encodeReplay(parts []part) (encoded []byte, at []store.Place, more bool) {
	names, encoder := make([]string, len(s.cursors)), s.encoder()
	for i, c := range s.cursors {
		names[i] = c.feed.channel.name
	}
	at = make([]store.Place, len(parts))
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
	s.broker.stats.gaps.Add(int64(gaps))
	id := store.AppendEventID(nil, names, at)
	encoded = make([]byte, 0, size+256)
	for i, p := range parts {
		if p.gap == "" {
			continue
		}
		if gaps == 1 { // the place is behind the other gaps too: a client that is cut before must hear of them again
			encoded = encoder.ID(encoded, id)
		}
		encoded = encoder.Gap(encoded, names[i], p.gap)
		gaps--
	}
	told := len(encoded) > 0 // the bytes tell the client the place that they lead to
	for {
		i := earliestOf(events)
		if i < 0 || len(encoded) >= partBytes {
			if !told {
				encoded = encoder.Position(encoded, id)
			}
			return encoded, at, i >= 0
		}
		e := events[i][0]
		events[i] = events[i][1:]
		at[i] = e.Position.Place()
		id = store.AppendEventID(id[:0], names, at)
		told = true
		end := e.Final && len(names) == 1
		if end {
			id = append(id, store.EndMark...)
		}
		switch {
		case s.filter.passes(e.Type):
			encoded = encoder.Event(encoder.ID(encoded, id), e)
		case end: // the client must not come back for more
			encoded = encoder.Position(encoded, id)
		default:
			told = false
		}
	}
}

// earliestOf returns which list's first event is the oldest, or -1 if none has one.
func earliestOf(events [][]store.Event) int {
	first := -1
	for i, list := range events {
		if len(list) > 0 && (first < 0 || list[0].Time < events[first][0].Time) {
			first = i
		}
	}
	return first
}
