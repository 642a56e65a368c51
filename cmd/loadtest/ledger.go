//go:build linux

package main

import (
	"encoding/binary"
	"hash/fnv"
)

// ledger is the order in which the events of one channel reached its clients. The first client to get an event writes
// it down; every other one must get the same events in the same order. Which order that is, is the server's choice:
// events that are published side by side have none of their own. audit says whether all of them are there.
type ledger struct {
	order   []int32 // numbers of events
	got     []int32 // clients that have had order[i]
	places  []int32 // by number: the event's place in order, plus one; 0: nobody has had it
	clients int32   // that watch
	all     int     // leading events of order that every client has had
}

// faults are what must not happen to a client. All zero means: nothing lost, nothing repeated, nothing out of order.
type faults struct {
	Missing    int64 `json:"missing,omitempty"`    // an event that a client did not get
	Repeated   int64 `json:"repeated,omitempty"`   // an event that a client got again
	Disordered int64 `json:"disordered,omitempty"` // an event that came where others had another one
	Gaps       int64 `json:"gaps,omitempty"`       // gap notices: nothing here is old enough to be gone
	Unreadable int64 `json:"unreadable,omitempty"` // data that nobody published
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

func (f faults) none() bool { return f == faults{} }

// take notes that a client whose cursor is here got event n, and returns its cursor afterwards.
func (l *ledger) take(cursor, n int, f *faults) int {
	place := l.place(n)
	switch {
	case place < 0 && cursor < len(l.order):
		f.Disordered++ // nobody has had it, and the others have gone on with another one
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

// place returns where in the order event n is, or -1.
func (l *ledger) place(n int) int {
	if n >= len(l.places) {
		return -1
	}
	return int(l.places[n]) - 1
}

// audit counts what is missing after the events 0 to events-1 have been published: for every client what nobody had,
// and what those clients have not had whose cursors are given.
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

// sum is a short value that ledgers with the same events in the same order share.
func (l *ledger) sum() uint64 {
	h := fnv.New64a()
	for _, n := range l.order {
		_, _ = h.Write(binary.LittleEndian.AppendUint32(nil, uint32(n))) // a hash takes everything
	}
	return h.Sum64()
}
