package writer

import (
	"fmt"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// detach returns a descriptor of a socket that Go's poller does not know. Closing tcp, which is up to the caller, frees
// everything that package net keeps for the connection, and the socket stays open.
func detach(tcp *net.TCPConn) (fd int, err error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return -1, err
	}
	var dupErr error
	err = raw.Control(func(original uintptr) {
		fd, dupErr = unix.FcntlInt(original, unix.F_DUPFD_CLOEXEC, 0) // the copy stays non-blocking
	})
	if err == nil {
		err = dupErr
	}
	if err != nil {
		return -1, fmt.Errorf("take over the socket: %w", err)
	}
	return fd, nil
}

// Bound bounds what each connection of a listener costs the kernel, in bytes and in time, and returns the listener to use. The
// connections inherit the options of the listening socket, so there is no system call for each of them. A socket that refuses
// an option works all the same, and a listener without a socket is left as it is.
//
// The listener must not switch on keep-alive probes (net.ListenConfig). A heartbeat does better what a probe does: it is data,
// and is sent again if it is lost. With the timeout that is set here, the kernel would end a connection after the first probe
// that gets no answer (Linux, tcp_keepalive_timer).
func Bound(l net.Listener) net.Listener {
	if socket, ok := l.(syscall.Conn); ok {
		if raw, err := socket.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { // fails only on a closed listener
				_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT,
					int((stallTime + kernelExtra).Milliseconds()))
			})
		}
	}
	return l
}

// send writes to a socket without waiting. If the socket is full, it writes less than all of b and returns syscall.EAGAIN.
//
// Go's scheduler is not told of the call, because the call never waits. Telling it (unix.Sendto) takes the processor away
// from a loop that spends most of its time in such calls. "go run ./cmd/loadtest -mode paced -clients 2000", three runs:
//
//	CPU per delivery over the floor's    1.13  1.17  1.06
//	the same with unix.Sendto            1.21  1.17  1.22
func send(fd int, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd),
			uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), //nolint:gosec // the kernel copies len(b) bytes and keeps no pointer
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch {
		case errno == syscall.EINTR:
			continue
		case errno != 0:
			return 0, errno
		case int(n) < len(b):
			return int(n), syscall.EAGAIN
		}
		return int(n), nil
	}
}

// yieldThread has the kernel run another thread that waits for this processor, if there is one.
func yieldThread() {
	unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) // it never fails on Linux
}
