package pubsub

import (
	"fmt"
	"testing"

	"sluice/store"
	"sluice/store/kind"
)

// benchEncoder writes frames of the size that the gateway's have.
type benchEncoder struct{}

func (benchEncoder) Event(dst, id []byte, e store.Event) []byte {
	dst = append(append(append(dst, "id: "...), id...), "\ndata: "...)
	return append(append(dst, e.Data...), "\n\n"...)
}

func (benchEncoder) Gap(dst, id []byte, _ string, _ store.Reason) []byte { return append(dst, id...) }
func (benchEncoder) Position(dst, id []byte) []byte                      { return append(dst, id...) }

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

func benchFeed(channels int) (*Feed, []*channel) {
	f := &Feed{encoder: benchEncoder{}, limit: 1 << 20, at: make([]store.Position, channels)}
	for i := range channels {
		c := newChannel(fmt.Sprintf("c%02d", i), kind.Rule{Capacity: 100})
		c.begin(store.History{})
		c.setState(live)
		c.feeds = append(c.feeds, feedRef{f, i})
		f.channels, f.names = append(f.channels, c), append(f.names, c.name)
	}
	return f, f.channels
}

// BenchmarkFeedAppend is one announced event on its way through a channel into a feed: checked, remembered, encoded.
func BenchmarkFeedAppend(b *testing.B) {
	for _, channels := range []int{1, 10, 50} {
		b.Run(fmt.Sprintf("channels=%d", channels), func(b *testing.B) {
			_, all := benchFeed(channels)
			events := chain(100_000)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if i == len(events) {
					b.StopTimer()
					_, all = benchFeed(channels)
					i = 0
					b.StartTimer()
				}
				if all[0].announced(events[i]) {
					b.Fatal("not in order")
				}
				i++
			}
		})
	}
}

// BenchmarkFeedAfter is what a stream asks its feed each time it is flushed.
func BenchmarkFeedAfter(b *testing.B) {
	f := NewFeed(1 << 20)
	frame := make([]byte, 250)
	for range 1000 {
		f.Write(frame)
	}
	cursor := f.place() - int64(len(frame))
	b.ReportAllocs()
	for b.Loop() {
		if due, err := f.after(cursor); len(due) == 0 || err != nil {
			b.Fatal(len(due), err)
		}
	}
}

// BenchmarkResume is what one returning client costs when its channel's history is in memory: finding its place and
// encoding what it missed.
func BenchmarkResume(b *testing.B) {
	for _, missed := range []int{0, 10, 100} {
		b.Run(fmt.Sprintf("missed=%d", missed), func(b *testing.B) {
			f, all := benchFeed(1)
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
				starts := f.starts(r, store.ParseEventID(r.LastEventID, f.names))
				lock(f.channels)
				parts, _, missing := f.replay(starts)
				unlock(f.channels)
				if missing != needNothing || len(parts[0].events) != missed {
					b.Fatal("not the place", missing, len(parts[0].events))
				}
				f.encodeReplay(parts, func(int64) int64 { return 0 })
			}
		})
	}
}
