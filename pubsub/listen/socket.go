package listen

import (
	"net"
	"sync/atomic"
	"time"
)

// socket is a connection that notes when something was read from it. One goroutine reads it.
type socket struct {
	net.Conn
	now    func() time.Duration
	readAt atomic.Int64 // the newest reading of now; nanoseconds

	// beforeRead is called before the reader waits for the connection. Everything that was read has been handled by then,
	// but for the beginning of a message whose rest has not come.
	beforeRead func()
	short      bool // the last read did not fill its buffer; only the reader uses it
}

// newSocket returns a socket from which nothing has been read.
func newSocket(c net.Conn, now func() time.Duration) *socket {
	s := &socket{Conn: c, now: now, beforeRead: func() {}, short: true}
	s.readAt.Store(int64(now()))
	return s
}

func (s *socket) Read(p []byte) (int, error) {
	s.beforeRead()
	n, err := s.Conn.Read(p)
	if n > 0 {
		s.readAt.Store(int64(s.now()))
	}
	s.short = n < len(p)
	return n, err
}

// lastRead returns when something was read the last time.
func (s *socket) lastRead() time.Duration { return time.Duration(s.readAt.Load()) }

// empty reports whether nothing lies in the socket, so that all that has arrived has been read. Only the reader may call
// it. Where the system cannot be asked, the last read tells: it took all that was there if it did not fill its buffer.
// That is not certain with TLS, which hands over one record at a time.
func (s *socket) empty() bool {
	if empty, known := nothingToRead(s.Conn); known {
		return empty
	}
	return s.short
}
