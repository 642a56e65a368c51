package wire

import (
	"fmt"
	"strings"
	"testing"

	"sluice/pubsub"
)

// BenchmarkEncodeFrame encodes one event for a feed. That happens once per feed, however many streams read it, into
// memory that the feed has already.
func BenchmarkEncodeFrame(b *testing.B) {
	for _, size := range []int{20, 200, 2000} {
		e := someEvent("orders", "paid", `{"text":"`+strings.Repeat("x", size)+`"}`)
		for name, encoder := range map[string]pubsub.Encoder{"plain": Plain{}, "envelope": Envelope{}} {
			b.Run(fmt.Sprintf("%s/data=%d", name, size), func(b *testing.B) {
				id, frame := []byte(e.ID()), make([]byte, 0, 4096)
				b.ReportAllocs()
				for b.Loop() {
					frame = event(encoder, frame[:0], id, e)
				}
				b.SetBytes(int64(len(frame)))
			})
		}
	}
}

// BenchmarkEncodeFrameOfSeveralLines is the way that stored data, which is one line, never takes.
func BenchmarkEncodeFrameOfSeveralLines(b *testing.B) {
	data := []byte(strings.Repeat("a line\r\n", 20))
	frame := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		frame = appendData(frame[:0], data)
	}
}
