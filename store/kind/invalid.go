package kind

import "strings"

// InvalidError says what is wrong with something that was to be published. Its texts are meant for the publisher.
type InvalidError struct {
	Code    string   // for programs, for example "invalid_type"; it never changes
	Message string   // for people: a sentence
	Fields  []string // names of the fields in question, if any
}

// MissingFields is the Code of the error whose message does not name the fields.
const MissingFields = "missing_fields"

// Error returns the message, and which fields are missing.
func (e *InvalidError) Error() string {
	if e.Code == MissingFields {
		return e.Message + ": " + strings.Join(e.Fields, ", ")
	}
	return e.Message
}

func invalid(code, message string, fields ...string) error {
	return &InvalidError{Code: code, Message: message, Fields: fields}
}

// Missing returns the error for fields that are required and were not given, as an *[InvalidError].
func Missing(fields ...string) error {
	return invalid(MissingFields, "Missing required fields", fields...)
}

// requireFields returns the error for fields whose value is blank, or nil. Names and values alternate.
func requireFields(namesAndValues ...string) error {
	var blank []string
	for i := 0; i < len(namesAndValues); i += 2 {
		if strings.TrimSpace(namesAndValues[i+1]) == "" {
			blank = append(blank, namesAndValues[i])
		}
	}
	if len(blank) == 0 {
		return nil
	}
	return Missing(blank...)
}

// oneOf returns the error for a field whose value is none of those allowed.
func oneOf(code, field string, allowed []string) error {
	return invalid(code, field+" is one of "+strings.Join(allowed, ", "), field)
}
