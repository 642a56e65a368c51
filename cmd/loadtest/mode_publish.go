//go:build linux

package main

import "context"

// rawWindow is how many raw messages may be under way between Redis and the one client that reads them.
const rawWindow = 512

// How events are published.
const (
	byPost = "POST"
	byRaw  = "PUBLISH"
)

func publishMode() mode {
	return mode{
		name:  "publish",
		about: "events published by POST and by raw PUBLISH, with one client that reads them",
		works: func(o options) []work {
			n := o.number(20_000)
			return []work{
				{label: byPost, clients: 1, events: n, replicas: 1, servers: []string{gatewayServer}},
				{label: byRaw, clients: 1, events: n, replicas: 1, servers: []string{gatewayServer}},
			}
		},
		run:     runPublish,
		columns: []string{figPublishes, figCPUPublish, figRedisPublish, figAnswerP50, figAnswerP99, figP50, figP99},
	}
}

func runPublish(ctx context.Context, r *run) error {
	window := r.w.events // POSTs need no window: each connection waits for its answer
	r.o.publish = "post"
	if r.w.label == byRaw {
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
	span, err := r.measurePublish(ctx, window)
	if err != nil {
		return err
	}
	n := float64(r.w.events)
	r.figures[figPublishes] = n / span.work.Seconds()
	r.figures[figCPUPublish] = microseconds(span.server.total) / n
	r.figures[figRedisPublish] = microseconds(span.redis.total) / n
	r.noteDisturbance(span)
	if err := r.judge(ctx); err != nil {
		return err
	}
	if p, ok := r.publisher.(*poster); ok {
		if err := r.endPublisher(); err != nil {
			return err
		}
		h := p.answers()
		r.figures[figAnswerP50] = milliseconds(h.ValueAtQuantile(50))
		r.figures[figAnswerP99] = milliseconds(h.ValueAtQuantile(99))
	}
	return nil
}
