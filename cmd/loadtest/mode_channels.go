//go:build linux

package main

import "context"

func channelsMode() mode {
	return mode{
		name:  "channels",
		about: "a channel per client: memory, and one event to each",
		works: func(o options) []work {
			return []work{{clients: o.size(15_000), events: 1, replicas: 1, servers: everyServer()}}
		},
		run:    runChannels,
		key:    figMemory,
		ratios: []string{naiveServer},
		columns: []string{
			figMemory, figMemoryPeak, figGoroutines, figSubscribes, figCPU, figP50, figP99, figDeliveries,
		},
	}
}

func runChannels(ctx context.Context, r *run) error {
	if err := r.start(ctx); err != nil {
		return err
	}
	before, err := r.commands(ctx)
	if err != nil {
		return err
	}
	if err := r.openAndWeigh(ctx, opening{channels: r.w.clients, rate: openRate}); err != nil {
		return err
	}
	after, err := r.commands(ctx)
	if err != nil {
		return err
	}
	if r.server.redis != nil {
		r.figures[figSubscribes] = float64(since(after, before)["subscribe"])
		r.redis = since(after, before)
	}
	if err := r.renewPublisher(); err != nil { // the server may have closed its idle connections
		return err
	}
	r.say("publishing")
	if err := r.crowd.mark(ctx); err != nil {
		return err
	}
	span, err := r.measure(ctx, func() error { return r.publishOwn(ctx, r.w.events) })
	if err != nil {
		return err
	}
	r.noteDeliveries(span, r.w.events*r.w.clients, r.w.events*r.w.clients)
	return r.judge(ctx)
}

// publishOwn publishes n events to the channel of each client, one channel after the other, and waits until they have
// arrived. At most burstWindow events are under way.
func (r *run) publishOwn(ctx context.Context, n int) error {
	sent := 0
	arrived := func(least int) func(seen) bool {
		return func(s seen) bool { return s.total >= int64(least) }
	}
	for range n {
		for channel := range r.w.clients {
			if err := r.crowd.await(ctx, arrived(sent-burstWindow+1)); err != nil {
				return err
			}
			if err := r.publisher.publish(ctx, channel, r.published); err != nil {
				return err
			}
			sent++
		}
		r.published++
	}
	return r.crowd.await(ctx, arrived(sent))
}
