//go:build !linux

package boottime

import "time"

// Now returns the time since the program was started. It never goes back. Whether it includes the time that the machine
// has slept depends on the system. It is safe for concurrent use.
func Now() time.Duration { return monotonic() }
