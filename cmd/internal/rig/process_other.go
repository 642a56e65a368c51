//go:build !linux

package rig

import (
	"errors"
	"os/exec"
)

// spawn starts cmd. Only Linux can end it when this program is killed.
func spawn(cmd *exec.Cmd, _ bool) error { return cmd.Start() }

// Pause is only there on Linux.
func (p *Process) Pause() error { return errors.ErrUnsupported }

// Resume is only there on Linux.
func (p *Process) Resume() error { return errors.ErrUnsupported }
