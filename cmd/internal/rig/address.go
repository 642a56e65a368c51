package rig

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// The ports of FreeAddress: below the range from which the kernel takes ports for outgoing connections, which begins
// at 32768 on Linux.
const (
	firstPort = 15_000
	ports     = 15_000
)

// FreeAddress returns a loopback address, host:port, that nobody listened on a moment ago.
func FreeAddress() (string, error) {
	for range 100 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+rand.IntN(ports)))
		l, err := net.Listen("tcp", address)
		if err == nil {
			return address, l.Close()
		}
	}
	return "", fmt.Errorf("no free port between %d and %d", firstPort, firstPort+ports-1)
}
