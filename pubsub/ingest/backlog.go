package ingest

import (
	"slices"
	"time"
)

// backlog holds one channel's raw messages that may not be stored yet. One goroutine presents them.
type backlog struct {
	channel  string
	messages []waiting     // oldest first; guarded by Intake.mu
	wake     chan struct{} // capacity 1: something has changed, the goroutine must look again
}

// waiting is a message of a backlog.
type waiting struct {
	Message
	notBefore time.Duration // when it may be presented, by the clock of ReceivedAt; 0: at once
}

// nudge wakes the goroutine of the backlog.
func (b *backlog) nudge() {
	select {
	case b.wake <- struct{}{}:
	default: // it is woken already
	}
}

// first returns the messages to present together: they have one marker, and numbers without a hole.
func (b *backlog) first() []waiting {
	size := 0
	for i, m := range b.messages {
		size += len(m.Payload)
		switch {
		case i == 0: // a single message is presented whatever its size
		case i == presentMessages, size > presentBytes,
			m.ID.Marker != b.messages[0].ID.Marker, m.ID.Number != b.messages[i-1].ID.Number+1:
			return b.messages[:i:i]
		}
	}
	return slices.Clip(b.messages)
}

// upTo returns the range of messages, messages[from:to], that have the marker of id and a number up to that of id.
//
// Messages of an older marker stand before them. They are not in the range: only their own RawIDs tell whether they are
// stored. Within a marker the numbers grow.
func (b *backlog) upTo(id RawID) (from, to int) {
	from = slices.IndexFunc(b.messages, func(m waiting) bool { return m.ID.Marker == id.Marker })
	if from < 0 {
		return 0, 0
	}
	to = from
	for to < len(b.messages) && b.messages[to].ID.Marker == id.Marker && b.messages[to].ID.Number <= id.Number {
		to++
	}
	return from, to
}

// remove takes messages[from:to] out and returns the bytes they took.
func (b *backlog) remove(from, to int) (bytes int) {
	for _, m := range b.messages[from:to] {
		bytes += len(m.Payload) + messageOverhead
	}
	if from == 0 {
		b.messages = b.messages[to:]
	} else { // batches that are being presented share the array, so it must not be changed
		b.messages = slices.Concat(b.messages[:from], b.messages[to:])
	}
	return bytes
}
