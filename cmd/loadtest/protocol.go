//go:build linux

package main

import "github.com/HdrHistogram/hdrhistogram-go"

// The load command talks to its client processes in lines of JSON: orders to their standard input, notes from their
// standard output. A process that reads the end of its input ends.

// order is one line to a client process.
type order struct {
	Do     string     `json:"do"` // open, cut, mark, audit
	Open   *openOrder `json:"open,omitempty"`
	Events int        `json:"events,omitempty"` // audit: how many were published, per channel
}

// openOrder has a process open its clients. They go on where they were if they have been open before.
type openOrder struct {
	Addrs []string `json:"addrs"` // of the servers, taken in turns
	Path  string   `json:"path"`  // of the stream; with Channels, the channel's number is appended
	// Channels is how many channels the clients are spread over, by their numbers; 0: all watch the shared one.
	Channels int     `json:"channels"`
	First    int     `json:"first"` // number of the first client
	Clients  int     `json:"clients"`
	Source   int     `json:"source"`  // the process's number: its clients come from 127.0.(1+Source).x
	Rate     float64 `json:"rate"`    // most opened per second; 0: no bound
	AtOnce   int     `json:"at_once"` // most under way
	Resume   bool    `json:"resume"`  // send the Last-Event-ID
}

// note is one line from a client process.
type note struct {
	Say    string  `json:"say"` // progress, opened, cut, marked, audit
	Opened int     `json:"opened,omitempty"`
	All    int     `json:"all,omitempty"`   // events of the shared channel that every client of the process has had
	Total  int64   `json:"total,omitempty"` // events that any client has had
	Why    string  `json:"why,omitempty"`   // the first thing that went wrong with a stream
	Audit  *audit  `json:"audit,omitempty"`
	Faults *faults `json:"faults,omitempty"`
}

// audit is what a process has seen since the last mark; faults are counted from the beginning.
type audit struct {
	Faults  faults         `json:"faults"`
	Events  int64          `json:"events"`
	Bytes   int64          `json:"bytes"`   // read, with HTTP's own
	Reads   int64          `json:"reads"`   // calls of read(2): how well the server coalesces
	Order   map[int]uint64 `json:"order"`   // by channel, the sum of its ledger
	Latency []byte         `json:"latency"` // histograms, encoded
	Opening []byte         `json:"opening"`
}

// newHistogram returns a histogram of microseconds, to a minute, with three digits.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 60_000_000, 3) }

func encodeHistogram(h *hdrhistogram.Histogram) ([]byte, error) {
	return h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
}

// record notes a time span of so many nanoseconds. What is beyond a minute counts as a minute.
func record(h *hdrhistogram.Histogram, nanos int64) {
	_ = h.RecordValue(min(max(nanos/1000, 1), 60_000_000)) // it is in range
}
