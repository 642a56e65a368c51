//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sluice/cmd/internal/rig"
)

// rawReplicas are the numbers of replicas that the mode raw compares.
var rawReplicas = []int{1, 3, 6}

// What the raw messages of a trial go to. Replicas hear in different ways that such a message is stored.
const (
	rawChannel = "a channel"
	rawTasks   = "tasks"
)

// rawLabel names a trial of the mode raw.
func rawLabel(to string, replicas int) string {
	if replicas == 1 {
		return to + ", 1 replica"
	}
	return fmt.Sprintf("%s, %d replicas", to, replicas)
}

func rawMode() mode {
	return mode{
		name:  "raw",
		about: "raw messages, one each 20 ms, that nobody reads: script calls of Redis for each",
		works: func(o options) []work {
			var all []work
			for _, to := range []string{rawChannel, rawTasks} {
				for _, n := range rawReplicas {
					all = append(all, work{
						label: rawLabel(to, n), events: o.number(300), replicas: n, servers: []string{gatewayServer},
						settings: []string{"GATEWAY_INGEST=" + channelName(sharedChannel)},
					})
				}
			}
			return all
		},
		run:     runRaw,
		key:     figScripts,
		columns: []string{figScripts, figRedisPublish, figCPUPublish},
	}
}

// rawWarmUp is how many messages come first: with them the replicas find out which of them presents.
const rawWarmUp = 20

// Time between two messages. It is longer than a message takes, so no call has two of them.
const (
	rawPause      = 20 * time.Millisecond
	rawPauseQuick = 5 * time.Millisecond
)

func runRaw(ctx context.Context, r *run) error {
	if err := r.start(ctx); err != nil {
		return err
	}
	message := func(i int) (channel, payload string) {
		return channelName(sharedChannel), string(appendPayload(nil, i, now(), r.o.bytes))
	}
	if strings.HasPrefix(r.w.label, rawTasks) {
		message = taskReport
	}
	r.say("warming up")
	if err := r.publishPaced(ctx, message, 0, rawWarmUp); err != nil {
		return err
	}
	before, err := r.commands(ctx)
	if err != nil {
		return err
	}
	r.say("publishing")
	span, err := r.measure(ctx, func() error { return r.publishPaced(ctx, message, rawWarmUp, r.w.events) })
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
	r.figures[figRedisPublish] = microseconds(span.redis.total) / n
	r.figures[figCPUPublish] = microseconds(span.server.total) / n
	r.noteDisturbance(span)
	return nil
}

// reportsEach is how many messages one task gets. The last of them is not its end.
const reportsEach = 50

// taskReport is message i of a trial with tasks: the next report of a task.
func taskReport(i int) (channel, payload string) {
	return "progress:load-" + strconv.Itoa(i/reportsEach), fmt.Sprintf(`{"progress":%d,"message":"under way"}`, i%reportsEach)
}

// publishPaced publishes n raw messages, from number first on, with a pause behind each, and waits until all of them are
// stored.
func (r *run) publishPaced(ctx context.Context, message func(i int) (channel, payload string), first, n int) error {
	every := rawPause
	if r.o.quick {
		every = rawPauseQuick
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := first; i < first+n; i++ {
		channel, payload := message(i)
		receivers, err := r.server.redis.client.Publish(ctx, channel, payload).Result()
		if err != nil {
			return fmt.Errorf("PUBLISH: %w", err)
		}
		if receivers == 0 {
			return errors.New("PUBLISH: no replica is subscribed")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return rig.Until(ctx, stallLimit, func(ctx context.Context) error {
		stored, err := r.server.metric(ctx, "sluice_raw_stored_total")
		if err == nil && stored < float64(first+n) {
			err = fmt.Errorf("%.0f of %d raw messages are stored", stored, first+n)
		}
		return err
	})
}
