//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// streamHead is everything that the floor sends before the frames. The body ends with the connection.
const streamHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\r\n" +
	"retry: 3000\n\n"

// Marks in the floor's epoll set, where a connection has its descriptor.
const (
	floorControl = -1
	floorListen  = -2
)

// floor is the cheapest program that delivers each event to each client by a write of its own: one thread, one write(2)
// of a ready frame per delivery, nothing else. It has no Redis, no history, no positions, no heartbeats and no limits,
// and it gives up if a client is too slow. Only a server that joins deliveries can be cheaper.
type floor struct {
	epoll    int
	listener int
	clients  []int32          // descriptors of all streams
	places   map[int32]int    // by descriptor: its index in clients
	own      map[int]int32    // by channel: the descriptor of the one client that reads it
	heads    map[int32][]byte // by descriptor: the part of the request that has come
	control  *control
	buffer   []byte
}

// runFloor is the role floor. It serves until in ends.
func runFloor(in *os.File, out io.Writer) error {
	// There is one thread and no garbage collector: nothing is allocated per delivery, and little per connection.
	runtime.GOMAXPROCS(1)
	runtime.LockOSThread()
	debug.SetGCPercent(-1)

	f := &floor{
		places: make(map[int32]int), own: make(map[int]int32), heads: make(map[int32][]byte),
		buffer: make([]byte, 64<<10),
	}
	var err error
	if f.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("make an epoll set: %w", err)
	}
	address, err := f.listen()
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if f.control, err = newControl(in); err != nil {
		return err
	}
	if err := errors.Join(
		f.watch(unix.EPOLL_CTL_ADD, f.control.fd, floorControl, unix.EPOLLIN),
		f.watch(unix.EPOLL_CTL_ADD, f.listener, floorListen, unix.EPOLLIN),
	); err != nil {
		return err
	}
	if err := sayAddress(out, address); err != nil {
		return err
	}
	return f.run()
}

// listen binds a free loopback port.
func (f *floor) listen() (address string, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	f.listener = fd
	// Connections inherit this option. Without it the kernel would hold small writes back until earlier ones are
	// acknowledged, and join them. That is cheaper but late. net/http sets the option too.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return "", err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return "", err
	}
	if err := unix.Listen(fd, 4096); err != nil {
		return "", err
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return "", err
	}
	return "127.0.0.1:" + strconv.Itoa(bound.(*unix.SockaddrInet4).Port), nil
}

func (f *floor) watch(op, fd int, tag int32, events uint32) error {
	return unix.EpollCtl(f.epoll, op, fd, &unix.EpollEvent{Events: events, Fd: tag})
}

func (f *floor) run() error {
	ready := make([]unix.EpollEvent, 1024)
	for {
		n, err := unix.EpollWait(f.epoll, ready, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait: %w", err)
		}
		for _, e := range ready[:max(n, 0)] {
			switch {
			case e.Fd == floorListen:
				err = f.accept()
			case e.Fd == floorControl:
				err = f.deliver()
			case f.heads[e.Fd] != nil:
				err = f.request(e.Fd)
			default:
				f.forget(e.Fd) // after its request a client sends nothing, so this is the end of its connection
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
}

// accept accepts all connections that are waiting.
func (f *floor) accept() error {
	for {
		fd, _, err := unix.Accept4(f.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ECONNABORTED) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		f.heads[int32(fd)] = []byte{}
		if err := f.watch(unix.EPOLL_CTL_ADD, fd, int32(fd), unix.EPOLLIN|unix.EPOLLRDHUP); err != nil {
			return err
		}
	}
}

// request reads a request. When all of it has come the stream begins.
func (f *floor) request(fd int32) error {
	n, err := unix.Read(int(fd), f.buffer)
	if err != nil || n == 0 {
		f.forget(fd)
		return nil //nolint:nilerr // a client that has gone is no error of the floor
	}
	f.heads[fd] = append(f.heads[fd], f.buffer[:n]...)
	head := f.heads[fd]
	if !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		return nil
	}
	delete(f.heads, fd)
	if channel := requested(head); channel != sharedChannel {
		f.own[channel] = fd
	}
	f.places[fd] = len(f.clients)
	f.clients = append(f.clients, fd)
	return f.write(fd, []byte(streamHead))
}

// requested returns the channel that a request is for: the number at the end of its path, or the shared channel.
func requested(head []byte) int {
	_, path, _ := bytes.Cut(head, []byte{' '})
	path, _, _ = bytes.Cut(path, []byte{' '})
	channel, err := strconv.Atoi(string(path[bytes.LastIndexByte(path, '-')+1:]))
	if err != nil {
		return sharedChannel
	}
	return channel
}

// forget removes a client that has gone, and closes its connection.
func (f *floor) forget(fd int32) {
	if i, ok := f.places[fd]; ok {
		last := f.clients[len(f.clients)-1]
		f.clients[i], f.places[last] = last, i
		f.clients = f.clients[:len(f.clients)-1]
		delete(f.places, fd)
	}
	delete(f.heads, fd)
	_ = unix.Close(int(fd)) // this also removes it from the epoll set
}

// deliver reads events from standard input and writes each to its clients. It returns io.EOF when no more will come.
func (f *floor) deliver() error {
	if err := f.control.read(f.buffer); err != nil {
		return err
	}
	input, at := f.control.input, 0
	for {
		channel, frame, size := parseRecord(input[at:])
		if size == 0 {
			break
		}
		at += size
		if channel != sharedChannel {
			if err := f.write(f.own[channel], frame); err != nil {
				return err
			}
			continue
		}
		for _, fd := range f.clients {
			if err := f.write(fd, frame); err != nil {
				return err
			}
		}
	}
	f.control.input = input[:copy(input, input[at:])]
	return nil
}

// write is one write(2). It does not tell Go's scheduler about the system call, because there is nothing else to run:
// with unix.Write a delivery costs a tenth to a quarter more, and a floor that is too expensive would make every other
// server look better than it is.
func (f *floor) write(fd int32, b []byte) error {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd),
		uintptr(unsafe.Pointer(&b[0])), uintptr(len(b))) //nolint:gosec // the kernel copies len(b) bytes and keeps no pointer
	switch {
	case errno == unix.EPIPE, errno == unix.ECONNRESET:
		return nil // the client has gone; epoll is about to report that
	case errno != 0:
		return fmt.Errorf("write to a client: %w", errno)
	case int(n) < len(b):
		return errors.New("write to a client: the client is too slow")
	}
	return nil
}
