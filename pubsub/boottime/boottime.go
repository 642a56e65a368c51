// Package boottime tells how long ago the machine was started, by a clock that nobody can set.
//
// The wall clock may be set back or forward at any time. Go's monotonic clock may not, but on Linux it stands still
// while the machine sleeps (suspend). To know whether Redis still remembers a marker, a replica needs a clock that has
// neither flaw. Each reading is a system call on Linux, so take one reading for all messages that arrive together.
package boottime

import "time"

// processStart is where the portable clock begins.
var processStart = time.Now()

// monotonic is the portable clock. Go's documentation leaves open whether it goes on while the machine sleeps.
func monotonic() time.Duration { return time.Since(processStart) }
