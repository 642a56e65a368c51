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

// controlTag stands in the epoll set for the orders, in place of a client's number.
const controlTag = -1

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
	control *control
	buffer  []byte
	clients []client
	shared  *ledger         // nil: several channels
	ledgers map[int]*ledger // by channel

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
	unsaid  bool // there is news that can wait
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
		n, err := unix.EpollWait(l.epoll, ready, l.patience())
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait: %w", err)
		}
		for _, e := range ready[:max(n, 0)] {
			if e.Fd == controlTag {
				if err := l.obey(); err != nil {
					if errors.Is(err, io.EOF) {
						return nil
					}
					return err
				}
				continue
			}
			// A connection that was closed in this round may be in it still, and its number taken again.
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

// patience is how long the loop may sleep, in milliseconds.
func (l *clientLoop) patience() int {
	if l.next < len(l.clients) && l.pending < l.opening.AtOnce {
		return 2 // the rate holds the next one back
	}
	if l.unsaid {
		return int(noteEvery / time.Millisecond)
	}
	return -1
}

// --- orders --------------------------------------------------------------------------------------------------------

// obey reads orders and carries them out. It returns io.EOF when there will be no more.
func (l *clientLoop) obey() error {
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

// audit counts what is missing, and returns it with everything seen since the mark.
func (l *clientLoop) audit(events int) (*audit, error) {
	a := &audit{Faults: l.faults, Events: l.events, Bytes: l.bytes, Reads: l.reads}
	cursors := make(map[*ledger][]int)
	for i := range l.clients {
		c := &l.clients[i]
		cursors[c.ledger] = append(cursors[c.ledger], c.cursor)
	}
	a.Order = make(map[int]uint64, len(l.ledgers))
	for channel, ledger := range l.ledgers {
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

func (l *clientLoop) say(n note) error {
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	_, err = l.out.Write(append(text, '\n'))
	return err
}

// noteEvery is the time between two notes that nobody waits for.
const noteEvery = 100 * time.Millisecond

// progress says how far the clients are: at once if it is something that an event's publisher or the load command waits
// for, else ten times a second.
func (l *clientLoop) progress() error {
	n := note{Say: "progress", Opened: l.opened, Total: l.total}
	if l.shared != nil {
		n.All = l.shared.all
	}
	if l.faults.Dropped > 0 || l.faults.Refused > 0 {
		n.Why, n.Faults = l.why, &faults{Dropped: l.faults.Dropped, Refused: l.faults.Refused}
	}
	done := !l.told && l.next == len(l.clients) && l.pending == 0
	urgent := done || n.All != l.said.All || l.shared == nil && n.Total != l.said.Total ||
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

// --- what streams carry: clientLoop implements sink ----------------------------------------------------------------

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
