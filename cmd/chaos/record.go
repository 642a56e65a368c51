package main

import (
	"bytes"
	"encoding/json"
	"regexp"
	"time"
)

// A record is everything that was seen from the outside during one scenario. It is the only input of the judge. All
// times are counted from the start of the scenario.
type record struct {
	Rules     rules
	Publishes []publish
	Clients   []clientRecord
	Tasks     []taskRecord
	Log       map[string][]stored // by channel, oldest first: the history, or what the witness saw if Rules.Trim is set
	Kept      map[string][]stored // by channel, oldest first: the history at the end, if Rules.Trim is set
	Views     []view
	Windows   []window
	Losses    []span
	Faults    []fault
	Wrong     []violation // what the schedule itself noticed, for example a wrong exit code
}

// rules say what a scenario allows beyond the general promise.
type rules struct {
	Trim     int  // events kept per general channel; 0: nothing is ever trimmed
	RawOrder bool // the raw messages of a publisher must be stored in its order, too

	// The least that must have happened. With less the run proves nothing.
	MinFaults     int
	MinReconnects int
	MinGaps       int
}

// Outcomes of a publish.
const (
	unanswered   outcome = iota // nobody knows whether it was stored
	acknowledged                // a POST was answered 2xx, or a raw PUBLISH had a receiver
	refused                     // it is certainly not stored: Redis counted 0 receivers, or answered with an error
)

type outcome int

// publish is one payload that was given to the gateway or to Redis once. The repetition of a POST with its
// Idempotency-Key is the same publish.
type publish struct {
	Publisher string
	Channel   string
	Token     string
	Raw       bool
	Type      string
	Body      string        // the data as compact JSON; empty: only the token is compared
	First     time.Duration // start of the first attempt
	Last      time.Duration // start of the attempt that was answered
	Answered  time.Duration // zero if unanswered
	Outcome   outcome
	Receivers int64  // that Redis counted, for a raw publish
	ID        string // from the answer to a POST
}

// stored is one event of a channel's history.
type stored struct {
	ID   string
	Type string
	Data string // compact JSON
}

// view is a channel's history as one replica's GET shows it.
type view struct {
	Replica string
	Channel string
	Events  []stored
}

// Kinds of things that happen to a client.
const (
	gotEvent itemKind = iota
	gotGap
	gotCut // the client was disconnected, or began to read again: the schedule did that
)

type itemKind int

// item is one thing that happened to a client, in the order in which it happened.
type item struct {
	At      time.Duration
	Kind    itemKind
	Channel string
	ID      string
	Type    string
	Data    string // compact JSON
	Reason  string // of a gap
	Replica string // that served the stream
}

// clientRecord is what one client saw.
type clientRecord struct {
	Name       string
	Channels   []string
	Type       string        // the only type it asked for; empty: all
	From       string        // the event id that it asked to go on from, on its one channel; empty: none
	Opened     time.Duration // when the first stream with a position was opened
	Bound      bool          // it has seen a stream with a position, so the promise holds for it
	Items      []item
	Reconnects int    // streams after the first
	Died       string // why it stopped for good; empty: it did not
}

// taskRecord is what one client of a progress stream saw.
type taskRecord struct {
	Name    string
	States  []taskState
	Stopped bool // it was answered 204 after the end, as promised
	Died    string
}

type taskState struct {
	Progress float64 `json:"progress"`
	Status   string  `json:"status"`
}

// span is a span of time, both ends included.
type span struct{ From, To time.Duration }

func (s span) overlaps(from, to time.Duration) bool { return from <= s.To && to >= s.From }

// window is a span in which Redis may have counted so many receivers that never got the message.
type window struct {
	span
	Receivers int64
}

// everyReceiver is the size of a window in which no receiver may have got the message.
const everyReceiver = int64(1) << 32

// fault is one thing that the schedule did, from its beginning until it was undone.
type fault struct {
	span
	Name string
	Hits int // how many connections, processes or clients it hit
}

var tokenPattern = regexp.MustCompile(`chaos/[\w-]+/[\w:.-]+/\d+`)

// tokenOf finds the token in an event's data, whatever the gateway has put around it.
func tokenOf(data string) string { return tokenPattern.FindString(data) }

// compact brings JSON into one form, in which equal values are equal strings. Other text it returns unchanged.
func compact(data []byte) string {
	var v any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber() // with float64 a gateway that rounds numbers would not be noticed
	if decoder.Decode(&v) != nil {
		return string(data)
	}
	out, err := json.Marshal(v)
	if err != nil {
		return string(data)
	}
	return string(out)
}
