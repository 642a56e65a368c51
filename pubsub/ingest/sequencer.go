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
}

// source counts the messages of one source since its newest marker. A source is a channel or a pattern that the
// connection is subscribed to.
type source struct {
	marker    string
	count     uint64            // if the source is a channel: its messages
	byChannel map[string]uint64 // if the source is a pattern: the messages of each channel; nil until there is one
}

// NewSequencer returns a Sequencer that follows no source yet.
func NewSequencer() *Sequencer { return &Sequencer{sources: make(map[string]*source)} }

// Marker begins a new count for each of the given sources that is followed.
//
// If own is true, this replica published the marker, and the sources that were not followed are followed from now on.
// The marker of another replica must not have that effect: it says nothing about when our subscription began.
func (q *Sequencer) Marker(marker string, sources []string, own bool) {
	for _, s := range sources {
		if own || q.sources[s] != nil {
			q.sources[s] = &source{marker: marker}
		}
	}
}

// Next returns the RawID of the next message, which came to channel and was delivered because of the subscription to
// sourceName. ok is false if that source is not followed: then the message belongs to the other replicas.
func (q *Sequencer) Next(sourceName, channel string) (id RawID, ok bool) {
	s := q.sources[sourceName]
	if s == nil {
		return RawID{}, false
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
