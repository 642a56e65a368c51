package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// DraftJSON makes an event of channel from JSON data, as POST /api/channels/:channel/events does. On a channel whose
// events have a shape, data must have it, and gives the type. Its errors are *InvalidError.
func DraftJSON(channel, typ string, data []byte) (Draft, error) {
	if err := CheckChannel(channel); err != nil {
		return Draft{}, err
	}
	if err := CheckType(typ); err != nil {
		return Draft{}, err
	}
	if len(data) == 0 {
		return Draft{}, invalid("missing_fields", "Missing required fields", "data")
	}
	if Typed(channel) {
		d, err := typedDraft(channel, data)
		if err == nil && typ != "" && typ != d.Type {
			err = invalid("invalid_type", fmt.Sprintf("The type of this event is %q, from its data", d.Type), "type")
		}
		return d, err
	}
	if reservedTypes[typ] { // on this channel the type becomes the name of the SSE event
		return Draft{}, invalid("invalid_type", fmt.Sprintf("The type %q is reserved", typ), "type")
	}
	var compact bytes.Buffer
	if !utf8.Valid(data) || json.Compact(&compact, data) != nil {
		return Draft{}, invalid("invalid_json", "data is not valid JSON", "data")
	}
	return Draft{Channel: channel, Type: typ, Data: compact.Bytes()}, nil
}

// DraftPayload makes an event of channel from the payload of a raw PUBLISH. Its errors are *InvalidError.
//
// Every replica calls it for every raw message, and they must come to the same result: it depends on nothing else.
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
	trimmed := bytes.TrimSpace(payload)
	if Typed(channel) {
		if channel == Notifications && len(trimmed) > 0 && trimmed[0] != '{' {
			return Notification{Type: "info", Title: "Notification", Message: string(trimmed)}.Draft()
		}
		return typedDraft(channel, trimmed)
	}
	var compact bytes.Buffer
	if len(trimmed) > 0 && json.Compact(&compact, trimmed) == nil {
		return Draft{Channel: channel, Data: compact.Bytes()}, nil
	}
	return Draft{Channel: channel, Data: marshal(string(payload))}, nil
}

// typedDraft makes an event of a channel whose events have a shape.
func typedDraft(channel string, data []byte) (Draft, error) {
	if taskID, ok := TaskOf(channel); ok {
		var r Report
		if err := DecodeObject(data, &r); err != nil {
			return Draft{}, err
		}
		return r.Draft(taskID)
	}
	if channel == Activities {
		var a Activity
		if err := DecodeObject(data, &a); err != nil {
			return Draft{}, err
		}
		return a.Draft()
	}
	var n Notification
	if err := DecodeObject(data, &n); err != nil {
		return Draft{}, err
	}
	return n.Draft()
}
