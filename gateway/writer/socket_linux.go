package writer

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// detach takes a socket out of Go's hands. A copy of its descriptor stays open, and everything that net and net/http keep
// for a connection goes: two goroutines, an entry of the poller, and some 4 KiB of buffers.
func detach(tcp *net.TCPConn, stall time.Duration) (fd int, err error) {
	defer func() {
		if closeErr := tcp.Close(); err == nil && closeErr != nil {
			_ = unix.Close(fd)
			err = closeErr
		}
	}()
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
	bound(fd, stall)
	// A heartbeat does better what a keep-alive probe does: it is data, and is sent again if it is lost. With the timeout
	// that bound sets, the kernel would end a connection after the first probe that gets no answer (Linux,
	// tcp_keepalive_timer).
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0)
	return fd, nil
}

// bound bounds what a socket costs the kernel, in bytes and in time. A socket that refuses an option works all the same.
func bound(fd int, stall time.Duration) {
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int((stall + kernelExtra).Milliseconds()))
}

// BoundConn bounds what a connection costs the kernel, for streams that Carry writes. It is an http.Server's ConnContext.
func BoundConn(ctx context.Context, conn net.Conn) context.Context {
	if tcp, ok := conn.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { bound(int(fd), stallTime) }) // fails only on a closed connection
		}
	}
	return ctx
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
