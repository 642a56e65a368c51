//go:build linux

package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// now is the kernel's monotonic clock in nanoseconds. It is the same in every process of the machine: a time that the
// publisher writes into an event can be compared by the process that reads it.
//
// The clock is read by a system call once. After that time.Since goes on, which does not enter the kernel.
var now = func() func() int64 {
	var ts unix.Timespec
	start := time.Now()
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // every Linux has it
	}
	base := ts.Nano()
	return func() int64 { return base + int64(time.Since(start)) }
}()
