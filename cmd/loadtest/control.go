//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// control is the standard input of a role that is one epoll loop. The load command writes to it.
type control struct {
	fd    int
	input []byte // what was read and not used yet
}

// newControl prepares standard input for an epoll loop: a read never waits.
func newControl(in *os.File) (*control, error) {
	c := &control{fd: int(in.Fd())}
	if err := unix.SetNonblock(c.fd, true); err != nil {
		return nil, fmt.Errorf("standard input: %w", err)
	}
	return c, nil
}

// read appends what has come to input, by way of buffer. It returns io.EOF when nothing will come any more.
func (c *control) read(buffer []byte) error {
	n, err := unix.Read(c.fd, buffer)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return nil
	case err != nil:
		return fmt.Errorf("standard input: %w", err)
	case n == 0:
		return io.EOF
	}
	c.input = append(c.input, buffer[:n]...)
	return nil
}
