package pubsub

import (
	"fmt"
	"testing"

	"sluice/store"
	"sluice/store/kind"
)

// benchEncoder writes frames of the size that the gateway's have.
type benchEncoder struct{}

func (benchEncoder) ID(dst, id []byte) []byte {
	return append(append(append(dst, "id: "...), id...), '\n')
}

func (benchEncoder) Event(dst []byte, e store.Event) []byte {
	return append(append(append(dst, "data: "...), e.Data...), "\n\n"...)
}

func (benchEncoder) Gap(dst []byte, _ string, _ store.Reason) []byte {
	return append(dst, "gap\n\n"...)
}

func (e benchEncoder) Position(dst, id []byte) []byte { return append(e.ID(dst, id), '\n') }

// chain returns n events that follow one another, of 200 bytes each.
func chain(n int) []store.Event {
	data := fmt.Appendf(nil, `{"text":%q}`, make([]byte, 30))
	events := make([]store.Event, 0, n)
	last := store.Event{}
	for range n {
		last = event(last)
		last.Data = data
		events = append(events, last)
	}
	return events
}

// benchStream returns a live stream of several channels.
func benchStream(channels int, types ...string) (*Stream, []*channel) {
	s, common := &Stream{broker: &Broker{}}, &shared{}
	var all []*channel
	for i := range channels {
		c := newChannel(fmt.Sprintf("channel-%02d", i), kind.Rule{Capacity: 100})
		c.begin(store.History{})
		c.setState(live)
		s.cursors = append(s.cursors, cursor{feed: c.feed(benchEncoder{}, 1<<20, common)})
		all = append(all, c)
	}
	if len(types) > 0 {
		s.filter = &filter{types}
	}
	return s, all
}

// BenchmarkFeedEvent is one announced event on its way through a channel into its feed: checked, remembered, encoded. It
// costs the same however many streams follow the channel, together with whatever others.
func BenchmarkFeedEvent(b *testing.B) {
	_, all := benchStream(1)
	events := chain(100_000)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if i == len(events) {
			b.StopTimer()
			_, all = benchStream(1)
			i = 0
			b.StartTimer()
		}
		if all[0].announced(events[i]) {
			b.Fatal("not in order")
		}
		i++
	}
}

// BenchmarkNext is what a stream asks each time it is flushed: one event on one of its channels. With "shared" it is one of
// many streams of one channel that stand at the same place.
func BenchmarkNext(b *testing.B) {
	for _, bench := range []struct {
		name     string
		channels int
		types    []string
		shared   bool
	}{
		{"channels=1/shared", 1, nil, true},
		{"channels=1", 1, nil, false},
		{"channels=1/filter", 1, []string{"", "paid"}, false},
		{"channels=2", 2, nil, false},
		{"channels=50", 50, nil, false},
	} {
		b.Run(bench.name, func(b *testing.B) {
			s, all := benchStream(bench.channels, bench.types...)
			all[0].announced(chain(1)[0])
			before := s.cursors[0]
			var a Answer
			b.ReportAllocs()
			for b.Loop() {
				s.cursors[0] = before
				if !bench.shared {
					a.Forget()
				}
				if due, _, err := s.Next(&a); len(due) == 0 || err != nil {
					b.Fatal(len(due), err)
				}
			}
		})
	}
}

// BenchmarkResume is what one returning client costs when its channel's history is in memory: finding its place and
// encoding what it missed.
func BenchmarkResume(b *testing.B) {
	for _, missed := range []int{0, 10, 100} {
		b.Run(fmt.Sprintf("missed=%d", missed), func(b *testing.B) {
			s, all := benchStream(1)
			events := chain(100)
			for _, e := range events {
				all[0].announced(e)
			}
			all[0].whole = true
			from := store.Position{}
			if missed < len(events) {
				from = events[len(events)-1-missed].Position
			}
			r := Request{LastEventID: from.String()}
			b.ReportAllocs()
			for b.Loop() {
				s.ahead = &ahead{past: s.resumePoints(r, store.ParseEventID(r.LastEventID, []string{"channel-00"}))}
				parts, _, missing := s.advance()
				if missing != needNothing || len(parts[0].events) != missed {
					b.Fatal("not the place", missing, len(parts[0].events))
				}
			}
		})
	}
}
