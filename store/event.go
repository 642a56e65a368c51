package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"

	"sluice/store/kind"
)

// Event is one message of a channel as it is stored. Events are shared between goroutines and never changed.
type Event struct {
	Channel  string
	Position Position
	Prev     Nonce  // the nonce of the event before it, or the channel's base
	Time     int64  // when Redis stored it, by Redis's clock, in milliseconds since 1970
	Type     string // may be empty
	Final    bool   // the channel accepts no event after this one
	Data     []byte // compact JSON, one line
}

// ID returns the event's id: its position as text.
func (e Event) ID() string { return e.Position.String() }

// LogValue returns what logs show of an event. They do not show the data, because it may be private.
func (e Event) LogValue() slog.Value {
	return slog.GroupValue(slog.String("channel", e.Channel), slog.String("id", e.ID()),
		slog.String("type", e.Type), slog.Int("bytes", len(e.Data)))
}

// storedEvent is the JSON of an event in the history list.
type storedEvent struct {
	ID    string          `json:"id"`
	Prev  string          `json:"prev"`
	Time  int64           `json:"time"`
	Type  string          `json:"type"`
	Final bool            `json:"final"`
	Data  json.RawMessage `json:"data"`
}

// parseEvent reads an event that add.lua wrote. The event's data is a part of text, which must not be changed afterwards.
//
// The type is checked because it becomes a part of frames, and another program may have written it.
func parseEvent(channel string, text []byte) (Event, error) {
	e, ok := scanEvent(channel, text)
	if ok && kind.CheckType(e.Type) == nil {
		return e, nil
	}
	// This version of add.lua does not write such bytes, but another version may.
	var s storedEvent
	if err := json.Unmarshal(text, &s); err != nil {
		return Event{}, fmt.Errorf("stored event of channel %q: %w", channel, err)
	}
	p, err := ParsePosition(s.ID)
	if err != nil {
		return Event{}, fmt.Errorf("stored event of channel %q: id %q: %w", channel, s.ID, err)
	}
	prev, err := parseNonce(s.Prev)
	if err != nil {
		return Event{}, fmt.Errorf("stored event of channel %q: prev %q: %w", channel, s.Prev, err)
	}
	if kind.CheckType(s.Type) != nil {
		return Event{}, fmt.Errorf("stored event of channel %q: type %q", channel, s.Type)
	}
	var data bytes.Buffer
	if err := json.Compact(&data, s.Data); err != nil {
		return Event{}, fmt.Errorf("stored event of channel %q: data: %w", channel, err)
	}
	return Event{
		Channel: channel, Position: p, Prev: prev, Time: s.Time, Type: s.Type, Final: s.Final, Data: data.Bytes(),
	}, nil
}

// scanEvent reads exactly the layout that add.lua writes; ok is false for any other. Every replica reads every event of
// the channels it follows, and encoding/json would take much longer (see BenchmarkParseEvent).
func scanEvent(channel string, text []byte) (Event, bool) {
	e := Event{Channel: channel}
	rest := text
	field := func(name, end string) (value []byte, ok bool) {
		if !bytes.HasPrefix(rest, []byte(name)) {
			return nil, false
		}
		rest = rest[len(name):]
		i := bytes.IndexByte(rest, end[0])
		if i < 0 || !bytes.HasPrefix(rest[i:], []byte(end)) {
			return nil, false
		}
		value, rest = rest[:i], rest[i+len(end):]
		return value, true
	}
	id, ok1 := field(`{"id":"`, `",`)
	prev, ok2 := field(`"prev":"`, `",`)
	stamp, ok3 := field(`"time":`, `,`)
	typ, ok4 := field(`"type":"`, `",`)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return e, false
	}
	if bytes.HasPrefix(rest, []byte(`"final":true,`)) {
		e.Final, rest = true, rest[len(`"final":true,`):]
	}
	if !bytes.HasPrefix(rest, []byte(`"data":`)) || rest[len(rest)-1] != '}' {
		return e, false
	}
	e.Data = rest[len(`"data":`) : len(rest)-1 : len(rest)-1]
	var err1, err2, err3 error
	e.Position, err1 = ParsePosition(string(id))
	e.Prev, err2 = parseNonce(string(prev))
	e.Time, err3 = strconv.ParseInt(string(stamp), 10, 64)
	e.Type = string(typ)
	return e, err1 == nil && err2 == nil && err3 == nil
}
