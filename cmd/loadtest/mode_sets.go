//go:build linux

package main

import "context"

// The trials of the mode sets.
const (
	setsPaced = "one at a time"
	setsBurst = "64 under way"
	setsAlone = "one at a time, shared channel alone"
)

func setsMode() mode {
	return mode{
		name:  "sets",
		about: "each client reads the shared channel and one of its own; events on the shared one",
		works: func(o options) []work {
			clients := o.size(5000)
			return []work{
				{label: setsPaced, clients: clients, events: o.number(100), replicas: 1, servers: []string{floorServer, gatewayServer}},
				{label: setsBurst, clients: clients, events: o.number(320), replicas: 1, servers: []string{floorServer, gatewayServer}},
				{label: setsAlone, clients: clients, events: o.number(100), replicas: 1, servers: []string{gatewayServer}},
			}
		},
		run:     runSets,
		key:     figCPU,
		ratios:  []string{floorServer},
		columns: append([]string{figMemory}, fanOutColumns()...),
	}
}

// runSets does one trial. The floor knows one channel only: to it, the clients of all trials are the same.
func runSets(ctx context.Context, r *run) error {
	window := 1
	if r.w.label == setsBurst {
		window = burstWindow
	}
	how := opening{rate: openRate}
	if isGateway(r.server.name) && r.w.label != setsAlone {
		how.own = setsPath()
	}
	return r.weighAndFanOut(ctx, how, window)
}

// setsPath returns the beginning of the path of a stream of the shared channel and one of the client's own.
func setsPath() string {
	return "/api/sse?channels=" + channelName(sharedChannel) + "," + channelName(sharedChannel) + "-"
}

// weighAndFanOut opens all clients' streams, weighs them, and then does what fanOut does: so many events of the shared
// channel are under way.
func (r *run) weighAndFanOut(ctx context.Context, how opening, window int) error {
	if err := r.start(ctx); err != nil {
		return err
	}
	if err := r.openAndWeigh(ctx, how); err != nil {
		return err
	}
	if err := r.renewPublisher(); err != nil { // the server may have closed its idle connections
		return err
	}
	r.say("warming up")
	if err := r.publish(ctx, max(5, r.w.events/10), window); err != nil {
		return err
	}
	span, err := r.measurePublish(ctx, window)
	if err != nil {
		return err
	}
	r.noteDeliveries(span, r.w.events*r.w.clients, r.w.events)
	return r.judge(ctx)
}
