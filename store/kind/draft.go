package kind

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// Draft is an event that has no position yet. The functions of this package that make drafts check them.
type Draft struct {
	Channel string
	Type    string // see CheckType
	Data    []byte // compact JSON, in one line
	Fill    Fill   // fields that only Redis can put into Data
	FillAt  int    // how many bytes of Data come before these fields
	// Progress is the progress in Data as JSON, for the next event of the channel that is filled with it; empty: none.
	Progress string
	Final    bool // the channel accepts no event after this one
}

// Fill says which fields Redis inserts into an event's data, a JSON object, when it stores the event. There is another
// field after them.
type Fill string

// What can be filled in.
const (
	FillNothing  Fill = ""
	FillID       Fill = "id"       // "id" and "timestamp" of the event
	FillProgress Fill = "progress" // "progress" of the channel's last event that had one, 0 if none had
)

// afterBrace is the FillAt that puts fields at the beginning of an object.
const afterBrace = len("{")

// DraftJSON makes an event from JSON data and a type (which may be empty), as POST /api/channels/:channel/events does.
// Its errors are *[InvalidError].
func DraftJSON(channel, typ string, data []byte) (Draft, error) {
	if err := CheckChannel(channel); err != nil {
		return Draft{}, err
	}
	if err := CheckType(typ); err != nil {
		return Draft{}, err
	}
	if len(data) == 0 {
		return Draft{}, Missing("data")
	}
	return Of(channel).draft(channel, typ, data)
}

// DraftPayload makes an event from the payload of a raw PUBLISH, which has at most maxBytes bytes. It leaves payload as
// it is. Its errors are *[InvalidError].
func DraftPayload(channel string, payload []byte, maxBytes int) (Draft, error) {
	if err := CheckChannel(channel); err != nil {
		return Draft{}, err
	}
	switch {
	case len(payload) > maxBytes:
		return Draft{}, invalid("too_large", fmt.Sprintf("The payload has more than %d bytes", maxBytes))
	case !utf8.Valid(payload):
		return Draft{}, invalid("invalid_text", "The payload is not valid UTF-8")
	}
	k := Of(channel)
	d, err := k.draft(channel, "", bytes.TrimSpace(payload))
	if err != nil && k.fromText != nil {
		if data := k.fromText(payload); data != nil {
			return k.draft(channel, "", data)
		}
	}
	return d, err
}

// shaped returns the draft function of a kind whose data is a JSON object with the fields of T. The type is in the data.
func shaped[T any](draft func(object T, channel string) (Draft, error)) func(channel, typ string, data []byte) (Draft, error) {
	return func(channel, typ string, data []byte) (Draft, error) {
		var object T
		if err := DecodeObject(data, &object); err != nil {
			return Draft{}, err
		}
		d, err := draft(object, channel)
		if err == nil && typ != "" && typ != d.Type {
			err = invalid("invalid_type", fmt.Sprintf("The type of this event is %q, from its data", d.Type), "type")
		}
		return d, err
	}
}
