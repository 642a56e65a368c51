//go:build !linux

package main

import (
	"errors"
	"syscall"
)

// errSystem says why this command cannot run on this operating system: the schedules pause processes, and only Linux
// ends all of them with a checker that is killed.
var errSystem = errors.New("chaos needs Linux")

func smallReceiveBuffer(_, _ string, _ syscall.RawConn) error { return errSystem }
