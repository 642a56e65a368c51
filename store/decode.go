package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// DecodeObject reads exactly one JSON object into v. Fields that v does not know are passed over. Its errors are
// *InvalidError.
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

// requireFields returns the error for fields whose value is blank, or nil. Names and values alternate.
func requireFields(namesAndValues ...string) error {
	var missing []string
	for i := 0; i < len(namesAndValues); i += 2 {
		if strings.TrimSpace(namesAndValues[i+1]) == "" {
			missing = append(missing, namesAndValues[i])
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return invalid("missing_fields", "Missing required fields", missing...)
}

// marshal is json.Marshal without the escaping of < > and &: the data goes into an event stream, not into HTML.
// v is a struct of ours that always marshals.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("store: " + err.Error()) // a struct of ours that cannot be JSON is a mistake in this package
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}
