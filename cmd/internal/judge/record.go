package judge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Record is everything that was seen from the outside during one run. It is the only input of the judge. All times are
// counted from the start of the run.
type Record struct {
	Rules     Rules
	Publishes []Publish
	Clients   []Client
	Tasks     []Task
	Log       map[string][]Event // by channel, oldest first: the history, or what the witness saw if Rules.Trim is set
	Kept      map[string][]Event // by channel, oldest first: the history at the end, if Rules.Trim is set
	Views     []View
	Windows   []Window
	Losses    []Span
	Outages   []Span // in which Redis stored nothing, so that raw messages waited in the replicas; oldest first
	Faults    []Fault
	// CountedLost is how many raw messages the replicas have counted as lost, all together. So many may be missing.
	CountedLost int64
	// Written are the keys in Redis of channels that nobody has published to.
	Written []string
	// Refusals are the answers to publishers that said to try again later (503).
	Refusals []Refusal
	Wrong    []Violation // what the schedule itself noticed, for example a wrong exit code
}

// Rules say what a run allows beyond the general promise, and where it is held to more.
type Rules struct {
	Trim     int      // events kept per general channel; 0: nothing is ever trimmed
	RawOrder bool     // the raw messages of a publisher must be stored in its order, too
	Swaps    []string // channels for which RawOrder does not hold: replicas begin to follow them while others are slow
	Calm     bool     // Redis and all replicas work all the time, so no publisher is refused
	Steady   bool     // no replica loses its subscription and no client is slow, so a stream that is live gets no gap

	// The least that must have happened. With less the run proves nothing.
	MinFaults     int
	MinReconnects int
	MinGaps       int
}

// Outcomes of a publish.
const (
	Unanswered   Outcome = iota // nobody knows whether it was stored
	Acknowledged                // a POST was answered 2xx, or a raw PUBLISH had a receiver
	Refused                     // it is certainly not stored: Redis counted 0 receivers, or answered with an error
)

// Outcome is what the publisher knows about a publish.
type Outcome int

// Publish is one payload that was given to the gateway or to Redis once. The repetition of a POST with its
// Idempotency-Key is the same publish.
type Publish struct {
	Publisher string
	Channel   string
	Token     string
	Raw       bool
	Type      string
	Body      string        // the data as compact JSON; empty: only the token is compared
	First     time.Duration // start of the first attempt
	Last      time.Duration // start of the attempt that was answered
	Answered  time.Duration // zero if unanswered
	Outcome   Outcome
	Receivers int64  // that Redis counted, for a raw publish
	ID        string // from the answer to a POST
}

// Event is one event of a channel's history.
type Event struct {
	ID   string
	Type string
	Data string // compact JSON
}

// Refusal is an answer to a publisher that said to try again later.
type Refusal struct {
	At  time.Duration
	Who string // the publisher
	Why string // the beginning of the answer
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
	GotCut    // the client was disconnected, or began to read again: the schedule did that
	GotStream // a stream began; a record need not have these
	GotPlace  // the client was told its place by a position event; a record has those of streams of one channel at most
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
	Replica string // that served the stream
}

// Client is what one client saw.
type Client struct {
	Name       string
	Channels   []string
	Type       string        // the only type it asked for; empty: all
	From       string        // the event id that it asked to go on from, on its one channel; empty: none
	Opened     time.Duration // when the first stream with a position was opened
	Bound      bool          // it has seen a stream with a position, so the promise holds for it
	Items      []Item
	Reconnects int    // streams after the first
	Died       string // why it stopped for good; empty: it did not
}

// Task is what one client of a progress stream saw.
type Task struct {
	Name    string
	States  []TaskState
	Stopped bool // it was answered 204 after the end, as promised
	Died    string
}

// TaskState is one state of a task as its stream shows it.
type TaskState struct {
	Progress float64 `json:"progress"`
	Status   string  `json:"status"`
}

// Span is a span of time, both ends included.
type Span struct{ From, To time.Duration }

func (s Span) overlaps(from, to time.Duration) bool { return from <= s.To && to >= s.From }

// Window is a span in which Redis may have counted so many receivers that never got the message.
type Window struct {
	Span
	Receivers int64
}

// EveryReceiver is the size of a window in which no receiver may have got the message.
const EveryReceiver = int64(1) << 32

// Fault is one thing that the schedule did, from its beginning until it was undone.
type Fault struct {
	Span
	Name string
	Hits int // how many connections, processes or clients it hit
}

// tokenMark starts every token.
const tokenMark = "event/"

// Token returns the text that marks the n-th payload of a publisher on a channel.
func Token(publisher, channel string, n int) string {
	return fmt.Sprintf("%s%s/%s/%d", tokenMark, publisher, channel, n)
}

// TokenOf finds the token in an event's data, whatever the gateway has put around it. It returns "" if there is none.
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

// Compact brings JSON into one form, in which equal values are equal strings. Other text it returns unchanged.
func Compact(data []byte) string {
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
