package store

import (
	"fmt"
	"time"
)

// SettingError says what is wrong with one setting. Each room's Config checks its own settings and returns this error; it
// knows the setting by its field, and whoever read the settings knows what users call it.
type SettingError struct {
	Field string // the field of the Config; empty in an error of the field's own type
	Value string // the value that is wrong; in a list, the wrong entry
	Takes string // what is expected instead, a sentence for people
	// Secret is true if Value is not to be shown, because it may hold a password.
	Secret bool
}

// Error returns the field, the value and what is expected.
func (e *SettingError) Error() string {
	if e.Secret {
		return fmt.Sprintf("%s: %s", e.Field, e.Takes)
	}
	return fmt.Sprintf("%s=%q: %s", e.Field, e.Value, e.Takes)
}

// CheckRange returns a *[SettingError] if a setting is not between least and most, both included.
func CheckRange[T int | time.Duration](field string, value, least, most T) error {
	if least <= value && value <= most {
		return nil
	}
	what := "number"
	if _, ok := any(value).(time.Duration); ok {
		what = "time"
	}
	return &SettingError{
		Field: field, Value: fmt.Sprint(value), Takes: fmt.Sprintf("a %s from %v to %v is expected", what, least, most),
	}
}
