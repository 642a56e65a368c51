//go:build linux

package main

import (
	"context"
	"time"
)

// Events of a resume trial. Together they are fewer than the gateway's history keeps by default: nobody may miss one.
const (
	eventsBefore = 20
	eventsAway   = 40 // while nobody is connected
	eventsDuring = 10 // while the clients come back
)

func resumeMode() mode {
	return mode{
		name:  "resume",
		about: "all clients are cut at once, and come back with their Last-Event-ID",
		works: func(o options) []work {
			return []work{{
				clients: o.size(15_000), events: eventsBefore + eventsAway + eventsDuring, replicas: 1,
				servers: []string{gatewayServer},
			}}
		},
		run:     runResume,
		columns: []string{figCaughtUp, figConnects, figCPUResume, figRedisCommands, figOpenP50, figOpenP99},
	}
}

func runResume(ctx context.Context, r *rig) error {
	r.o.publish = "post" // a raw PUBLISH is stored while somebody watches, and here nobody does for a while
	if err := r.start(ctx); err != nil {
		return err
	}
	if err := r.open(ctx, opening{rate: openRate}); err != nil {
		return err
	}
	if err := r.publish(ctx, eventsBefore, 1); err != nil {
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
		r.say("coming back")
		if err := r.crowd.cut(ctx); err != nil {
			return err
		}
		if err := r.publishBlind(ctx, eventsAway); err != nil {
			return err
		}
		began := time.Now()
		defer func() { back = time.Since(began) }()
		if err := r.crowd.begin(r.server, opening{resume: true}); err != nil {
			return err
		}
		for i := range eventsDuring {
			some := r.w.clients * (i + 1) / (eventsDuring + 1)
			if err := r.crowd.await(ctx, func(s seen) bool { return s.opened >= some }); err != nil {
				return err
			}
			if err := r.publishBlind(ctx, 1); err != nil {
				return err
			}
		}
		return r.awaitAll(ctx, r.published)
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
	r.figures[figCaughtUp] = back.Seconds()
	r.figures[figConnects] = float64(r.w.clients) / back.Seconds()
	r.figures[figCPUResume] = microseconds(span.server.total) / float64(r.w.clients)
	r.noteDisturbance(span)
	return r.judge(ctx)
}

// publishBlind publishes n events without waiting for them to arrive.
func (r *rig) publishBlind(ctx context.Context, n int) error {
	for range n {
		if err := r.publisher.publish(ctx, sharedChannel, r.published); err != nil {
			return err
		}
		r.published++
	}
	return nil
}
