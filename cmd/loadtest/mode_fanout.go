//go:build linux

package main

import "context"

// burstWindow is how many events are under way in burst: they are published, and some client has not received them yet.
const burstWindow = 64

func pacedMode() mode {
	return mode{
		name:  "paced",
		about: "one event at a time to all clients",
		works: func(o options) []work {
			return []work{{clients: o.size(5000), events: o.number(100), replicas: 1, servers: everyServer()}}
		},
		run:     func(ctx context.Context, r *run) error { return r.fanOut(ctx, 1) },
		key:     figCPU,
		ratios:  bothRatios(),
		columns: fanOutColumns(),
	}
}

func burstMode() mode {
	return mode{
		name:  "burst",
		about: "64 events under way to all clients",
		works: func(o options) []work {
			return []work{{clients: o.size(5000), events: o.number(320), replicas: 1, servers: everyServer()}}
		},
		run:     func(ctx context.Context, r *run) error { return r.fanOut(ctx, burstWindow) },
		key:     figCPU,
		ratios:  bothRatios(),
		columns: fanOutColumns(),
	}
}

// fanOutColumns returns the figures of the modes in which every client receives every event.
func fanOutColumns() []string {
	return []string{figCPU, figKernelShare, figP50, figP99, figDeliveries, figPerRead, figRedisEvent}
}

// fanOut does one trial in which all clients read one channel, with so many events under way.
func (r *run) fanOut(ctx context.Context, window int) error {
	if err := r.start(ctx); err != nil {
		return err
	}
	if err := r.open(ctx, opening{rate: openRate}); err != nil {
		return err
	}
	r.say("warming up")
	// The warm-up fills the caches of the processor and the memory of the servers.
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

// measurePublish publishes the measured events to the shared channel, and returns what that has cost.
func (r *run) measurePublish(ctx context.Context, window int) (measured, error) {
	if err := r.crowd.mark(ctx); err != nil {
		return measured{}, err
	}
	r.say("publishing")
	return r.measure(ctx, func() error { return r.publish(ctx, r.w.events, window) })
}

// publish publishes n events to the shared channel and waits until all clients have received them. At most window
// events are under way.
func (r *run) publish(ctx context.Context, n, window int) error {
	for range n {
		if err := r.awaitAll(ctx, r.published-window+1); err != nil {
			return err
		}
		if err := r.publisher.publish(ctx, sharedChannel, r.published); err != nil {
			return err
		}
		r.published++
	}
	return r.awaitAll(ctx, r.published)
}

// awaitAll waits until every client has received so many events of the shared channel.
func (r *run) awaitAll(ctx context.Context, events int) error {
	return r.crowd.await(ctx, func(s seen) bool { return s.all >= events })
}
