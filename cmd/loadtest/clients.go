//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// controlTag stands in the epoll set for the orders, in place of a client's number.
const controlTag = -1

// addressesEvery is how many clients share one source address: well below the 28,000 ports an address has towards one
// server, since the ports of closed connections stay taken for a while.
const addressesEvery = 10_000

// client is one EventSource: a connection, and what has to outlive it.
type client struct {
	response   response
	ledger     *ledger
	number     int   // in clients
	cursor     int   // in ledger
	began      int64 // when the connection was begun
	fd         int32 // -1: none
	generation int32 // of fd: it tells an event for this connection from one for its predecessor
	connecting bool
}

// clientLoop is a process's clients, all in one thread: one epoll set, no goroutines, no locks. It should cost little
// beside the servers, which share the machine with it.
type clientLoop struct {
	epoll   int
	out     io.Writer
	input   []byte // of the control pipe: the beginning of a line
	buffer  []byte
	clients []client
	shared  *ledger // nil: a channel per client

	opening openOrder
	addrs   []unix.Sockaddr
	next    int // the next client to open; len(clients): all are begun
	began   time.Time
	pending int // connections under way
	opened  int
	told    bool // that all are open

	current *client // whose bytes are read, at
	at      int64

	faults  faults
	why     string
	latency *hdrhistogram.Histogram // from publish to read
	openIn  *hdrhistogram.Histogram // from connect to the response's head
	events  int64                   // since the mark
	bytes   int64
	reads   int64
	total   int64 // events from the beginning
	said    note  // the last progress
	saidAt  time.Time
}

// runClients is the role clients: it carries out orders from in until in ends.
func runClients(in *os.File, out io.Writer) error {
	// The loop is the process: it needs one thread, and no other goroutine has anything to do.
	runtime.GOMAXPROCS(1)
	runtime.LockOSThread()
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("make an epoll set: %w", err)
	}
	defer unix.Close(epoll)
	l := &clientLoop{
		epoll: epoll, out: out, buffer: make([]byte, 256<<10),
		latency: newHistogram(), openIn: newHistogram(), told: true,
	}
	control := int(in.Fd())
	if err := unix.SetNonblock(control, true); err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: controlTag}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, control, &event); err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	return l.run(control)
}

func (l *clientLoop) run(control int) error {
	ready := make([]unix.EpollEvent, 1024)
	for {
		n, err := unix.EpollWait(l.epoll, ready, l.patience())
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait: %w", err)
		}
		for _, e := range ready[:max(n, 0)] {
			if e.Fd == controlTag {
				if err := l.obey(control); err != nil {
					if errors.Is(err, io.EOF) {
						return nil
					}
					return err
				}
				continue
			}
			// A connection that was closed in this round may be in it still, and its number taken again.
			if c := &l.clients[e.Fd]; c.generation == e.Pad && c.fd >= 0 {
				l.serve(c)
			}
		}
		if err := l.openMore(); err != nil {
			return err
		}
		if err := l.progress(); err != nil {
			return err
		}
	}
}

// patience is how long the loop may sleep, in milliseconds.
func (l *clientLoop) patience() int {
	if l.next < len(l.clients) && l.pending < l.opening.AtOnce {
		return 2 // the rate holds the next one back
	}
	return -1
}

// --- orders -----------------------------------------------------------------------------------------------------------

// obey reads orders and carries them out. It returns io.EOF when there will be no more.
func (l *clientLoop) obey(control int) error {
	n, err := unix.Read(control, l.buffer)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return nil
	case err != nil:
		return fmt.Errorf("standard input: %w", err)
	case n == 0:
		return io.EOF
	}
	l.input = append(l.input, l.buffer[:n]...)
	for {
		line, rest, whole := bytes.Cut(l.input, []byte{'\n'})
		if !whole {
			return nil
		}
		var o order
		if err := json.Unmarshal(line, &o); err != nil {
			return fmt.Errorf("order %.80q: %w", line, err)
		}
		l.input = rest
		if err := l.do(o); err != nil {
			return fmt.Errorf("%s: %w", o.Do, err)
		}
	}
}

func (l *clientLoop) do(o order) error {
	switch o.Do {
	case "open":
		return l.open(*o.Open)
	case "cut":
		for i := range l.clients {
			l.close(&l.clients[i])
		}
		l.opened, l.pending, l.next = 0, 0, len(l.clients)
		return l.say(note{Say: "cut"})
	case "mark":
		l.latency.Reset()
		l.openIn.Reset()
		l.events, l.bytes, l.reads = 0, 0, 0
		return l.say(note{Say: "marked"})
	case "audit":
		a, err := l.audit(o.Events)
		if err != nil {
			return err
		}
		return l.say(note{Say: "audit", Audit: a, Why: l.why})
	default:
		return errors.New("no such order")
	}
}

// open begins to open all clients.
func (l *clientLoop) open(o openOrder) error {
	l.addrs = nil
	for _, text := range o.Addrs {
		a, err := netip.ParseAddrPort(text)
		if err != nil {
			return err
		}
		if !a.Addr().IsLoopback() || !a.Addr().Is4() {
			return fmt.Errorf("%s is not an IPv4 loopback address: load goes nowhere else", text)
		}
		l.addrs = append(l.addrs, &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())})
	}
	if l.clients == nil {
		l.clients = make([]client, o.Clients)
		if !o.Own {
			l.shared = &ledger{clients: int32(o.Clients)}
		}
		for i := range l.clients {
			c := &l.clients[i]
			c.fd, c.number, c.ledger = -1, i, l.shared
			if o.Own {
				c.ledger = &ledger{clients: 1}
			}
		}
	}
	l.opening, l.next, l.began, l.told = o, 0, time.Now(), false
	return nil
}

// audit counts what is missing, and returns it with everything seen since the mark.
func (l *clientLoop) audit(events int) (*audit, error) {
	a := &audit{Faults: l.faults, Events: l.events, Bytes: l.bytes, Reads: l.reads}
	if l.shared != nil {
		cursors := make([]int, len(l.clients))
		for i := range l.clients {
			cursors[i] = l.clients[i].cursor
		}
		l.shared.audit(events, cursors, &a.Faults)
		a.Order = l.shared.sum()
	} else {
		for i := range l.clients {
			c := &l.clients[i]
			c.ledger.audit(events, []int{c.cursor}, &a.Faults)
		}
	}
	var err error
	if a.Latency, err = encodeHistogram(l.latency); err != nil {
		return nil, err
	}
	a.Opening, err = encodeHistogram(l.openIn)
	return a, err
}

// --- notes ------------------------------------------------------------------------------------------------------------

func (l *clientLoop) say(n note) error {
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	_, err = l.out.Write(append(text, '\n'))
	return err
}

// progress says how far the clients are: at once when an event has reached all of them, else ten times a second.
func (l *clientLoop) progress() error {
	n := note{Say: "progress", Opened: l.opened, Total: l.total}
	if l.shared != nil {
		n.All = l.shared.all
	}
	if l.faults.Dropped > 0 || l.faults.Refused > 0 {
		n.Why, n.Faults = l.why, &faults{Dropped: l.faults.Dropped, Refused: l.faults.Refused}
	}
	news := n.All != l.said.All || l.shared == nil && n.Total != l.said.Total || n.Why != l.said.Why
	slow := n.Opened != l.said.Opened || n.Total != l.said.Total
	if news || slow && time.Since(l.saidAt) > 100*time.Millisecond {
		l.said, l.saidAt = n, time.Now()
		if err := l.say(n); err != nil {
			return err
		}
	}
	if !l.told && l.next == len(l.clients) && l.pending == 0 {
		l.told = true
		return l.say(note{Say: "opened", Opened: l.opened, Why: l.why})
	}
	return nil
}

// --- connections ------------------------------------------------------------------------------------------------------

// openMore begins as many connections as the order allows now.
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
	return nil
}

// connect begins one connection. An error is ours, not the server's.
func (l *clientLoop) connect(i int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	// With this option the port is chosen when the destination is known: a source address has 28,000 ports towards
	// each server then, not 28,000 in all.
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
		l.lose(c, err)
		return nil
	}
	event := unix.EpollEvent{Events: unix.EPOLLOUT, Fd: int32(i), Pad: c.generation}
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &event)
}

// serve does what a connection is ready for. That it was closed shows in what a read returns.
func (l *clientLoop) serve(c *client) {
	if c.connecting {
		if err := l.request(c); err != nil {
			l.lose(c, err)
		}
		return
	}
	n, err := unix.Read(int(c.fd), l.buffer)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return
	case err != nil:
		l.lose(c, err)
		return
	case n == 0:
		l.lose(c, errors.New("closed by the server"))
		return
	}
	l.bytes += int64(n)
	l.reads++
	open := c.response.opened()
	l.current, l.at = c, now()
	if err := c.response.feed(l.buffer[:n], l); err != nil {
		l.lose(c, err)
		return
	}
	if !open && c.response.opened() {
		l.pending--
		l.opened++
		record(l.openIn, l.at-c.began)
	}
}

// request sends the request on a connection that is there now.
func (l *clientLoop) request(c *client) error {
	failed, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if failed != 0 {
		return unix.Errno(failed)
	}
	text := append(l.buffer[:0], "GET "...)
	text = append(text, l.opening.Path...)
	if l.opening.Own {
		text = strconv.AppendInt(text, int64(l.opening.First+c.number), 10)
	}
	// What a browser sends, so that reading it is not cheaper here than in use.
	text = append(text, " HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\nCache-Control: no-cache\r\n"+
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36\r\n"+
		"Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\n"...)
	if l.opening.Resume {
		text = append(append(append(text, "Last-Event-ID: "...), c.response.id.bytes()...), "\r\n"...)
	}
	text = append(text, "\r\n"...)
	n, err := unix.Write(int(c.fd), text)
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	if n < len(text) { // a fresh socket has room for a hundred of them
		return fmt.Errorf("request: %d of %d bytes sent", n, len(text))
	}
	c.connecting = false
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(c.number), Pad: c.generation}
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_MOD, int(c.fd), &event)
}

// lose takes note of a stream that the server ended or refused.
func (l *clientLoop) lose(c *client, err error) {
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

// close ends a connection, if there is one. Its descriptor leaves the epoll set by being closed.
func (l *clientLoop) close(c *client) {
	if c.fd >= 0 {
		_ = unix.Close(int(c.fd)) // nothing was written that could be lost
		c.fd = -1
	}
}

// --- what streams carry: clientLoop implements sink -------------------------------------------------------------------

// farthest bounds the number of an event: more are not published.
const farthest = 10_000_000

func (l *clientLoop) event(n int, at int64) {
	if n > farthest {
		l.unreadable()
		return
	}
	c := l.current
	c.cursor = c.ledger.take(c.cursor, n, &l.faults)
	record(l.latency, l.at-at)
	l.events++
	l.total++
}

func (l *clientLoop) unreadable() { l.faults.Unreadable++ }

func (l *clientLoop) gap() { l.faults.Gaps++ }
