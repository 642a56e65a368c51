package main

import "syscall"

// errSystem says why this command cannot run on this operating system.
var errSystem error

// smallReceiveBuffer is for net.Dialer.Control, which is called before the connection exists. Later would be too late:
// TCP never takes back a receive window that it has offered.
func smallReceiveBuffer(_, _ string, conn syscall.RawConn) error {
	var err error
	if e := conn.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
	}); e != nil {
		return e
	}
	return err
}
