//go:build !linux

package writer

import (
	"context"
	"errors"
	"net"
	"time"
)

// Loops carry streams without a goroutine each. They need epoll, which only Linux has.
type Loops struct{}

// StartLoops refuses.
func StartLoops(Config) (*Loops, error) { return nil, errors.ErrUnsupported }

// Take is never called, as there are no Loops.
func (*Loops) Take(*net.TCPConn, []byte, bool, Stream) {}

// Drain does nothing.
func (*Loops) Drain(time.Duration) {}

// Close does nothing.
func (*Loops) Close() {}

// BoundConn bounds what a connection costs the kernel, for streams that Carry writes. It is an http.Server's ConnContext.
func BoundConn(ctx context.Context, conn net.Conn) context.Context {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(sendBuffer) // a connection that refuses works all the same
	}
	return ctx
}
