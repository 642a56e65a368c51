package listen

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// nothingToRead asks the system whether anything lies in the socket of a connection. Of a TLS connection that is the
// socket below; TLS itself holds one record at most, which the reader takes at once. known is false if the connection has
// no socket, or is closed.
func nothingToRead(c net.Conn) (empty, known bool) {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = t.NetConn()
	}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false, false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false, false
	}
	err = raw.Control(func(fd uintptr) {
		n, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ)
		empty, known = n == 0, err == nil
	})
	return empty, known && err == nil
}
