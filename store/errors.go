package store

import "errors"

var (
	// ErrEnded is returned for an event after a channel's final one: a finished task takes no more reports.
	ErrEnded = errors.New("channel has ended")
	// ErrUncertain is returned for an event that Redis may have stored, and may not: it was sent, and no answer came. The
	// publisher may repeat it with the same idempotency key.
	ErrUncertain = errors.New("redis did not answer in time")
	// ErrExists is returned when a channel was to be started that has events already.
	ErrExists = errors.New("channel exists")
)
