package main

import (
	"bytes"
	"encoding/json"
	"regexp"
	"time"
)

// A record is everything that was seen from the outside during one scenario: the judge's only input.
// All times are counted from the start of the scenario.
type record struct {
	Rules     rules
	Publishes []publish
	Clients   []clientRecord
	Tasks     []taskRecord
	Log       map[string][]stored // by channel, oldest first: the history, or all the witness saw if Rules.Trim is set
	Kept      map[string][]stored // the history at the end, if Rules.Trim is set
	Views     []view
	Windows   []window
	Losses    []span
	Faults    []fault
	Wrong     []violation // what the schedule itself noticed, such as a wrong exit code
}

// rules say what a scenario allows beyond the general promise.
type rules struct {
	Trim     int  // events kept per general channel; 0: nothing is ever trimmed
	RawOrder bool // raw messages must keep their publisher's order too

	// The faults are expected to have bitten at least this often; otherwise the run proves nothing.
	MinFaults     int
	MinReconnects int
	MinGaps       int
}

// Outcomes of a publish.
const (
	unanswered   outcome = iota // nobody knows whether it was taken in
	acknowledged                // POST 2xx, or raw PUBLISH with a receiver
	refused                     // certainly not taken in: Redis counted 0 receivers
)

type outcome int

// publish is one payload given to the gateway or to Redis once. Repeating a POST with its key is the same publish.
type publish struct {
	Publisher string
	Channel   string
	Token     string
	Raw       bool
	Type      string
	Body      string // the data as compact JSON; empty: only the token is compared
	First     time.Duration
	Last      time.Duration // start of the attempt that was answered
	Answered  time.Duration // zero if unanswered
	Outcome   outcome
	Receivers int64  // raw only
	ID        string // POST only
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
	gotCut // the client broke its own connection, or stopped stalling: the schedule's doing
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
	Replica string // who served it
}

// clientRecord is what one client saw.
type clientRecord struct {
	Name       string
	Channels   []string
	Type       string        // the only type it asked for; empty: all
	From       string        // the event id it asked to go on from, on its one channel; empty: from now on
	Opened     time.Duration // the first stream with a position
	Bound      bool          // false: it never saw one
	Items      []item
	Reconnects int // streams after the first
	Died       string
}

// taskRecord is what one client of a progress stream saw.
type taskRecord struct {
	Name    string
	States  []taskState
	Stopped bool // 204 after the end, as the contract says
	Died    string
}

type taskState struct {
	Progress float64 `json:"progress"`
	Status   string  `json:"status"`
}

// span is a stretch of time.
type span struct{ From, To time.Duration }

func (s span) overlaps(from, to time.Duration) bool { return from <= s.To && to >= s.From }

// window is a span in which Redis may have counted receivers that never got the message.
type window struct {
	span
	Receivers int64
}

// everyReceiver is the size of a window that may cost all receivers.
const everyReceiver = int64(1) << 32

// fault is one thing the schedule did, from its beginning until it was undone. Bites counts what it hit.
type fault struct {
	span
	Name  string
	Bites int
}

var tokenPattern = regexp.MustCompile(`chaos/[\w-]+/[\w:.-]+/\d+`)

// tokenOf finds the token in an event's data, whatever the gateway wrapped around it.
func tokenOf(data string) string { return tokenPattern.FindString(data) }

// compact brings JSON to one form in which equal values are equal strings.
func compact(data []byte) string {
	var v any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber() // a float64 would hide a gateway that rounds
	if decoder.Decode(&v) != nil {
		return string(data)
	}
	out, err := json.Marshal(v)
	if err != nil {
		return string(data)
	}
	return string(out)
}
