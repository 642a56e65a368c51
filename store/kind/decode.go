package kind

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// DecodeObject reads exactly one JSON object into v, a pointer to a struct. It ignores fields that v does not have. Its
// errors are *[InvalidError].
func DecodeObject(text []byte, v any) error {
	if len(bytes.TrimSpace(text)) == 0 {
		return invalid("invalid_json", "The body is empty; a JSON object is expected")
	}
	if !utf8.Valid(text) {
		return invalid("invalid_json", "The text is not valid UTF-8")
	}
	err := json.Unmarshal(text, v)
	if err == nil {
		return nil
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if wrong.Field == "" {
			return invalid("invalid_json", "A JSON object is expected, not a "+wrong.Value)
		}
		return invalid("invalid_field", fmt.Sprintf("%s cannot be a %s", wrong.Field, wrong.Value), wrong.Field)
	}
	var first json.RawMessage
	if json.NewDecoder(bytes.NewReader(text)).Decode(&first) == nil {
		return invalid("invalid_json", "There is more than one JSON value")
	}
	return invalid("invalid_json", "The text is not valid JSON")
}

// marshal is json.Marshal without the escaping of < > and &, because the data goes into an event stream, not into HTML.
// v is a type of this package that can always be encoded.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("kind: " + err.Error()) // only a mistake in this package makes one of its types impossible to encode
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}
