package judge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Record is everything that was seen from the outside during one run: the judge's only input. All times are counted from
// the start of the run.
type Record struct {
	Rules     Rules
	Publishes []Publish
	Clients   []Client
	Tasks     []Task
	Log       map[string][]Event // by channel, oldest first: the history, or all the witness saw if Rules.Trim is set
	Kept      map[string][]Event // the history at the end, if Rules.Trim is set
	Views     []View
	Windows   []Window
	Losses    []Span
	Outages   []Span // in which Redis stored nothing: raw messages from then and from shortly before wait in the replicas
	Faults    []Fault
	Wrong     []Violation // what the schedule itself noticed, such as a wrong exit code
}

// Rules say what a run allows beyond the general promise, and where it is held to more.
type Rules struct {
	Trim     int  // events kept per general channel; 0: nothing is ever trimmed
	RawOrder bool // raw messages must keep their publisher's order too
	Steady   bool // no replica loses its subscription and no client is slow: a stream that is live gets no gap

	// The faults are expected to have bitten at least this often; otherwise the run proves nothing.
	MinFaults     int
	MinReconnects int
	MinGaps       int
}

// Outcomes of a publish.
const (
	Unanswered   Outcome = iota // nobody knows whether it was taken in
	Acknowledged                // POST 2xx, or raw PUBLISH with a receiver
	Refused                     // certainly not taken in: Redis counted 0 receivers
)

// Outcome is what the publisher knows about a publish.
type Outcome int

// Publish is one payload given to the gateway or to Redis once. Repeating a POST with its key is the same publish.
type Publish struct {
	Publisher string
	Channel   string
	Token     string
	Raw       bool
	Type      string
	Body      string // the data as compact JSON; empty: only the token is compared
	First     time.Duration
	Last      time.Duration // start of the attempt that was answered
	Answered  time.Duration // zero if unanswered
	Outcome   Outcome
	Receivers int64  // raw only
	ID        string // POST only
}

// Event is one event of a channel's history.
type Event struct {
	ID   string
	Type string
	Data string // compact JSON
}

// View is a channel's history as one replica's GET shows it.
type View struct {
	Replica string
	Channel string
	Events  []Event
}

// Kinds of things that happen to a client.
const (
	GotEvent ItemKind = iota
	GotGap
	GotCut    // the client broke its own connection, or stopped stalling: the schedule's doing
	GotStream // a stream began; a record need not have these
)

// ItemKind says what happened to a client.
type ItemKind int

// Item is one thing that happened to a client, in the order in which it happened.
type Item struct {
	At      time.Duration
	Kind    ItemKind
	Channel string
	ID      string
	Type    string
	Data    string // compact JSON
	Reason  string // of a gap
	Replica string // who served it
}

// Client is what one client saw.
type Client struct {
	Name       string
	Channels   []string
	Type       string        // the only type it asked for; empty: all
	From       string        // the event id it asked to go on from, on its one channel; empty: from now on
	Opened     time.Duration // the first stream with a position
	Bound      bool          // false: it never saw one
	Items      []Item
	Reconnects int // streams after the first
	Died       string
}

// Task is what one client of a progress stream saw.
type Task struct {
	Name    string
	States  []TaskState
	Stopped bool // 204 after the end, as the contract says
	Died    string
}

// TaskState is one state of a task as its stream shows it.
type TaskState struct {
	Progress float64 `json:"progress"`
	Status   string  `json:"status"`
}

// Span is a stretch of time.
type Span struct{ From, To time.Duration }

func (s Span) overlaps(from, to time.Duration) bool { return from <= s.To && to >= s.From }

// Window is a span in which Redis may have counted receivers that never got the message.
type Window struct {
	Span
	Receivers int64
}

// EveryReceiver is the size of a window that may cost all receivers.
const EveryReceiver = int64(1) << 32

// Fault is one thing the schedule did, from its beginning until it was undone. Bites counts what it hit.
type Fault struct {
	Span
	Name  string
	Bites int
}

// tokenMark starts every token.
const tokenMark = "event/"

// Token returns the text that marks the n-th payload of a publisher on a channel.
func Token(publisher, channel string, n int) string {
	return fmt.Sprintf("%s%s/%s/%d", tokenMark, publisher, channel, n)
}

// TokenOf finds the token in an event's data, whatever the gateway wrapped around it; "" if there is none.
func TokenOf(data string) string {
	start := strings.Index(data, tokenMark)
	if start < 0 {
		return ""
	}
	slashes := 0
	for i := start; i < len(data); i++ {
		switch c := data[i]; {
		case c == '/' && slashes < 3:
			slashes++
		case '0' <= c && c <= '9':
		case slashes < 3 && ('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || strings.IndexByte("_-:.", c) >= 0):
		default:
			return data[start:i]
		}
	}
	return data[start:]
}

// Compact brings JSON to one form in which equal values are equal strings.
func Compact(data []byte) string {
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
