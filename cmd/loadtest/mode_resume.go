//go:build linux

package main

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// Events of a resume trial, per channel. Together they are fewer than a history keeps by default, so no client may miss
// one.
const (
	eventsBefore = 20
	eventsAway   = 40 // while no client is connected
	eventsDuring = 10 // while the clients reconnect
)

func resumeMode() mode {
	return mode{
		name:  "resume",
		about: "all clients are disconnected at once, and reconnect with their Last-Event-ID",
		works: func(o options) []work {
			var all []work
			for _, channels := range []int{1, 100} {
				clients := o.size(15_000)
				w := work{
					label: "1 channel", clients: clients, channels: min(channels, clients),
					events: eventsBefore + eventsAway + eventsDuring, replicas: 1, servers: []string{gatewayServer},
				}
				if channels > 1 {
					w.label = fmt.Sprintf("%d channels", channels)
				}
				all = append(all, w)
			}
			// What these clients have missed is too large to be sent at once.
			far := all[0]
			far.clients, far.bytes = o.size(3000), 16<<10
			far.label = fmt.Sprintf("%s clients %d KiB behind", thousands(far.clients), eventsAway*far.bytes>>10)
			return append(all, far)
		},
		run: runResume,
		key: figCPUResume,
		columns: []string{
			figCaughtUp, figConnects, figCPUResume, figRedisCommands, figRedisPerChannel, figOpenP50, figOpenP99,
		},
	}
}

func runResume(ctx context.Context, r *run) error {
	r.o.publish = "post" // a raw message is stored only while a client reads the channel, and for a while none does
	r.o.bytes = cmp.Or(r.w.bytes, r.o.bytes)
	if err := r.start(ctx); err != nil {
		return err
	}
	if err := r.open(ctx, opening{channels: r.w.channels, rate: openRate}); err != nil {
		return err
	}
	if err := r.publishBlind(ctx, eventsBefore); err != nil {
		return err
	}
	if err := r.awaitTotal(ctx); err != nil {
		return err
	}
	if err := r.crowd.mark(ctx); err != nil {
		return err
	}
	before, err := r.commands(ctx)
	if err != nil {
		return err
	}
	var back time.Duration
	span, err := r.measure(ctx, func() error {
		back, err = r.cutAndReconnect(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if err := r.crowd.opened(ctx); err != nil {
		return err
	}
	after, err := r.commands(ctx)
	if err != nil {
		return err
	}
	r.redis = since(after, before)
	r.figures[figRedisCommands] = float64(sum(r.redis))
	r.figures[figRedisPerChannel] = float64(sum(r.redis)) / float64(r.w.channels)
	r.figures[figCaughtUp] = back.Seconds()
	r.figures[figConnects] = float64(r.w.clients) / back.Seconds()
	r.figures[figCPUResume] = microseconds(span.server.total) / float64(r.w.clients)
	r.noteDisturbance(span)
	return r.judge(ctx)
}

// cutAndReconnect disconnects all clients, and has them reconnect after more events were published. It returns how long
// it took from the first reconnect until every client has received everything.
func (r *run) cutAndReconnect(ctx context.Context) (time.Duration, error) {
	r.say("reconnecting")
	if err := r.crowd.cut(ctx); err != nil {
		return 0, err
	}
	if err := r.publishBlind(ctx, eventsAway); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := r.crowd.begin(r.server, opening{channels: r.w.channels, resume: true}); err != nil {
		return 0, err
	}
	for i := range eventsDuring {
		some := r.w.clients * (i + 1) / (eventsDuring + 1)
		if err := r.crowd.await(ctx, func(s seen) bool { return s.opened >= some }); err != nil {
			return 0, err
		}
		if err := r.publishBlind(ctx, 1); err != nil {
			return 0, err
		}
	}
	err := r.awaitTotal(ctx)
	return time.Since(began), err
}

// publishBlind publishes n events to each channel without waiting for them to arrive.
func (r *run) publishBlind(ctx context.Context, n int) error {
	for range n {
		for channel := range r.w.channels {
			if err := r.publisher.publish(ctx, channel, r.published); err != nil {
				return err
			}
		}
		r.published++
	}
	return nil
}

// awaitTotal waits until every client has received all events of its channel.
func (r *run) awaitTotal(ctx context.Context) error {
	return r.crowd.await(ctx, func(s seen) bool { return s.total >= int64(r.published)*int64(r.w.clients) })
}
