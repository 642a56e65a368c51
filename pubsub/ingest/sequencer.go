package ingest

// RawID names one raw message. All replicas give a message the same RawID. Within a channel and a marker the numbers
// are 1, 2, 3, … in the order in which Redis delivers the messages.
type RawID struct {
	Marker string
	Number uint64
}

// Sequencer gives raw messages their RawIDs. See the package comment for how replicas come to the same ones.
//
// It is a plain state machine without a clock, a lock or a connection. It belongs to one connection to Redis, whose
// reading goroutine calls it with everything the connection delivers, in that order. A new connection may have missed
// messages, so it needs a new Sequencer.
type Sequencer struct {
	sources map[string]*source // the sources that are followed
	used    *usedMarkers
}

// source counts the messages of one source since its newest marker. A source is a channel or a pattern that the
// connection is subscribed to.
type source struct {
	marker    string
	count     uint64            // if the source is a channel: its messages
	byChannel map[string]uint64 // if the source is a pattern: the messages of each channel; nil until there is one
}

// NewSequencer returns a Sequencer that follows no source yet.
func NewSequencer() *Sequencer {
	return &Sequencer{sources: make(map[string]*source), used: &usedMarkers{known: make(map[usedMarker]struct{})}}
}

// ForNextConnection returns a Sequencer that follows no source yet, and knows which markers were used. q must not be used
// any more.
func (q *Sequencer) ForNextConnection() *Sequencer {
	return &Sequencer{sources: make(map[string]*source), used: q.used}
}

// Marker begins a new count for each of the given sources that is followed.
//
// If own is true, this replica published the marker, and the sources that were not followed are followed from now on.
// The marker of another replica must not have that effect: it says nothing about when our subscription began.
//
// A marker under which messages of a source were named already does not begin a new count there: the store would take the
// next messages for those that it has. The gateway never publishes a marker twice; Marker returns the sources for which
// somebody else did.
func (q *Sequencer) Marker(marker string, sources []string, own bool) (repeated []string) {
	for _, s := range sources {
		switch {
		case !own && q.sources[s] == nil:
		case q.used.has(usedMarker{marker, s}):
			repeated = append(repeated, s)
		default:
			q.sources[s] = &source{marker: marker}
		}
	}
	return repeated
}

// Next returns the RawID of the next message, which came to channel and was delivered because of the subscription to
// sourceName. ok is false if that source is not followed: then the message belongs to the other replicas.
func (q *Sequencer) Next(sourceName, channel string) (id RawID, ok bool) {
	s := q.sources[sourceName]
	if s == nil {
		return RawID{}, false
	}
	if s.count == 0 && s.byChannel == nil {
		q.used.add(usedMarker{s.marker, sourceName})
	}
	if channel == sourceName {
		s.count++
		return RawID{Marker: s.marker, Number: s.count}, true
	}
	if s.byChannel == nil {
		s.byChannel = make(map[string]uint64)
	}
	s.byChannel[channel]++
	return RawID{Marker: s.marker, Number: s.byChannel[channel]}, true
}

// Counted returns how many channels have had messages by the pattern source since its marker. Each of them takes
// memory until the next marker.
func (q *Sequencer) Counted(source string) int {
	if s := q.sources[source]; s != nil {
		return len(s.byChannel)
	}
	return 0
}

// Forget stops following a source to which the connection is no longer subscribed.
func (q *Sequencer) Forget(source string) { delete(q.sources, source) }

// usedAtMost is how many markers are remembered.
const usedAtMost = 8192

// usedMarker is a marker under which messages of a source were named.
type usedMarker struct{ marker, source string }

// usedMarkers are the newest of them.
type usedMarkers struct {
	known map[usedMarker]struct{}
	all   []usedMarker // those of known; when there are usedAtMost, a new one takes the place of the oldest, at next
	next  int
}

func (u *usedMarkers) has(m usedMarker) bool {
	_, ok := u.known[m]
	return ok
}

func (u *usedMarkers) add(m usedMarker) {
	if u.has(m) {
		return
	}
	if len(u.all) < usedAtMost {
		u.all = append(u.all, m)
	} else {
		delete(u.known, u.all[u.next])
		u.all[u.next] = m
		u.next = (u.next + 1) % usedAtMost
	}
	u.known[m] = struct{}{}
}
