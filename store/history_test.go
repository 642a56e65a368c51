package store_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/store"
)

// nonce returns the i-th of some nonces.
func nonce(i int) store.Nonce { return store.Nonce{byte(i >> 8), byte(i), 1, 2, 3, 4} }

// place returns the position of the i-th event of a channel whose nonces are nonce(i).
func place(i int) store.Position { return store.Position{Offset: uint64(i), Nonce: nonce(i)} }

// historyFrom returns a history that holds the events from first to last (none if last is less), of a channel that was
// never lost.
func historyFrom(first, last int) store.History {
	h := store.History{Tip: store.Tip{Position: place(last), Base: nonce(0)}}
	for i := first; i <= last; i++ {
		h.Events = append(h.Events, store.Event{Channel: "c", Position: place(i), Prev: nonce(i - 1), Data: fmt.Append(nil, i)})
	}
	return h
}

// emptied is a history of which only the tip is known.
func emptied(last int) store.History {
	return store.History{Tip: store.Tip{Position: place(last), Base: nonce(0)}}
}

func TestWhatComesAfterAPosition(t *testing.T) {
	foreign := func(offset uint64) store.Position { return store.Position{Offset: offset, Nonce: nonce(999)} }
	for _, test := range []struct {
		name    string
		history store.History
		from    store.Position
		events  string
		gap     store.Reason
	}{
		{"the tip", historyFrom(3, 5), place(5), "", ""},
		{"in the middle", historyFrom(3, 5), place(4), "5", ""},
		{"the oldest", historyFrom(3, 5), place(3), "4 5", ""},
		{"just before the oldest", historyFrom(3, 5), place(2), "3 4 5", ""},
		{"one earlier", historyFrom(3, 5), place(1), "3 4 5", store.Trimmed},
		{"the birth of the channel", historyFrom(3, 5), place(0), "3 4 5", store.Trimmed},
		{"the birth, with everything stored", historyFrom(1, 5), place(0), "1 2 3 4 5", ""},
		{"another birth", historyFrom(1, 5), foreign(0), "1 2 3 4 5", store.Reset},
		{"another birth, trimmed", historyFrom(3, 5), foreign(0), "3 4 5", store.Reset},
		{"another event at a stored place", historyFrom(3, 5), foreign(4), "3 4 5", store.Reset},
		{"another event at the tip", historyFrom(3, 5), foreign(5), "3 4 5", store.Reset},
		{"another event just before the oldest", historyFrom(3, 5), foreign(2), "3 4 5", store.Reset},
		{"another event long ago cannot be told from ours", historyFrom(3, 5), foreign(1), "3 4 5", store.Trimmed},
		{"the next one", historyFrom(3, 5), place(6), "3 4 5", store.Reset},
		{"far ahead", historyFrom(3, 5), foreign(1 << 60), "3 4 5", store.Reset},
		{"the end of all numbers", historyFrom(3, 5), foreign(1<<64 - 1), "3 4 5", store.Reset},

		{"an empty channel from its birth", historyFrom(1, 0), place(0), "", ""},
		{"an empty channel from another birth", historyFrom(1, 0), foreign(0), "", store.Reset},
		{"an empty channel from an event", historyFrom(1, 0), foreign(3), "", store.Reset},
		{"an expired history from its tip", emptied(5), place(5), "", ""},
		{"an expired history from before", emptied(5), place(4), "", store.Trimmed},
		{"an expired history from its birth", emptied(5), place(0), "", store.Trimmed},
		{"an expired history from another event at its tip", emptied(5), foreign(5), "", store.Reset},
		{"an unknown channel from its zero place", store.History{}, store.Position{}, "", ""},
		{"an unknown channel from an event", store.History{}, place(3), "", store.Reset},
		{"one event", historyFrom(5, 5), place(4), "5", ""},
		{"one event, seen", historyFrom(5, 5), place(5), "", ""},
	} {
		events, gap := test.history.After(test.from)
		if got := datas(events); got != test.events || gap != test.gap {
			t.Errorf("%s: got %q and gap %q, want %q and %q", test.name, got, gap, test.events, test.gap)
		}
		if has := test.history.Has(test.from); has != (test.gap == "") {
			t.Errorf("%s: Has says %v", test.name, has)
		}
	}
}

// For every history and every position of the same life: what After returns are exactly the later events, or a gap is
// told and the first of them is missing.
func TestNothingAfterAPositionIsLeftOutSilently(t *testing.T) {
	for last := range 8 {
		for first := 1; first <= last+1; first++ {
			h := historyFrom(first, last)
			for from := 0; from <= last; from++ {
				events, gap := h.After(place(from))
				next := from + 1
				if gap != "" {
					if from+1 >= first {
						t.Errorf("%d to %d, after %d: gap %s, though all is stored", first, last, from, gap)
					}
					next = first
				}
				for _, e := range events {
					if e.Position != place(next) {
						t.Errorf("%d to %d, after %d: event %v where %d was due", first, last, from, e.Position, next)
					}
					next++
				}
				if next != last+1 {
					t.Errorf("%d to %d, after %d: the events end before %d", first, last, from, next)
				}
			}
		}
	}
}

func TestTheFloorIsThePlaceBeforeTheOldestEvent(t *testing.T) {
	for name, test := range map[string]struct {
		history store.History
		want    store.Position
	}{
		"all stored": {historyFrom(1, 3), place(0)}, "trimmed": {historyFrom(3, 5), place(2)},
		"expired": {emptied(5), place(5)}, "empty": {historyFrom(1, 0), place(0)},
	} {
		if got := test.history.Floor(); got != test.want {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}

func TestTheNewestEventsAreReturnedOldestFirst(t *testing.T) {
	h := historyFrom(3, 6)
	for n, want := range map[int]string{0: "", 1: "6", 3: "4 5 6", 4: "3 4 5 6", 1000: "3 4 5 6"} {
		if got := datas(h.Last(n)); got != want {
			t.Errorf("Last(%d): got %q, want %q", n, got, want)
		}
	}
	if got := emptied(5).Last(3); len(got) != 0 {
		t.Errorf("Last of nothing: %v", got)
	}
}

func TestAHistoryIsExtendedOnlyByWhatLeadsUpToIt(t *testing.T) {
	event := func(i int) store.Event { return historyFrom(i, i).Events[0] }
	stranger := store.Event{Position: store.Position{Offset: 4, Nonce: nonce(999)}, Prev: nonce(3)}
	for name, test := range map[string]struct {
		announced []store.Event
		want      string
	}{
		"nothing":                        {nil, "5 6"},
		"the one before":                 {[]store.Event{event(4)}, "4 5 6"},
		"several":                        {[]store.Event{event(2), event(3), event(4)}, "2 3 4 5 6"},
		"with a hole":                    {[]store.Event{event(2), event(4)}, "4 5 6"},
		"what is there already":          {[]store.Event{event(4), event(5), event(6)}, "4 5 6"},
		"another event at that place":    {[]store.Event{stranger}, "5 6"},
		"another one and the right one":  {[]store.Event{event(4), stranger}, "4 5 6"},
		"the right one twice":            {[]store.Event{event(4), event(4)}, "4 5 6"},
		"everything back to the birth":   {[]store.Event{event(1), event(2), event(3), event(4)}, "1 2 3 4 5 6"},
		"later ones, of no use in front": {[]store.Event{event(7), event(8)}, "5 6"},
	} {
		h := historyFrom(5, 6)
		if got := datas(h.Extended(test.announced).Events); got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
		if got := datas(h.Events); got != "5 6" {
			t.Errorf("%s: the history itself was changed to %q", name, got)
		}
	}
}

// A client went back to the last common event after Redis had come back older. It has seen the lost events after its place.
func TestAPlaceWithAMarkIsNotPutBeforeTheEventThatTheClientHasSeen(t *testing.T) {
	each(t, func(t *testing.T, _ *store.Store, rdb *redis.Client) {
		s := store.New(rdb, store.Config{HistorySize: 3, HistoryTTL: time.Hour})
		var all []store.Event
		for i := range 5 {
			all = append(all, appendEvent(t, s, "orders", strconv.Itoa(i)))
		}
		other := all[3].Position.Nonce
		other[0]++
		for _, test := range []struct {
			name string
			at   store.Event
			left store.Mark
			want string
			gap  store.Reason
		}{
			{"no mark", all[2], 0, `3 4`, ""},
			{"the next event was lost, and is back", all[2], all[3].Position.Nonce.Mark(), `2 3 4`, store.Reset},
			{"the next event is of another branch", all[2], other.Mark(), `3 4`, ""},
			{"there is no next event", all[4], other.Mark(), ``, ""},
			{"nobody knows the next event any more", all[0], other.Mark(), `2 3 4`, store.Reset},
		} {
			place := test.at.Position.Place()
			place.Left = test.left
			page, err := s.AfterPlace(t.Context(), "orders", place, 10)
			if got := datas(page.Events); err != nil || got != test.want || page.Gap != test.gap {
				t.Errorf("%s: got %s, gap %q, %v; want %s, gap %q", test.name, got, page.Gap, err, test.want, test.gap)
			}
			events, gap := history(t, s, "orders").AfterPlace(place)
			if got := datas(events); got != test.want || gap != test.gap {
				t.Errorf("%s, from memory: got %s, gap %q; want %s, gap %q", test.name, got, gap, test.want, test.gap)
			}
		}
	})
}
