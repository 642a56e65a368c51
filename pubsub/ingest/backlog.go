package ingest

import (
	"slices"
	"time"

	"sluice/store"
)

// backlog holds one channel's raw messages that may not be stored yet. The Intake's lock guards all of it.
type backlog struct {
	channel  string
	source   string     // by which its newest message came
	messages []*waiting // oldest first
	bytes    int        // of messages, with messageOverhead for each

	place   place
	due     time.Duration // while it waits for a time: for which one
	index   int           // while it waits for a time: in the heap
	retryAt time.Duration // after a failure: nothing is presented before; 0: none has failed
	retry   time.Duration // how long it waits after the next failure

	trouble trouble
}

// place is where a backlog is on its way to the store.
type place int

const (
	nowhere    place = iota
	timed            // in Intake.timed: no message of it may be presented yet
	ready            // in Intake.ready
	presenting       // a presenter has it, who puts it back
)

// waiting is a message of a backlog.
type waiting struct {
	Message
	notBefore time.Duration // when it may be presented, by the clock of ReceivedAt; 0: at once
	// draft is what the store takes, nil until it is needed. It belongs to the presenter that has the backlog.
	draft *store.RawMessage
}

func (m *waiting) size() int { return len(m.Payload) + messageOverhead }

// first returns, as a copy, at most so many messages to present together, from an index on: they have one marker, and
// numbers without a hole.
func (b *backlog) first(from, most int) []*waiting {
	size := 0
	end := from
	for ; end < len(b.messages) && end < from+most; end++ {
		m := b.messages[end]
		if size += len(m.Payload); end > from { // a single message is presented whatever its size
			before := b.messages[end-1].ID
			if size > presentBytes || m.ID.Marker != before.Marker || m.ID.Number != before.Number+1 {
				break
			}
		}
	}
	return slices.Clone(b.messages[from:end])
}

// upTo returns the range of messages, messages[from:to], that have the marker of id and a number up to that of id.
//
// Messages of an older marker stand before them. They are not in the range: only their own RawIDs tell whether they are
// stored. Within a marker the numbers grow.
func (b *backlog) upTo(id RawID) (from, to int) {
	from = slices.IndexFunc(b.messages, func(m *waiting) bool { return m.ID.Marker == id.Marker })
	if from < 0 {
		return 0, 0
	}
	to = from
	for to < len(b.messages) && b.messages[to].ID.Marker == id.Marker && b.messages[to].ID.Number <= id.Number {
		to++
	}
	return from, to
}

// remove takes messages[from:to] out and returns the bytes they took. Nothing of the array refers to them afterwards.
func (b *backlog) remove(from, to int) (bytes int) {
	for _, m := range b.messages[from:to] {
		bytes += m.size()
	}
	b.bytes -= bytes
	if from == 0 { // the usual case: the rest need not be moved
		clear(b.messages[:to])
		b.messages = b.messages[to:]
	} else {
		b.messages = slices.Delete(b.messages, from, to)
	}
	return bytes
}
