//go:build !linux

package listen

import "net"

// nothingToRead cannot be asked here.
func nothingToRead(net.Conn) (empty, known bool) { return false, false }
