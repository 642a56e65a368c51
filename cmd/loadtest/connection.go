//go:build linux

package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// addressesEvery is how many clients share one source address. An address has about 28,000 ports towards one server,
// and the ports of closed connections stay in use for a while.
const addressesEvery = 10_000

// openMore begins as many connections as the rate and the bound of the order allow now.
func (l *clientLoop) openMore() error {
	due := len(l.clients)
	if l.opening.Rate > 0 && l.next < due {
		due = min(due, 1+int(l.opening.Rate*time.Since(l.began).Seconds()))
	}
	for l.next < due && l.pending < l.opening.AtOnce {
		if err := l.connect(l.next); err != nil {
			return fmt.Errorf("connect client %d: %w", l.next, err)
		}
		l.next++
	}
	return l.comeBack()
}

// connect begins one connection. An error means that this process could not do it; a refusal of the server is counted
// as a fault.
func (l *clientLoop) connect(i int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	// With this option the kernel chooses the port when it knows the destination. So a source address has 28,000 ports
	// towards each server, not 28,000 in all.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return err
	}
	source := &unix.SockaddrInet4{Addr: [4]byte{127, 0, byte(1 + l.opening.Source), byte(1 + i/addressesEvery)}}
	if err := unix.Bind(fd, source); err != nil {
		return err
	}
	c := &l.clients[i]
	c.fd, c.began, c.connecting = int32(fd), now(), true
	c.generation++
	c.response.restart()
	l.pending++
	err = unix.Connect(fd, l.addrs[(l.opening.First+i)%len(l.addrs)])
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		l.lost(c, err)
		return nil
	}
	event := unix.EpollEvent{Events: unix.EPOLLOUT, Fd: int32(i), Pad: c.generation}
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &event)
}

// serve sends the request on a connection that is established, or reads what has come. A read also finds out that the
// connection was closed.
//
// The epoll set reports each change once (EPOLLET); otherwise it would check every connection again after each read. So
// everything that is there must be read. A read that does not fill the buffer has read everything (epoll(7)), unless
// the same report says that the connection has ended.
func (l *clientLoop) serve(c *client, events uint32) {
	ended := events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0
	if c.connecting {
		if err := l.request(c); err != nil {
			l.lost(c, err)
		}
		return
	}
	for {
		full := l.read(c) == len(l.buffer)
		if !full && (!ended || c.fd < 0) {
			return
		}
	}
}

// read reads once from a connection, and processes what it has read. It returns the number of bytes. If the connection
// has ended it closes it.
func (l *clientLoop) read(c *client) int {
	n, err := read(int(c.fd), l.buffer)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return 0
	case err != nil:
		l.lost(c, err)
		return 0
	case n == 0:
		l.lost(c, errors.New("closed by the server"))
		return 0
	}
	l.bytes += int64(n)
	l.reads++
	open := c.response.opened()
	l.current, l.at = c, now()
	if err := c.response.feed(l.buffer[:n], l); err != nil {
		l.lost(c, err)
		return n
	}
	if !open && c.response.opened() {
		l.pending--
		l.opened++
		record(l.openIn, l.at-c.began)
	}
	return n
}

// read is read(2) on a non-blocking socket. Like the floor's write it does not tell Go's scheduler about the system
// call: the call never waits, and there is nothing else to run.
func read(fd int, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd),
			uintptr(unsafe.Pointer(&b[0])), uintptr(len(b))) //nolint:gosec // the kernel fills at most len(b) bytes and keeps no pointer
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
			continue
		default:
			return 0, errno
		}
	}
}

// request sends the request on a connection that is established.
func (l *clientLoop) request(c *client) error {
	failed, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if failed != 0 {
		return unix.Errno(failed)
	}
	text := l.buffer[:0]
	text = append(text, "GET "...)
	text = append(text, l.opening.Path...)
	text = appendTarget(text, l.opening, c.number)
	// These are the header fields that a browser sends: reading them must not be cheaper here than in real use.
	text = append(text, " HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\nCache-Control: no-cache\r\n"+
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 "+
		"Safari/537.36\r\n"+
		"Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\n"...)
	if l.opening.Resume && len(c.response.id.bytes()) > 0 {
		text = append(append(append(text, "Last-Event-ID: "...), c.response.id.bytes()...), "\r\n"...)
	}
	text = append(text, "\r\n"...)
	n, err := unix.Write(int(c.fd), text)
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	if n < len(text) { // cannot happen: the buffer of a new socket has room for many requests
		return fmt.Errorf("request: %d of %d bytes sent", n, len(text))
	}
	c.connecting = false
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(c.number), Pad: c.generation}
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_MOD, int(c.fd), &event)
}

// appendTarget appends the end of the path of a process's i-th client: what tells its stream from those of others.
func appendTarget(text []byte, o openOrder, i int) []byte {
	n := o.First + i
	switch {
	case o.Each > 0:
		for k := range o.Each {
			if k > 0 {
				text = append(text, ',')
			}
			text = append(text, channelName(n*o.Each+k)...)
		}
	case o.Own && o.Modulo > 0:
		text = strconv.AppendInt(text, int64(n%o.Modulo), 10)
	case o.Own:
		text = strconv.AppendInt(text, int64(n), 10)
	case channelOf(o, i) != sharedChannel:
		text = strconv.AppendInt(text, int64(channelOf(o, i)), 10)
	}
	return text
}

// lost counts a stream that the server has ended or refused, and closes its connection.
func (l *clientLoop) lost(c *client, err error) {
	if l.opening.Loose > 0 {
		l.looseLost(c)
		return
	}
	if c.connecting || !c.response.opened() {
		l.pending--
		l.faults.Refused++
	} else {
		l.opened--
		l.faults.Dropped++
	}
	if l.why == "" {
		l.why = fmt.Sprintf("client %d: %v", l.opening.First+c.number, err)
	}
	l.close(c)
}

// close closes a client's connection, if there is one. That also removes it from the epoll set.
func (l *clientLoop) close(c *client) {
	if c.fd >= 0 {
		_ = unix.Close(int(c.fd)) // an error does not matter: nothing is waiting to be written
		c.fd = -1
	}
}
