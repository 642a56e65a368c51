package kind

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"
)

// DecodeObject reads exactly one JSON object into v, a pointer to a struct. It ignores fields that v does not have. Its
// errors are *[InvalidError] and say where the text is wrong.
func DecodeObject(text []byte, v any) error {
	if len(bytes.TrimSpace(text)) == 0 {
		return invalid("invalid_json", "A JSON object is expected, but there is no text")
	}
	if !utf8.Valid(text) {
		return invalid("invalid_json", "The text is not valid UTF-8")
	}
	err := json.Unmarshal(text, v)
	if err == nil {
		if bytes.Equal(bytes.TrimSpace(text), []byte("null")) { // Unmarshal accepts it and leaves v as it is
			return invalid("invalid_json", "A JSON object is expected, not null")
		}
		return nil
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return wrongType(wrong, reflect.TypeOf(v).Elem())
	}
	return invalidJSON(text, err)
}

// wrongType returns the error for a JSON value of another type than the struct has.
func wrongType(err *json.UnmarshalTypeError, object reflect.Type) error {
	got, number, tooLarge := strings.Cut(err.Value, " ") // "number 1e999"
	switch {
	case err.Field == "":
		return invalid("invalid_json", "A JSON object is expected, not "+inWords(got))
	case tooLarge:
		return invalid("invalid_field", fmt.Sprintf("%s cannot be the number %s", err.Field, number), err.Field)
	}
	what := err.Field
	for _, f := range reflect.VisibleFields(object) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == err.Field && f.Type.Kind() == reflect.Slice && err.Type != f.Type {
			what = "each of " + err.Field
		}
	}
	wanted := "number"
	switch err.Type.Kind() {
	case reflect.String:
		wanted = "string"
	case reflect.Bool:
		wanted = "bool"
	case reflect.Slice:
		wanted = "array"
	case reflect.Struct, reflect.Map:
		wanted = "object"
	}
	return invalid("invalid_field", fmt.Sprintf("%s must be %s, not %s", what, inWords(wanted), inWords(got)), err.Field)
}

// inWords returns the name of a type of JSON values with its article.
func inWords(jsonType string) string {
	switch jsonType {
	case "array", "object":
		return "an " + jsonType
	case "bool":
		return "true or false"
	default:
		return "a " + jsonType
	}
}

// invalidJSON returns the error for a text that json.Unmarshal refused with err.
func invalidJSON(text []byte, err error) error {
	syntax, ok := errors.AsType[*json.SyntaxError](err)
	if !ok {
		return invalid("invalid_json", "The text is not valid JSON")
	}
	what := "The text is not valid JSON"
	var first json.RawMessage
	switch err := json.NewDecoder(bytes.NewReader(text)).Decode(&first); {
	case err == nil:
		what = "There is more than one JSON value"
	case errors.Is(err, io.ErrUnexpectedEOF):
		what = "The JSON ends too early"
	}
	// Offset counts the bytes up to the one that cannot stand there.
	before := text[:max(0, min(int(syntax.Offset)-1, len(text)))]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	return invalid("invalid_json", fmt.Sprintf("%s (line %d, column %d)", what, line, column))
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
