//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"sluice/cmd/internal/rig"
)

// run is one trial while it happens: one server, its clients, a publisher, and what they have shown.
type run struct {
	o    options
	w    work
	ps   *rig.Group
	say  func(format string, args ...any)
	show func(seen) // is called while something is waited for

	server    *server
	crowd     *crowd
	publisher publisher // nil once it is closed
	published int       // events per channel

	figures map[string]float64 // by name
	redis   map[string]int64   // commands that Redis ran in the measured part, by name
	faults  faults
	why     string // reason of the first fault
}

// start starts the server that the work is done with, and the processes of its clients, and prepares the publisher.
func (r *run) start(ctx context.Context) error {
	s, err := startServer(ctx, r.ps, r.server.name, r.w, r.o)
	if err != nil {
		return err
	}
	r.server = s
	if r.publisher, err = s.publisher(); err != nil {
		return err
	}
	r.crowd, err = newCrowd(r.ps, r.w.clients, r.show)
	return err
}

// open connects all clients.
func (r *run) open(ctx context.Context, how opening) error {
	r.say("connecting")
	if err := r.crowd.begin(r.server, how); err != nil {
		return err
	}
	return r.crowd.opened(ctx)
}

// renewPublisher replaces the publisher by a new one, with new connections and an empty histogram.
func (r *run) renewPublisher() error {
	err := r.endPublisher()
	if err == nil {
		r.publisher, err = r.server.publisher()
	}
	return err
}

// endPublisher waits until everything is published. It may be called more than once.
func (r *run) endPublisher() error {
	if r.publisher == nil {
		return nil
	}
	err := r.publisher.close()
	r.publisher = nil
	return err
}

// commands returns how many commands Redis has run so far, by name. It returns none for a server without Redis.
func (r *run) commands(ctx context.Context) (map[string]int64, error) {
	if r.server.redis == nil {
		return nil, nil
	}
	return r.server.redis.commands(ctx)
}

// --- readings ------------------------------------------------------------------------------------------------------

// measured is the state of all counters at one moment, or what was added to them in a span of time.
type measured struct {
	at      time.Time
	wall    time.Duration // of the span
	work    time.Duration // the span without the pauses at both ends
	server  cpu
	redis   cpu
	clients cpu
	self    cpu           // of the load command
	busy    time.Duration // of all cores of the machine
	stolen  time.Duration // by the host of a virtual machine
}

// minus returns what was added since n.
func (m measured) minus(n measured) measured {
	return measured{
		wall: m.at.Sub(n.at), server: m.server.minus(n.server), redis: m.redis.minus(n.redis),
		clients: m.clients.minus(n.clients), self: m.self.minus(n.self), busy: m.busy - n.busy, stolen: m.stolen - n.stolen,
	}
}

// read reads all counters.
func (r *run) read() (measured, error) {
	m := measured{at: time.Now()}
	var err error
	if m.server, err = cpuOf(r.server.pids()...); err != nil {
		return m, err
	}
	if r.server.redis != nil {
		if m.redis, err = cpuOf(r.server.redis.Process.Pid()); err != nil {
			return m, err
		}
	}
	if m.clients, err = cpuOf(r.crowd.pids()...); err != nil {
		return m, err
	}
	if m.self, err = cpuOf(os.Getpid()); err != nil {
		return m, err
	}
	m.busy, m.stolen, err = machineBusy()
	return m, err
}

// measure returns what do has added to the counters. Work that a server does a little later, such as collecting
// garbage, is included: the counters are read some time before and after.
func (r *run) measure(ctx context.Context, do func() error) (measured, error) {
	if err := pause(ctx, r.o.settle); err != nil {
		return measured{}, err
	}
	before, err := r.read()
	if err != nil {
		return measured{}, err
	}
	if err := do(); err != nil {
		return measured{}, err
	}
	work := time.Since(before.at)
	if err := pause(ctx, r.o.settle); err != nil {
		return measured{}, err
	}
	after, err := r.read()
	span := after.minus(before)
	span.work = work
	return span, err
}

// weight is what a server needs at one moment.
type weight struct {
	memory
	goroutines float64 // the gateway's
}

// weigh reads the server's weight.
func (r *run) weigh(ctx context.Context) (weight, error) {
	var w weight
	var err error
	// Memory is read first, because the other question makes garbage.
	if w.memory, err = memoryOf(r.server.pids()...); err != nil {
		return w, err
	}
	if isGateway(r.server.name) {
		w.goroutines, err = r.server.metric(ctx, "go_goroutines")
	}
	return w, err
}

// --- figures -------------------------------------------------------------------------------------------------------

// noteDeliveries sets the figures of so many deliveries of so many events.
func (r *run) noteDeliveries(span measured, deliveries, events int) {
	n := float64(deliveries)
	r.figures[figCPU] = microseconds(span.server.total) / n
	r.figures[figKernelShare] = 100 * float64(span.server.system) / float64(max(1, span.server.user+span.server.system))
	r.figures[figDeliveries] = n / span.work.Seconds()
	r.figures[figClientCPU] = microseconds(span.clients.total) / n
	if r.server.redis != nil {
		r.figures[figRedisEvent] = microseconds(span.redis.total) / float64(events)
	}
	r.noteDisturbance(span)
}

// noteDisturbance sets the figures that say how busy the machine was with other things than this trial.
func (r *run) noteDisturbance(span measured) {
	cores := float64(span.wall) * float64(runtime.NumCPU())
	ours := span.server.total + span.redis.total + span.clients.total + span.self.total
	r.figures[figElsewhere] = max(0, 100*float64(span.busy-ours)/cores)
	r.figures[figStolen] = 100 * float64(span.stolen) / cores
}

// judge asks the clients what they have measured and sets those figures. It returns an error that wraps errFaults if
// anything was lost, repeated or out of order.
func (r *run) judge(ctx context.Context) error {
	v, err := r.crowd.audit(ctx, r.published)
	if err != nil {
		return err
	}
	r.faults, r.why = v.faults, v.why
	if v.latency.TotalCount() > 0 {
		r.figures[figP50] = milliseconds(v.latency.ValueAtQuantile(50))
		r.figures[figP99] = milliseconds(v.latency.ValueAtQuantile(99))
		r.figures[figMax] = milliseconds(v.latency.Max())
		r.figures[figPerRead] = float64(v.events) / float64(v.reads)
		r.figures[figBytes] = float64(v.bytes) / float64(v.events)
	}
	if v.opening.TotalCount() > 0 {
		r.figures[figOpenP50] = milliseconds(v.opening.ValueAtQuantile(50))
		r.figures[figOpenP99] = milliseconds(v.opening.ValueAtQuantile(99))
	}
	if !r.faults.none() {
		return fmt.Errorf("%w: %+v %s", errFaults, r.faults, r.why)
	}
	return nil
}

// errFaults is in the error of a trial in which a client missed something.
var errFaults = errors.New("events were lost, repeated or out of order")

// microseconds returns d in microseconds.
func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// milliseconds converts a value of a histogram, which counts microseconds, to milliseconds.
func milliseconds(micros int64) float64 { return float64(micros) / 1000 }
