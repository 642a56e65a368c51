//go:build linux

package main

import "github.com/HdrHistogram/hdrhistogram-go"

// The load command and its client processes exchange lines of JSON: it writes orders to their standard input, they
// write notes to their standard output. A process ends when its input ends.

// order is one line to a client process.
type order struct {
	Do     string     `json:"do"` // open, cut, mark, goal, audit
	Open   *openOrder `json:"open,omitempty"`
	Events int        `json:"events,omitempty"` // for audit: how many were published per channel; for goal: see clientLoop.goal
}

// openOrder tells a process to open the streams of its clients. A client that had a stream before keeps its place: it
// must receive the next event, not the first one.
type openOrder struct {
	Addrs []string `json:"addrs"` // of the servers, which the clients use in turns
	Path  string   `json:"path"`  // of the stream; with Channels or Own, a number is appended
	Own   bool     `json:"own"`   // append the client's number; the events of the shared channel count
	// Modulo is what the number of Own is divided by: its remainder is appended. 0: the number itself.
	Modulo int `json:"modulo,omitempty"`
	// Each is how many names of channels are appended, with commas between them: no two clients have one of them in common. No
	// event is expected. 0: none.
	Each int `json:"each,omitempty"`
	// Loose is after how many milliseconds a client comes back whose stream has ended: see loose.go. 0: it does not.
	Loose int `json:"loose,omitempty"`
	// Channels is how many channels the clients are spread over, by their numbers, which are appended to Path; 0: all read the
	// shared one.
	Channels int     `json:"channels"`
	First    int     `json:"first"` // number of the first client
	Clients  int     `json:"clients"`
	Source   int     `json:"source"`  // the process's number: its clients come from 127.0.(1+Source).x
	Rate     float64 `json:"rate"`    // connections per second at most; 0: no limit
	AtOnce   int     `json:"at_once"` // connections that may be opening at the same time
	Resume   bool    `json:"resume"`  // send the Last-Event-ID
}

// note is one line from a client process.
type note struct {
	Say    string  `json:"say"` // progress, opened, cut, marked, audit
	Opened int     `json:"opened,omitempty"`
	Ended  int     `json:"ended,omitempty"` // clients that have reached the goal
	All    int     `json:"all,omitempty"`   // events of the shared channel that every client of the process has received
	Total  int64   `json:"total,omitempty"` // deliveries, all clients of the process together
	Why    string  `json:"why,omitempty"`   // reason of the first fault
	Audit  *audit  `json:"audit,omitempty"`
	Faults *faults `json:"faults,omitempty"`
}

// audit is what a process has measured since the last mark. Its faults are counted from the start.
type audit struct {
	Faults  faults         `json:"faults"`
	Loose   looseCounts    `json:"loose"`
	Events  int64          `json:"events"`
	Bytes   int64          `json:"bytes"`   // that were read, with those of HTTP
	Reads   int64          `json:"reads"`   // calls of read(2): few if the server joins events into one write
	Order   map[int]uint64 `json:"order"`   // by channel: the sum of its ledger
	Latency []byte         `json:"latency"` // an encoded histogram
	Opening []byte         `json:"opening"` // likewise
}

// newHistogram returns a histogram of microseconds up to one minute, with three significant digits.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 60_000_000, 3) }

// encodeHistogram returns what hdrhistogram.Decode reads.
func encodeHistogram(h *hdrhistogram.Histogram) ([]byte, error) {
	return h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
}

// record adds a span of so many nanoseconds. More than a minute counts as a minute.
func record(h *hdrhistogram.Histogram, nanos int64) {
	_ = h.RecordValue(min(max(nanos/1000, 1), 60_000_000)) // it is in range
}
