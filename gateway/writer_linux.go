package gateway

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/labstack/echo/v4"
	"golang.org/x/sys/unix"
)

// A stream's socket is bounded in bytes (sendBuffer) and in time, so that a client that stalls or is gone without a word
// costs little.
const unansweredAfter = 30 * time.Second // that what was sent is not acknowledged: the peer is gone

// loops carry streams without a goroutine each: a few loops, each with a set of raw sockets.
type loops struct {
	all  []*loop
	next atomic.Uint32 // whose turn it is
}

// startLoops starts one loop per processor, unless the settings want goroutines.
func (s *Server) startLoops() (*loops, error) {
	if s.cfg.Writer == WriterGoroutine {
		return nil, nil
	}
	ls := &loops{}
	for range runtime.GOMAXPROCS(0) {
		l, err := newLoop(s.cfg.Heartbeat, s.retry)
		if err != nil {
			ls.close()
			return nil, fmt.Errorf("start a writer loop: %w", err)
		}
		l.start()
		ls.all = append(ls.all, l)
	}
	return ls, nil
}

// take hands a stream to a loop. It returns false, and has done nothing, if the connection is not plain HTTP/1.x.
//
// The answer ends with the connection (Connection: close and no length, RFC 9112, section 6.3): so frames go onto the
// socket as they lie in the feed, shared by all streams, where chunks would need a head of their own per write. What
// chunks would tell, that an answer was cut short, an event stream knows already: a frame without its empty line is
// thrown away by the client (WHATWG HTML 9.2.6), and it resumes from the frame before.
func (ls *loops) take(c echo.Context, st carried) bool {
	if ls == nil || c.Request().TLS != nil || c.Request().ProtoMajor != 1 {
		return false
	}
	header := c.Response().Header().Clone()
	nc, _, err := http.NewResponseController(c.Response()).Hijack()
	if err != nil {
		return false
	}
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		_ = nc.Close()
		st.done(fmt.Errorf("stream on a %T", nc))
		return true
	}
	fd, err := takeSocket(tcp)
	if err != nil {
		st.done(err)
		return true
	}
	st.first = append(responseHead(header), st.first...)
	ls.all[int(ls.next.Add(1))%len(ls.all)].add(fd, st)
	return true
}

// takeSocket takes the socket out of Go's hands: a copy of the descriptor stays open, and all that net and net/http
// keep for a connection (some 4 KiB of buffers, two goroutines, a poller entry) goes.
func takeSocket(tcp *net.TCPConn) (fd int, err error) {
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
		fd, dupErr = unix.FcntlInt(original, unix.F_DUPFD_CLOEXEC, 0) // it stays non-blocking
	})
	if err == nil {
		err = dupErr
	}
	if err != nil {
		return -1, fmt.Errorf("take over the socket: %w", err)
	}
	// A socket that refuses these works all the same.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unansweredAfter.Milliseconds()))
	// Heartbeats are better than keep-alive probes: they are data, and sent again if one is lost. With the timeout above
	// the kernel ends a connection after the first probe that gets no answer (Linux, tcp_keepalive_timer).
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0)
	return fd, nil
}

// responseHead returns status line and header fields of a stream's answer.
func responseHead(header http.Header) []byte {
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 200 OK\r\n")
	header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	header.Set("Connection", "close")
	_ = header.Write(&b) // a buffer takes everything
	b.WriteString("\r\n")
	return b.Bytes()
}

// drain ends all streams, spread over the drain time.
func (ls *loops) drain(drainTime time.Duration) {
	if ls == nil {
		return
	}
	for _, l := range ls.all {
		l.drain(drainTime)
	}
}

// close ends all streams at once, and the loops.
func (ls *loops) close() {
	if ls == nil {
		return
	}
	for _, l := range ls.all {
		l.close()
	}
}

// write1 writes to a socket. It writes less than all of b, with syscall.EAGAIN, if the socket is full.
//
// The call never waits, so the scheduler need not know of it. Telling it (unix.Sendto) costs a tenth of a delivery: it
// takes the processor away from a loop that is in system calls most of the time. Measured with "go run ./cmd/loadtest
// -mode paced -clients 2000": CPU per delivery over the floor's 1.13, 1.17, 1.06 so, and 1.21, 1.17, 1.22 without.
func write1(fd int, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
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
func yieldThread() { _, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

// jitter returns d less up to a fifth of it.
func jitter(d time.Duration) time.Duration { return d - rand.N(d/5+1) }
