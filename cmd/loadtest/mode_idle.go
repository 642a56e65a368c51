//go:build linux

package main

import (
	"context"
	"time"
)

// openRate is how many clients per second connect in modes that do not measure connecting.
const openRate = 4000

func idleMode() mode {
	return mode{
		name:  "idle",
		about: "memory and goroutines of idle streams",
		works: func(o options) []work {
			return []work{{clients: o.size(15_000), replicas: 1, servers: everyServer()}}
		},
		run: func(ctx context.Context, r *run) error {
			if err := r.start(ctx); err != nil {
				return err
			}
			if err := r.openAndWeigh(ctx, opening{rate: openRate}); err != nil {
				return err
			}
			return r.judge(ctx)
		},
		key:     figMemory,
		ratios:  []string{naiveServer},
		columns: []string{figMemory, figMemoryPeak, figResident, figGoroutines, figIdleCPU},
	}
}

// openAndWeigh connects all clients and sets the figures of what they cost while nothing happens.
func (r *run) openAndWeigh(ctx context.Context, how opening) error {
	if err := pause(ctx, 2*r.o.settle); err != nil {
		return err
	}
	before, err := r.weigh(ctx)
	if err != nil {
		return err
	}
	if err := r.open(ctx, how); err != nil {
		return err
	}
	peak, err := r.weigh(ctx)
	if err != nil {
		return err
	}
	span, err := r.holdStill(ctx)
	if err != nil {
		return err
	}
	after, err := r.weigh(ctx)
	if err != nil {
		return err
	}
	perStream := func(bytes int64) float64 { return float64(bytes) / 1024 / float64(r.w.clients) }
	r.figures[figMemory] = perStream(after.pss - before.pss)
	r.figures[figMemoryPeak] = perStream(peak.pss - before.pss)
	r.figures[figResident] = perStream(after.rss - before.rss)
	if isGateway(r.server.name) {
		r.figures[figGoroutines] = (after.goroutines - before.goroutines) / float64(r.w.clients)
	}
	wall := max(span.wall, time.Millisecond)
	r.figures[figIdleCPU] = 100 * float64(span.server.total) / float64(wall)
	if isGateway(r.server.name) {
		r.figures[figRedisIdle] = 100 * float64(span.redis.total) / float64(wall)
		r.figures[figRedisRate] = float64(sum(r.redis)) / wall.Seconds()
	}
	r.noteDisturbance(span)
	return nil
}

// holdStill leaves the clients alone for as long as the options say, and returns what the servers did meanwhile. It also
// notes the commands that Redis ran.
func (r *run) holdStill(ctx context.Context) (measured, error) {
	before, err := r.commands(ctx)
	if err != nil {
		return measured{}, err
	}
	from, err := r.read()
	if err != nil {
		return measured{}, err
	}
	r.say("holding")
	if err := pause(ctx, r.o.hold); err != nil {
		return measured{}, err
	}
	to, err := r.read()
	if err != nil {
		return measured{}, err
	}
	after, err := r.commands(ctx)
	r.redis = since(after, before)
	return to.minus(from), err
}
