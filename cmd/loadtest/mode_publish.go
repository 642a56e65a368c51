//go:build linux

package main

import (
	"context"
	"fmt"
)

// rawWindow is how many raw messages may be under way between Redis and the one client that reads them.
const rawWindow = 512

// The trials of the mode publish.
const (
	post1   = "POST, 1 caller"
	post32  = "POST, 32 callers"
	post256 = "POST, 256 callers"
	raw1    = "PUBLISH, 1 replica"
	raw3    = "PUBLISH, 3 replicas"
	raw6    = "PUBLISH, 6 replicas"
)

func publishMode() mode {
	return mode{
		name:  "publish",
		about: "events published by POST and by raw PUBLISH, to one channel that one client reads",
		works: func(o options) []work {
			n := o.number(20_000)
			all := []work{
				{label: post1, callers: 1, events: o.number(5000)}, {label: post32, callers: 32, events: n},
				{label: post256, callers: 256, events: n},
				{label: raw1, replicas: 1, events: n}, {label: raw3, replicas: 3, events: n}, {label: raw6, replicas: 6, events: n},
			}
			for i := range all {
				w := &all[i]
				w.clients, w.replicas, w.servers = 1, max(w.replicas, 1), []string{gatewayServer}
				// All replicas take the raw messages in, not only the one with the client.
				w.settings = []string{"GATEWAY_INGEST=" + channelName(sharedChannel)}
			}
			return all
		},
		run: runPublish,
		key: figCPUPublish,
		columns: []string{
			figPublishes, figCPUPublish, figRedisPublish, figSelfPublish, figScripts, figAnswerP50, figAnswerP99, figP50, figP99,
		},
	}
}

func runPublish(ctx context.Context, r *run) error {
	window := r.w.events // POSTs need no window: each connection waits for its answer
	r.o.publish = "post"
	if r.w.callers == 0 {
		r.o.publish, window = "raw", rawWindow
	}
	if err := r.start(ctx); err != nil {
		return err
	}
	if err := r.open(ctx, opening{}); err != nil {
		return err
	}
	r.say("warming up")
	if err := r.publish(ctx, r.w.events/10, window); err != nil {
		return err
	}
	if err := r.renewPublisher(); err != nil { // its histogram must not contain the warm-up
		return err
	}
	before, err := r.commands(ctx)
	if err != nil {
		return err
	}
	span, err := r.measurePublish(ctx, window)
	if err != nil {
		return err
	}
	after, err := r.commands(ctx)
	if err != nil {
		return err
	}
	n := float64(r.w.events)
	r.redis = since(after, before)
	r.figures[figScripts] = float64(scripts(r.redis)) / n
	r.figures[figPublishes] = n / span.work.Seconds()
	r.figures[figCPUPublish] = microseconds(span.server.total) / n
	r.figures[figRedisPublish] = microseconds(span.redis.total) / n
	r.figures[figSelfPublish] = microseconds(span.self.total) / n
	r.noteDisturbance(span)
	if err := r.judge(ctx); err != nil {
		return err
	}
	p, ok := r.publisher.(*poster)
	if !ok {
		return nil
	}
	if err := r.endPublisher(); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	h := p.answers()
	r.figures[figAnswerP50] = milliseconds(h.ValueAtQuantile(50))
	r.figures[figAnswerP99] = milliseconds(h.ValueAtQuantile(99))
	return nil
}
