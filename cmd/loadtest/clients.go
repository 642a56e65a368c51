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
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// controlTag marks the standard input in the epoll set, where a connection has its client's number.
const controlTag = -1

// client is one EventSource: its connection, and what it keeps from one connection to the next.
type client struct {
	response   response
	ledger     *ledger
	number     int   // its index in clientLoop.clients
	cursor     int   // the place in ledger of the event that should come next
	began      int64 // when the connection was begun
	fd         int32 // -1: there is no connection
	generation int32 // of the connection: tells a report of epoll about it from one about its predecessor
	connecting bool
}

// clientLoop is all clients of one process in one thread: one epoll set, no goroutines, no locks. It must be cheap,
// because it shares the machine with the servers that are measured.
type clientLoop struct {
	epoll   int
	out     io.Writer
	control *control
	buffer  []byte
	clients []client
	shared  *ledger         // of the shared channel; nil if clients have channels of their own
	ledgers map[int]*ledger // by channel

	opening openOrder
	addrs   []unix.Sockaddr
	next    int       // the client to open next; len(clients): all connections have begun
	began   time.Time // when the order came
	pending int       // connections that have begun and are not open yet
	opened  int       // streams that are open
	told    bool      // the load command knows that all have been opened

	current *client // whose bytes are being read
	at      int64   // when they were read

	loose looseClients

	faults  faults
	why     string
	latency *hdrhistogram.Histogram // from publish to read
	openIn  *hdrhistogram.Histogram // from connect to the end of the response's head
	events  int64                   // since the mark, as bytes and reads
	bytes   int64
	reads   int64
	total   int64 // events since the start
	said    note  // the last progress that was sent
	saidAt  time.Time
	unsaid  bool // there is progress that was not sent yet
}

// runClients is the role clients. It carries out the orders that come from in until in ends.
func runClients(in *os.File, out io.Writer) error {
	// The loop is all that this process does, so one thread is enough.
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
	if l.control, err = newControl(in); err != nil {
		return err
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: controlTag}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, l.control.fd, &event); err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	return l.run()
}

func (l *clientLoop) run() error {
	ready := make([]unix.EpollEvent, 1024)
	for {
		n, err := unix.EpollWait(l.epoll, ready, l.sleepLimit())
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait: %w", err)
		}
		for _, e := range ready[:max(n, 0)] {
			if e.Fd == controlTag {
				if err := l.readOrders(); err != nil {
					if errors.Is(err, io.EOF) {
						return nil
					}
					return err
				}
				continue
			}
			// A connection that was closed in this round may still be in the list, and its number may be used again.
			if c := &l.clients[e.Fd]; c.generation == e.Pad && c.fd >= 0 {
				l.serve(c, e.Events)
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

// sleepLimit is how long the loop may sleep, in milliseconds; -1 means that there is no limit.
func (l *clientLoop) sleepLimit() int {
	if l.next < len(l.clients) && l.pending < l.opening.AtOnce {
		return 2 // the rate does not allow the next connection yet
	}
	if len(l.loose.back) > 0 {
		return int(comeBackEvery / time.Millisecond)
	}
	if l.unsaid {
		return int(noteEvery / time.Millisecond)
	}
	return -1
}

// --- orders --------------------------------------------------------------------------------------------------------

// readOrders reads orders and carries them out. It returns io.EOF when no more will come.
func (l *clientLoop) readOrders() error {
	if err := l.control.read(l.buffer); err != nil {
		return err
	}
	for {
		line, rest, whole := bytes.Cut(l.control.input, []byte{'\n'})
		if !whole {
			return nil
		}
		var o order
		if err := json.Unmarshal(line, &o); err != nil {
			return fmt.Errorf("order %.80q: %w", line, err)
		}
		l.control.input = rest
		if err := l.do(o); err != nil {
			return fmt.Errorf("%s: %w", o.Do, err)
		}
	}
}

// do carries out one order.
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
	case "goal":
		l.setGoal(o.Events)
		return l.say(note{Say: "goal"})
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
		return errors.New("unknown order")
	}
}

// open prepares the clients, and the addresses that they connect to. openMore connects them.
func (l *clientLoop) open(o openOrder) error {
	l.addrs = nil
	for _, text := range o.Addrs {
		a, err := netip.ParseAddrPort(text)
		if err != nil {
			return err
		}
		if !a.Addr().IsLoopback() || !a.Addr().Is4() {
			return fmt.Errorf("%s is not an IPv4 loopback address; load goes only to loopback addresses", text)
		}
		l.addrs = append(l.addrs, &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())})
	}
	if l.clients == nil {
		l.clients = make([]client, o.Clients)
		l.ledgers = make(map[int]*ledger)
		for i := range l.clients {
			c := &l.clients[i]
			channel := channelOf(o, i)
			c.fd, c.number, c.ledger = -1, i, l.ledgers[channel]
			if c.ledger == nil {
				c.ledger = &ledger{}
				l.ledgers[channel] = c.ledger
			}
			c.ledger.clients++
		}
		if o.Channels == 0 {
			l.shared = l.ledgers[sharedChannel]
		}
	}
	l.opening, l.next, l.began, l.told = o, 0, time.Now(), false
	return nil
}

// channelOf returns the channel of a process's i-th client.
func channelOf(o openOrder, i int) int {
	if o.Channels == 0 {
		return sharedChannel
	}
	return (o.First + i) % o.Channels
}

// audit counts what is missing after so many events per channel, and returns it with everything that was measured since
// the mark.
func (l *clientLoop) audit(events int) (*audit, error) {
	a := &audit{Faults: l.faults, Loose: l.loose.looseCounts, Events: l.events, Bytes: l.bytes, Reads: l.reads}
	cursors := make(map[*ledger][]int)
	for i := range l.clients {
		c := &l.clients[i]
		cursors[c.ledger] = append(cursors[c.ledger], c.cursor)
	}
	a.Order = make(map[int]uint64, len(l.ledgers))
	for channel, ledger := range l.ledgers {
		if l.opening.Loose > 0 || l.opening.Each > 0 {
			break // what these clients must receive is not known here
		}
		ledger.audit(events, cursors[ledger], &a.Faults)
		a.Order[channel] = ledger.sum()
	}
	var err error
	if a.Latency, err = encodeHistogram(l.latency); err != nil {
		return nil, err
	}
	a.Opening, err = encodeHistogram(l.openIn)
	return a, err
}

// --- notes ---------------------------------------------------------------------------------------------------------

// say sends a note to the load command.
func (l *clientLoop) say(n note) error {
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	_, err = l.out.Write(append(text, '\n'))
	return err
}

// noteEvery is the time between two notes that nobody is waiting for.
const noteEvery = 100 * time.Millisecond

// progress tells the load command how far the clients are. It does so at once if the publisher or the load command may
// be waiting for this, otherwise once per noteEvery.
func (l *clientLoop) progress() error {
	n := note{Say: "progress", Opened: l.opened, Total: l.total, Ended: l.loose.ended}
	if l.shared != nil {
		n.All = l.shared.all
	}
	if l.faults.Dropped > 0 || l.faults.Refused > 0 {
		n.Why, n.Faults = l.why, &faults{Dropped: l.faults.Dropped, Refused: l.faults.Refused}
	}
	done := !l.told && l.next == len(l.clients) && l.pending == 0
	urgent := done || n.All != l.said.All || n.Ended != l.said.Ended || l.shared == nil && n.Total != l.said.Total ||
		n.Faults != nil && l.said.Faults == nil
	l.unsaid = n.Opened != l.said.Opened || n.Total != l.said.Total
	if urgent || l.unsaid && time.Since(l.saidAt) > noteEvery {
		l.said, l.saidAt, l.unsaid = n, time.Now(), false
		if err := l.say(n); err != nil {
			return err
		}
	}
	if done {
		l.told = true
		return l.say(note{Say: "opened", Opened: l.opened, Why: l.why})
	}
	return nil
}

// --- what streams carry; with these methods a clientLoop is a sink -------------------------------------------------

// farthest is the largest number of an event that a client believes. No run publishes so many.
const farthest = 10_000_000

func (l *clientLoop) event(n int, at int64) {
	if n > farthest {
		l.unreadable()
		return
	}
	c := l.current
	if l.opening.Loose > 0 {
		l.looseEvent(c, n)
		return
	}
	c.cursor = c.ledger.receive(c.cursor, n, &l.faults)
	record(l.latency, l.at-at)
	l.events++
	l.total++
}

func (l *clientLoop) unreadable() { l.faults.Unreadable++ }

func (l *clientLoop) gap() {
	if l.opening.Loose > 0 {
		l.loose.Gaps++
		return
	}
	l.faults.Gaps++
}
