//go:build linux

package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// now returns the kernel's monotonic clock in nanoseconds. All processes of the machine share this clock, so a client
// process can compare its time with the time that the publisher has written into an event.
//
// The clock is read by a system call once. From then on time.Since is used, which does not enter the kernel.
var now = func() func() int64 {
	var ts unix.Timespec
	start := time.Now()
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // every Linux has it
	}
	base := ts.Nano()
	return func() int64 { return base + int64(time.Since(start)) }
}()
