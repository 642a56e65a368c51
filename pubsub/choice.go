package pubsub

import "sluice/store"

// lookedAtOnce is how many frames one call of Stream.choose looks at, in all feeds together; at least fewestLooked of each.
// A writer's other streams wait meanwhile, some 50 µs.
const (
	lookedAtOnce = 1024
	fewestLooked = 16
)

// choice is the memory of one call of Stream.choose, used again by the next one. It is for one goroutine at a time.
type choice struct {
	frames []frame // of all feeds that have something new, feed by feed
	runs   []run
	text   []byte
	id     []byte
}

// run is the part of choice.frames that comes from one feed.
type run struct {
	cursor *cursor
	count  int
	more   bool    // the feed has frames after them
	frames []frame // that are still to be taken
}

// choose returns the new frames of all feeds that the filter passes, in the order in which they arrived at this replica. In a
// stream of several channels, each has an id that says where the client is in all of them. It returns about partBytes at
// most, and looks at lookedAtOnce frames; the rest comes with the next call. If there is a rest, and the filter has passed
// none of the frames, it returns ErrBehind.
func (s *Stream) choose(m *choice) ([]byte, error) {
	if err := m.collect(s.cursors); err != nil {
		return nil, err
	}
	m.text = m.text[:0]
	more := false
	for len(m.text) < partBytes && !s.over && !more {
		r := m.earliest()
		if r == nil {
			break
		}
		g := r.frames[0]
		r.frames = r.frames[1:]
		r.cursor.next++
		r.cursor.at = g.at
		s.take(m, g, r.cursor.feed)
		more = r.more && len(r.frames) == 0 // the feed's next frame may be earlier than those of the other feeds
	}
	m.forget()
	if more && len(m.text) == 0 && !s.over {
		return nil, ErrBehind
	}
	return m.text, nil
}

// collect gathers the next frames of all feeds.
func (m *choice) collect(cursors []cursor) error {
	most := max(fewestLooked, lookedAtOnce/len(cursors))
	for i := range cursors {
		c, before := &cursors[i], len(m.frames)
		var more bool
		var err error
		if m.frames, more, err = c.feed.from(m.frames, c.next, most); err != nil {
			m.forget()
			return err
		}
		if n := len(m.frames) - before; n > 0 {
			m.runs = append(m.runs, run{cursor: c, count: n, more: more})
		}
	}
	rest := m.frames // the array stays where it is from here on
	for i := range m.runs {
		r := &m.runs[i]
		r.frames, rest = rest[:r.count], rest[r.count:]
	}
	return nil
}

// forget lets go of the frames: what feeds have dropped must not live until the next call, which may be in an hour.
func (m *choice) forget() {
	clear(m.frames)
	clear(m.runs)
	m.frames, m.runs = m.frames[:0], m.runs[:0]
}

// earliest returns the run whose first frame arrived first, or nil if all are empty.
func (m *choice) earliest() (first *run) {
	for i := range m.runs {
		r := &m.runs[i]
		if len(r.frames) > 0 && (first == nil || r.frames[0].arrival < first.frames[0].arrival) {
			first = r
		}
	}
	return first
}

// take adds a frame of a feed to the text, or what it means for the client, if the filter does not pass it.
func (s *Stream) take(m *choice, g frame, f *Feed) {
	several := len(s.cursors) > 1
	event := g.kind == eventFrame || g.kind == finalFrame
	s.over = g.kind == finalFrame && !several
	switch {
	case event && !s.filter.passes(g.typ):
		s.unseen++
		switch rule := f.channel.rule; {
		case s.over: // the client must not come back for more
			m.id = append(g.at.Append(m.id[:0]), store.EndMark...)
			m.text = f.encoder.Position(m.text, m.id)
			s.unseen = 0
		case !rule.Latest && int(s.unseen) >= max(1, rule.Capacity/4): // before what the client would resume from is trimmed
			m.id = s.appendID(m.id[:0])
			m.text = f.encoder.Position(m.text, m.id)
			s.unseen = 0
		}
		return
	case !several:
		m.text = append(m.text, g.bytes...)
	case g.kind == positionFrame:
		m.id = s.appendID(m.id[:0])
		m.text = f.encoder.Position(m.text, m.id)
	default:
		m.id = s.appendID(m.id[:0])
		m.text = append(f.encoder.ID(m.text, m.id), g.bytes[g.idBytes:]...)
	}
	s.unseen = 0
}
