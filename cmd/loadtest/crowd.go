//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"sluice/cmd/internal/rig"
)

// clientsPerProcess is the most clients of one process. It keeps a process well below its limit of file descriptors,
// and spreads the clients over the cores of a larger machine.
const clientsPerProcess = 8_000

// Limits of waiting for clients.
const (
	stallLimit  = 15 * time.Second // without any progress
	answerLimit = 30 * time.Second // for the answer to an order
	openAtOnce  = 128              // connections that may be opening at the same time
)

// crowd is all clients of a trial, as the load command sees them. They live in client processes.
type crowd struct {
	members []*member
	clients int
	changed chan struct{} // holds a token when a member has reported something new
	show    func(seen)    // is called while waiting
	stall   time.Duration // after so long without progress something is lost
}

// member is one client process.
type member struct {
	process *rig.Process
	first   int // number of its first client
	clients int
	answers chan note // all notes except progress; closed when no more will come

	mu     sync.Mutex
	latest note  // the newest progress; guarded by mu
	err    error // why no more notes will come; guarded by mu
}

// seen is how far the clients are.
type seen struct {
	opened int
	all    int   // events of the shared channel that every client has received
	total  int64 // deliveries, all clients together
	ended  int   // loose clients that have reached the goal
}

// newCrowd starts the processes of so many clients. The crowd must be closed after an error, too.
func newCrowd(ps *rig.Group, clients int, show func(seen)) (*crowd, error) {
	c := &crowd{clients: clients, changed: make(chan struct{}, 1), show: show, stall: stallLimit}
	processes := (clients + clientsPerProcess - 1) / clientsPerProcess
	for i := range processes {
		p, err := startRole(ps, "clients-"+strconv.Itoa(i+1), "clients")
		if err != nil {
			return c, err
		}
		first := clients * i / processes
		m := &member{process: p, first: first, clients: clients*(i+1)/processes - first, answers: make(chan note, 1)}
		c.members = append(c.members, m)
		go m.listen(c.changed) // ends with the process; close waits for it
	}
	return c, nil
}

// listen reads the notes of a process until its output ends.
func (m *member) listen(changed chan<- struct{}) {
	lines := bufio.NewScanner(m.process.Out)
	lines.Buffer(nil, 4<<20) // an audit has two histograms in it
	for lines.Scan() {
		var n note
		if err := json.Unmarshal(lines.Bytes(), &n); err != nil {
			m.end(err, changed)
			return
		}
		if n.Say != "progress" {
			m.answers <- n
			continue
		}
		m.mu.Lock()
		m.latest = n
		m.mu.Unlock()
		wake(changed)
	}
	m.end(errors.Join(errors.New("a client process has ended"), lines.Err()), changed)
}

// end records that no more notes will come.
func (m *member) end(err error, changed chan<- struct{}) {
	m.mu.Lock()
	m.err = err
	m.mu.Unlock()
	close(m.answers)
	wake(changed)
}

// wake puts a token into changed, unless there is one already.
func wake(changed chan<- struct{}) {
	select {
	case changed <- struct{}{}:
	default:
	}
}

// close waits until nothing listens to the client processes any more. The processes must have ended.
func (c *crowd) close() {
	for _, m := range c.members {
		for range m.answers { // an answer that nobody has waited for must not block the listener
		}
	}
}

// pids returns the ids of the client processes.
func (c *crowd) pids() []int {
	var pids []int
	for _, m := range c.members {
		pids = append(pids, m.process.Pid())
	}
	return pids
}

// tell sends each member the order that orderFor returns for it.
func (c *crowd) tell(orderFor func(i int, m *member) order) error {
	for i, m := range c.members {
		text, err := json.Marshal(orderFor(i, m))
		if err != nil {
			return err
		}
		if _, err := m.process.In.Write(append(text, '\n')); err != nil {
			return fmt.Errorf("order to a client process: %w", err)
		}
	}
	return nil
}

// hear waits for an answer of each member, which must be the one called say.
func (c *crowd) hear(ctx context.Context, limit time.Duration, say string) ([]note, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var notes []note
	for _, m := range c.members {
		select {
		case n, ok := <-m.answers:
			if !ok {
				return nil, m.err
			}
			if n.Say != say {
				return nil, fmt.Errorf("a client process answered %q, expected %q", n.Say, say)
			}
			notes = append(notes, n)
		case <-ctx.Done():
			return nil, fmt.Errorf("no answer from a client process: %w", ctx.Err())
		}
	}
	return notes, nil
}

// ask sends an order to all members and waits for their answers.
func (c *crowd) ask(ctx context.Context, o order, answer string) ([]note, error) {
	if err := c.tell(func(int, *member) order { return o }); err != nil {
		return nil, err
	}
	return c.hear(ctx, answerLimit, answer)
}

// opening says how the clients are to connect.
type opening struct {
	channels int           // how many channels the clients are spread over; 0: all read the shared one
	own      string        // path of the streams if each client reads a channel of its own too: its number is appended; else empty
	modulo   int           // with own: the number's remainder is appended; 0: the number itself
	each     int           // how many channels of its own each client reads, whose names are appended to own; 0: none
	loose    time.Duration // after which clients come back whose streams have ended: see loose.go; 0: they do not
	resume   bool          // send the Last-Event-ID
	rate     float64       // connections per second at most; 0: no limit except openAtOnce
}

// begin tells all clients to connect to a server. opened waits until they have.
func (c *crowd) begin(s *server, how opening) error {
	n := float64(len(c.members))
	return c.tell(func(i int, m *member) order {
		path := s.path
		switch {
		case how.own != "":
			path = how.own
		case how.channels > 0:
			path += "-"
		}
		return order{Do: "open", Open: &openOrder{
			Addrs: s.addrs, Path: path, Own: how.own != "", Modulo: how.modulo, Each: how.each, Loose: int(how.loose.Milliseconds()),
			Channels: how.channels, First: m.first, Clients: m.clients, Source: i,
			Rate: how.rate / n, AtOnce: int(math.Ceil(openAtOnce / n)), Resume: how.resume,
		}}
	})
}

// opened waits until all clients are connected. It is an error if some are refused.
func (c *crowd) opened(ctx context.Context) error {
	if err := c.await(ctx, func(s seen) bool { return s.opened == c.clients }); err != nil {
		return err
	}
	_, err := c.hear(ctx, answerLimit, "opened")
	return err
}

// await waits until enough returns true. It returns a streamError if the server has refused or ended a stream, and an
// error that wraps errStalled if there is no progress for too long.
func (c *crowd) await(ctx context.Context, enough func(seen) bool) error {
	stall := time.NewTimer(c.stall)
	defer stall.Stop()
	before := seen{}
	for {
		s, err := c.seen()
		if err != nil {
			return err
		}
		if enough(s) {
			return nil
		}
		if s != before {
			before = s
			stall.Reset(c.stall)
		}
		c.show(s)
		select {
		case <-c.changed:
		case <-stall.C:
			return fmt.Errorf("%w: %d of %d clients open, %d events with all of them, %d deliveries",
				errStalled, s.opened, c.clients, s.all, s.total)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// errStalled is in the error when there was no progress for too long: an event is lost, or a server hangs.
var errStalled = errors.New("no progress for too long")

// seen returns how far the clients are. It returns a streamError if a stream was refused or ended.
func (c *crowd) seen() (seen, error) {
	s := seen{all: math.MaxInt}
	for _, m := range c.members {
		m.mu.Lock()
		latest, err := m.latest, m.err
		m.mu.Unlock()
		if err != nil {
			return s, err
		}
		if f := latest.Faults; f != nil {
			return s, &streamError{refused: f.Refused, dropped: f.Dropped, why: latest.Why}
		}
		s.opened += latest.Opened
		s.all = min(s.all, latest.All)
		s.total += latest.Total
		s.ended += latest.Ended
	}
	return s, nil
}

// streamError says that streams were refused or ended by the server.
type streamError struct {
	refused, dropped int64
	why              string // of the first one
}

func (e *streamError) Error() string {
	return fmt.Sprintf("%d streams refused and %d ended by the server; the first: %s", e.refused, e.dropped, e.why)
}

// cut closes all connections at once.
func (c *crowd) cut(ctx context.Context) error {
	if _, err := c.ask(ctx, order{Do: "cut"}, "cut"); err != nil {
		return err
	}
	for _, m := range c.members {
		m.mu.Lock()
		m.latest.Opened = 0 // what it said last was before the cut
		m.mu.Unlock()
	}
	return nil
}

// mark resets the clients' times and counts. They still know which events they have received.
func (c *crowd) mark(ctx context.Context) error {
	_, err := c.ask(ctx, order{Do: "mark"}, "marked")
	return err
}

// finish tells loose clients which event is the last one, goal-1, and waits until all of them have it or a later one.
func (c *crowd) finish(ctx context.Context, goal int) error {
	if _, err := c.ask(ctx, order{Do: "goal", Events: goal}, "goal"); err != nil {
		return err
	}
	return c.await(ctx, func(s seen) bool { return s.ended == c.clients })
}

// verdict is what all clients have measured since the mark, and all their faults.
type verdict struct {
	faults  faults
	loose   looseCounts
	why     string
	events  int64
	bytes   int64
	reads   int64
	latency *hdrhistogram.Histogram
	opening *hdrhistogram.Histogram
}

// audit asks the clients for a verdict, after so many events were published per channel.
func (c *crowd) audit(ctx context.Context, events int) (verdict, error) {
	v := verdict{latency: newHistogram(), opening: newHistogram()}
	notes, err := c.ask(ctx, order{Do: "audit", Events: events}, "audit")
	if err != nil {
		return v, err
	}
	orders := make(map[int]uint64)
	for _, n := range notes {
		a := n.Audit
		v.faults.add(a.Faults)
		v.loose.add(a.Loose)
		v.events += a.Events
		v.bytes += a.Bytes
		v.reads += a.Reads
		if v.why == "" {
			v.why = n.Why
		}
		for channel, sum := range a.Order {
			if other, known := orders[channel]; known && sum != other {
				v.faults.Disordered++ // two processes saw different orders
			}
			orders[channel] = sum
		}
		for _, part := range []struct {
			text []byte
			into *hdrhistogram.Histogram
		}{{a.Latency, v.latency}, {a.Opening, v.opening}} {
			h, err := hdrhistogram.Decode(part.text)
			if err != nil {
				return v, fmt.Errorf("histogram of a client process: %w", err)
			}
			part.into.Merge(h)
		}
	}
	return v, nil
}
