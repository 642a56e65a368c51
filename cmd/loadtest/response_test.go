//go:build linux

package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// seenEvents is a sink that writes down what it is told.
type seenEvents struct{ said []string }

func (s *seenEvents) event(n int, at int64) { s.said = append(s.said, fmt.Sprintf("%d@%d", n, at)) }
func (s *seenEvents) unreadable()           { s.said = append(s.said, "unreadable") }
func (s *seenEvents) gap()                  { s.said = append(s.said, "gap") }

const closeHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n\r\n"
const chunkedHead = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: Chunked\r\n\r\n"

// streamText is a stream with all that a client may meet.
func streamText() []byte {
	b := []byte("retry: 3000\nid: 7-AAAAAAAA\n\n: heartbeat\n\n")
	b = appendFrame(b, 0, 1234567, 100)
	b = append(b, "id: 8-BBBBBBBB\nevent: gap\ndata: {\"channel\":\"load\",\"reason\":\"trimmed\"}\n\n"...)
	b = append(b, "data: something else\n\n"...)
	b = append(b, "data:"...) // the space is optional, and so may be the CR
	b = append(appendPayload(b, 41, 99, 80), "\r\n\r\n"...)
	b = append(b, "event: status\ndata: {\"n\":1\ndata: }\n\n"...)
	b = append(b, "id: 9-CCCCCCCC\n\n"...)
	return append(b, "id: 10-DDDDDDDD\ndata: the stream ends in this fra"...)
}

var streamWant = []string{"0@1234567", "gap", "unreadable", "41@99", "unreadable"}

// chunked wraps text into chunks of the given length.
func chunked(text []byte, length int) []byte {
	var b bytes.Buffer
	for part := range slices.Chunk(text, length) {
		fmt.Fprintf(&b, "%X\r\n%s\r\n", len(part), part)
	}
	b.WriteString("0\r\n\r\n")
	return b.Bytes()
}

func TestAStreamIsReadTheSameInWhateverPiecesItArrives(t *testing.T) {
	bodies := map[string][]byte{"connection-delimited": append([]byte(closeHead), streamText()...)}
	for _, length := range []int{1, 2, 7, 16, 17, 255, 4096} {
		bodies[fmt.Sprintf("chunks of %d", length)] = append([]byte(chunkedHead), chunked(streamText(), length)...)
	}
	for name, whole := range bodies {
		t.Run(name, func(t *testing.T) {
			read := func(pieces ...[]byte) {
				t.Helper()
				var r response
				var got seenEvents
				for _, piece := range pieces {
					// In memory of its own that changes afterwards: nothing may be kept of a read's buffer.
					mine := bytes.Clone(piece)
					if err := r.feed(mine, &got); err != nil {
						t.Fatalf("feed: %v", err)
					}
					clear(mine)
				}
				if !slices.Equal(got.said, streamWant) {
					t.Fatalf("got %q, want %q", got.said, streamWant)
				}
				if id := string(r.id.bytes()); id != "9-CCCCCCCC" {
					t.Fatalf("last event id is %q", id)
				}
			}
			for i := range whole {
				read(whole[:i], whole[i:])
			}
			for _, size := range []int{1, 3, 64} {
				read(slices.Collect(slices.Chunk(whole, size))...)
			}
		})
	}
}

func TestAQuietStreamKeepsNoBuffer(t *testing.T) {
	var r response
	if err := r.feed(append([]byte(closeHead), streamText()...), &seenEvents{}); err != nil {
		t.Fatal(err)
	}
	if err := r.feed([]byte("me\n\n"), &seenEvents{}); err != nil {
		t.Fatal(err)
	}
	if r.carry != nil {
		t.Errorf("%d bytes are kept after a whole frame", len(r.carry))
	}
}

func TestAClientThatReconnectsSendsTheIDOfItsLastWholeEvent(t *testing.T) {
	var r response
	if err := r.feed([]byte(closeHead+"id: 5-AAAAAAAA\n\nid: 6-BBBBBBBB\ndata: x"), &seenEvents{}); err != nil {
		t.Fatal(err)
	}
	r.restart()
	if r.opened() || r.carry != nil {
		t.Error("something of the first connection is left")
	}
	if err := r.feed([]byte(closeHead+"retry: 1000\n\n"), &seenEvents{}); err != nil {
		t.Fatal(err)
	}
	if id := string(r.id.bytes()); id != "5-AAAAAAAA" {
		t.Errorf("last event id is %q: that of a frame that never ended, or none", id)
	}
}

func TestAnAnswerThatIsNoEventStreamIsAnError(t *testing.T) {
	for name, text := range map[string]string{
		"other status":     "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/event-stream\r\n\r\n",
		"no content":       "HTTP/1.1 204 No Content\r\n\r\n",
		"other type":       "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{}",
		"not HTTP":         "-ERR wrong protocol\r\n",
		"HTTP/1.0":         "HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
		"not a chunk":      chunkedHead + "xyz\r\n",
		"endless chunk":    chunkedHead + "fffffffff\r\n",
		"long id":          closeHead + "id: " + strings.Repeat("x", longestID+1) + "\n",
		"endless line":     closeHead + "data: " + strings.Repeat("x", longestLine),
		"endless headline": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", longestLine),
	} {
		t.Run(name, func(t *testing.T) {
			var r response
			if err := r.feed([]byte(text), &seenEvents{}); err == nil {
				t.Error("it was taken")
			}
		})
	}
}

func TestAPayloadIsReadBackAndHasItsSize(t *testing.T) {
	for _, size := range []int{leastBytes, 200, mostBytes} {
		for _, n := range []int{0, 9, farthest} {
			const at = int64(1)<<52 + 17
			text := appendPayload([]byte("before"), n, at, size)[len("before"):]
			if len(text) != size {
				t.Errorf("payload of %d bytes has %d", size, len(text))
			}
			if gotN, gotAt, ok := parsePayload(text); gotN != n || gotAt != at || !ok {
				t.Errorf("got %d, %d, %v; want %d, %d", gotN, gotAt, ok, n, at)
			}
		}
	}
	for _, text := range []string{
		"", "{}", `{"n":}`, `{"n":1}`, `{"n":1,"at":}`, `{"n":-1,"at":2,"pad":""}`, `{"n":1,"at":2,"pad":"`,
		`{"at":2,"n":1,"pad":""}`,
	} {
		if n, at, ok := parsePayload([]byte(text)); ok {
			t.Errorf("%q is taken for event %d at %d", text, n, at)
		}
	}
}

// A client process does this for every delivery. It must cost much less than a delivery costs the server.
func BenchmarkFeed(b *testing.B) {
	frame := appendFrame(nil, 17, 123456789, 200)
	for _, frames := range []int{1, 64} {
		b.Run(fmt.Sprintf("frames=%d", frames), func(b *testing.B) {
			var r response
			var got count
			if err := r.feed([]byte(closeHead), &got); err != nil {
				b.Fatal(err)
			}
			text := bytes.Repeat(frame, frames)
			b.ReportAllocs()
			for b.Loop() {
				if err := r.feed(text, &got); err != nil {
					b.Fatal(err)
				}
			}
			if got.events != b.N*frames {
				b.Errorf("%d events, want %d", got.events, b.N*frames)
			}
		})
	}
}

type count struct{ events int }

func (c *count) event(int, int64) { c.events++ }
func (c *count) unreadable()      {}
func (c *count) gap()             {}
