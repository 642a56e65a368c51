//go:build !linux

package main

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// The schedules stop and resume processes and rely on the kernel to clean up after a killed checker.
var errNotLinux = errors.New("chaos needs Linux")

func spawn(*exec.Cmd, bool) error { return errNotLinux }
func pause(*os.Process) error     { return errNotLinux }
func unpause(*os.Process) error   { return errNotLinux }
func hangUp(*os.Process) error    { return errNotLinux }
func askToEnd(*os.Process) error  { return errNotLinux }

func smallReceiveBuffer(_, _ string, _ syscall.RawConn) error { return errNotLinux }
