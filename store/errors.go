package store

import (
	"errors"
	"strings"
)

var (
	// ErrEnded is returned for an event after a channel's final one: a finished task takes no more reports.
	ErrEnded = errors.New("channel has ended")
	// ErrUncertain is returned for an event that Redis may have stored, and may not: it was sent, and no answer came. The
	// publisher may repeat it with the same idempotency key.
	ErrUncertain = errors.New("redis did not answer in time")
	// ErrExists is returned when a channel was to be started that has events already.
	ErrExists = errors.New("channel exists")
)

// InvalidError says what is wrong with something that was to be published. Its texts are meant for the publisher.
type InvalidError struct {
	Code    string   // for programs, for example "missing_fields"
	Message string   // for people
	Fields  []string // the fields in question, if any
}

// Error returns the message and the fields.
func (e *InvalidError) Error() string {
	if len(e.Fields) == 0 {
		return e.Message
	}
	return e.Message + ": " + strings.Join(e.Fields, ", ")
}

func invalid(code, message string, fields ...string) error {
	return &InvalidError{Code: code, Message: message, Fields: fields}
}
