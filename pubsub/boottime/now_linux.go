package boottime

import (
	"time"

	"golang.org/x/sys/unix"
)

// Now returns the time since the machine was started, including the time it has slept (CLOCK_BOOTTIME, see
// clock_gettime(2)). It never goes back. It is safe for concurrent use.
func Now() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return monotonic() // some sandbox: the call fails always or never
	}
	return time.Duration(t.Nano())
}
