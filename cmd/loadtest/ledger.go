//go:build linux

package main

import (
	"encoding/binary"
	"hash/fnv"
)

// ledger is the order in which the events of one channel reached its clients. The first client that receives an event
// writes it into the ledger. Every other client must receive the same events in the same order. The server chooses the
// order: events that are published at the same time have none. audit finds out whether all of them are there.
type ledger struct {
	order   []int32 // numbers of events
	got     []int32 // by place in order: how many clients have received the event
	places  []int32 // by number of an event: its place in order plus one, or 0 if no client has received it
	clients int32   // how many there are
	all     int     // how many events from the beginning of order every client has received
}

// faults counts what must not happen to clients. If all are zero nothing was lost, repeated or out of order.
type faults struct {
	Missing    int64 `json:"missing,omitempty"`    // events that a client did not receive
	Repeated   int64 `json:"repeated,omitempty"`   // events that a client received again
	Disordered int64 `json:"disordered,omitempty"` // events that came where other clients had received another one
	Gaps       int64 `json:"gaps,omitempty"`       // gap events, though nothing is trimmed here
	Unreadable int64 `json:"unreadable,omitempty"` // events with data that nobody published
	Dropped    int64 `json:"dropped,omitempty"`    // streams that the server ended
	Refused    int64 `json:"refused,omitempty"`    // streams that did not open
}

func (f *faults) add(g faults) {
	f.Missing += g.Missing
	f.Repeated += g.Repeated
	f.Disordered += g.Disordered
	f.Gaps += g.Gaps
	f.Unreadable += g.Unreadable
	f.Dropped += g.Dropped
	f.Refused += g.Refused
}

func (f *faults) none() bool { return *f == faults{} }

// receive records that a client received event n. cursor is the place in order of the event that it should receive
// next; the new cursor is returned.
func (l *ledger) receive(cursor, n int, f *faults) int {
	place := l.place(n)
	switch {
	case place < 0 && cursor < len(l.order):
		f.Disordered++ // no client has received it, and at this place the others received another one
		return cursor
	case place < 0:
		for len(l.places) <= n {
			l.places = append(l.places, 0)
		}
		l.order, l.got = append(l.order, int32(n)), append(l.got, 0)
		l.places[n] = int32(len(l.order))
	case place < cursor:
		f.Repeated++
		return cursor
	case place > cursor:
		f.Missing += int64(place - cursor)
		cursor = place
	}
	l.got[cursor]++
	for l.all < len(l.order) && l.got[l.all] == l.clients {
		l.all++
	}
	return cursor + 1
}

// place returns the place of event n in order, or -1 if no client has received it.
func (l *ledger) place(n int) int {
	if n >= len(l.places) {
		return -1
	}
	return int(l.places[n]) - 1
}

// audit counts what is missing after the events 0 to events-1 have been published: the events that no client has
// received, once for each client, and those that a client with one of the given cursors has not received yet.
func (l *ledger) audit(events int, cursors []int, f *faults) {
	for n := range events {
		if l.place(n) < 0 {
			f.Missing += int64(l.clients)
		}
	}
	for n := events; n < len(l.places); n++ {
		if l.place(n) >= 0 {
			f.Unreadable++ // never published
		}
	}
	for _, c := range cursors {
		f.Missing += int64(len(l.order) - c)
	}
}

// sum returns a hash of the order: it is the same for ledgers with the same events in the same order.
func (l *ledger) sum() uint64 {
	h := fnv.New64a()
	for _, n := range l.order {
		_, _ = h.Write(binary.LittleEndian.AppendUint32(nil, uint32(n))) // a hash takes everything
	}
	return h.Sum64()
}
