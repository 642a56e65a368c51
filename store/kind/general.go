package kind

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// generalDraft makes an event of a channel that accepts any JSON value.
func generalDraft(channel, typ string, data []byte) (Draft, error) {
	if reservedTypes[typ] {
		return Draft{}, invalid("invalid_type", fmt.Sprintf("The type %q is reserved", typ), "type")
	}
	var compact bytes.Buffer
	if !utf8.Valid(data) || json.Compact(&compact, data) != nil { // in a POST it is valid already, as a part of the body
		return Draft{}, invalid("invalid_json", "data is not valid JSON", "data")
	}
	if tooDeep(data) {
		return Draft{}, invalid("too_deep", fmt.Sprintf("data is nested deeper than %d levels", maxDepth), "data")
	}
	return Draft{Channel: channel, Type: typ, Data: compact.Bytes()}, nil
}

// jsonText is the data of a raw message that is not JSON: the message as a JSON string. A message that is only nested too
// deep stays refused.
func jsonText(payload []byte) []byte {
	if tooDeep(payload) && json.Valid(payload) {
		return nil
	}
	return marshal(string(payload))
}
