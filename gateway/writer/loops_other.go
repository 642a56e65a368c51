//go:build !linux

package writer

import (
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

// Sweep does nothing.
func (*Loops) Sweep() {}

// Close does nothing.
func (*Loops) Close() {}

// Bound bounds what each connection of a listener costs the kernel, and returns the listener to use.
func Bound(l net.Listener) net.Listener { return bounded{l} }

// bounded is a listener whose connections are bounded one by one: not every system has them inherit options.
type bounded struct{ net.Listener }

// Accept implements net.Listener.
func (l bounded) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(sendBuffer) // a connection that refuses works all the same
	}
	return conn, err
}
