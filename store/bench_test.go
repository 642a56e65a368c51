package store_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"sluice/store"
)

// announced is an event as a replica hears of it.
func announced(data string) []byte {
	return fmt.Appendf(nil, `{"id":"%s","prev":"%s","time":1700000000000,"type":"paid","data":%s}`, place(42), nonce(41), data)
}

// BenchmarkParseEvent reads one announcement, as every replica does for every event of each channel it follows. The
// sub-benchmarks "json" read the same text with encoding/json, which is what the hand-written scanner is there to spare.
func BenchmarkParseEvent(b *testing.B) {
	for _, size := range []int{20, 200, 2000} {
		text := announced(`{"text":"` + strings.Repeat("x", size) + `"}`)
		b.Run(fmt.Sprintf("data=%d/scan", size), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := store.ParseAnnouncement("orders", text); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("data=%d/json", size), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				var event struct {
					ID   string          `json:"id"`
					Prev string          `json:"prev"`
					Time int64           `json:"time"`
					Type string          `json:"type"`
					Data json.RawMessage `json:"data"`
				}
				if err := json.Unmarshal(text, &event); err != nil {
					b.Fatal(err)
				}
				if _, err := store.ParsePosition(event.ID); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAppendEventID writes the id of one frame, once per event and feed.
func BenchmarkAppendEventID(b *testing.B) {
	for _, n := range []int{1, 5, 50} {
		b.Run(fmt.Sprintf("channels=%d", n), func(b *testing.B) {
			channels, places := somewhere(n, 1)
			var id []byte
			b.ReportAllocs()
			for b.Loop() {
				id = store.AppendEventID(id[:0], channels, places)
			}
		})
	}
}

// BenchmarkParseEventID reads the id that one client comes back with.
func BenchmarkParseEventID(b *testing.B) {
	for _, n := range []int{1, 5, 50} {
		b.Run(fmt.Sprintf("channels=%d", n), func(b *testing.B) {
			channels, places := somewhere(n, 1)
			id := string(store.AppendEventID(nil, channels, places))
			b.ReportAllocs()
			for b.Loop() {
				if !store.ParseEventID(id, channels).Known[0] {
					b.Fatal("not known")
				}
			}
		})
	}
}
