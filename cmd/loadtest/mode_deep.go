//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"sluice/cmd/internal/rig"
)

// The trials of the mode deep: how many events each channel has stored.
const (
	deepFar      = 20_000
	deepNear     = 100
	deepChannels = 10
	deepReplicas = 4
	deepBehind   = 10 // how many events a client has missed
)

// deepLabel names a trial of the mode deep.
func deepLabel(stored int) string {
	return fmt.Sprintf("%d of %s events", deepBehind, thousands(stored))
}

func deepMode() mode {
	return mode{
		name:  "deep",
		about: "clients resume, one after the other, each on a channel that its replica knows nothing of",
		works: func(o options) []work {
			var all []work
			for _, stored := range []int{deepFar, deepNear} {
				events := stored
				if stored == deepFar {
					events = max(o.number(stored), deepNear)
				}
				all = append(all, work{
					label: deepLabel(events), events: events, channels: deepChannels, replicas: deepReplicas,
					settings: []string{fmt.Sprintf("GATEWAY_HISTORY_SIZE=%d", events)},
					callers:  256, servers: []string{gatewayServer},
				})
			}
			if all[0].label == all[1].label {
				return all[:1]
			}
			return all
		},
		run:     runDeep,
		key:     figReadRedis,
		columns: []string{figReadCPU, figReadRedis, figReadP50, figReadMax},
	}
}

// runDeep fills the channels through one replica, ends it, and has the clients resume on replicas that have just started.
// A replica that follows a channel could answer from its memory.
func runDeep(ctx context.Context, r *run) error {
	r.o.publish = "post"
	replicas := r.w.replicas
	r.w.replicas = 1
	if err := r.start(ctx); err != nil {
		return err
	}
	r.say("storing %s events", thousands(r.w.events*r.w.channels))
	if err := r.publishBlind(ctx, r.w.events); err != nil {
		return err
	}
	if err := r.endPublisher(); err != nil {
		return err
	}
	places, err := r.places(ctx)
	if err != nil {
		return err
	}
	if err := r.server.procs[0].Kill(); err != nil {
		return err
	}
	if err := r.server.startReplicas(ctx, r.ps, replicas, r.w.settings, r.o); err != nil {
		return err
	}
	r.say("waiting") // what replicas do all the time is no client's cost
	idle, err := r.measure(ctx, func() error { return pause(ctx, max(5*r.o.settle, 200*time.Millisecond)) })
	if err != nil {
		return err
	}
	r.say("resuming")
	times := newHistogram()
	span, err := r.measure(ctx, func() error { return r.resumeEach(ctx, places, times.RecordValue) })
	if err != nil {
		return err
	}
	clients := float64(replicas * r.w.channels)
	r.figures[figReadCPU] = microseconds(beyond(span.server, span.wall, idle.server, idle.wall)) / clients
	r.figures[figReadRedis] = microseconds(beyond(span.redis, span.wall, idle.redis, idle.wall)) / clients
	r.figures[figReadP50] = milliseconds(times.ValueAtQuantile(50))
	r.figures[figReadMax] = milliseconds(times.Max())
	r.noteDisturbance(span)
	return nil
}

// beyond returns the processor time of a span without what an idle span of the same length takes.
func beyond(busy cpu, wall time.Duration, idle cpu, idleWall time.Duration) time.Duration {
	usual := float64(idle.total) * float64(wall) / float64(max(idleWall, 1))
	return max(0, busy.total-time.Duration(usual))
}

// places returns the id of the event before the last deepBehind ones of each channel, from the server's GET.
func (r *run) places(ctx context.Context) ([]string, error) {
	var ids []string
	for channel := range r.w.channels {
		text, err := rig.Get(ctx, fmt.Sprintf("http://%s/api/channels/%s/events?limit=%d",
			r.server.addrs[0], channelName(channel), deepBehind+1))
		if err != nil {
			return nil, err
		}
		var answer struct{ Events []struct{ ID string } }
		if err := json.Unmarshal(text, &answer); err != nil || len(answer.Events) != deepBehind+1 {
			return nil, fmt.Errorf("the newest %d events of %s: %d came, %w", deepBehind+1, channelName(channel), len(answer.Events), err)
		}
		ids = append(ids, answer.Events[0].ID)
	}
	return ids, nil
}

// resumeEach has one client after the other resume, one for each replica and channel. record gets the microseconds that
// each one waits for its last event.
func (r *run) resumeEach(ctx context.Context, places []string, record func(int64) error) error {
	for _, addr := range r.server.addrs {
		for channel, id := range places {
			began := time.Now()
			got, err := resumeOne(ctx, addr, channel, id)
			if err != nil {
				return fmt.Errorf("resume on %s: %w", channelName(channel), err)
			}
			if err := record(time.Since(began).Microseconds()); err != nil {
				return err
			}
			if err := checkLast(got, r.w.events); err != nil {
				r.faults.Missing++
				return fmt.Errorf("%w: %s: %w", errFaults, channelName(channel), err)
			}
		}
	}
	return nil
}

// checkLast checks that the events a client got are the last ones of those with the numbers 0 to events-1, each once.
// Callers publish at the same time, so their order in the store may be another.
func checkLast(got []int, events int) error {
	seen := make(map[int]bool)
	for _, n := range got {
		if n < 0 || n >= events || seen[n] {
			return fmt.Errorf("event %d came, of %d, or came again: %v", n, events, got)
		}
		seen[n] = true
	}
	if len(got) != deepBehind {
		return fmt.Errorf("%d events came, %d were missed", len(got), deepBehind)
	}
	return nil
}

// resumeOne resumes one stream and reads until it has the events that it has missed. It returns their numbers.
func resumeOne(ctx context.Context, addr string, channel int, id string) ([]int, error) {
	conn, err := (&net.Dialer{Timeout: answerLimit}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(conn, "GET /api/sse/channels/%s HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n"+
		"Last-Event-ID: %s\r\n\r\n", channelName(channel), id)
	if err != nil {
		return nil, err
	}
	var stream response
	var got readEvents
	buffer := make([]byte, 16<<10)
	for len(got.numbers) < deepBehind {
		n, err := conn.Read(buffer)
		if err != nil {
			return nil, err
		}
		if err := stream.feed(buffer[:n], &got); err != nil {
			return nil, err
		}
		if got.wrong != nil {
			return nil, got.wrong
		}
	}
	return got.numbers, nil
}

// readEvents is a sink that keeps the numbers of events.
type readEvents struct {
	numbers []int
	wrong   error
}

func (e *readEvents) event(n int, _ int64) { e.numbers = append(e.numbers, n) }
func (e *readEvents) unreadable()          { e.wrong = errors.New("an event that nobody published") }
func (e *readEvents) gap()                 { e.wrong = errors.New("a gap, though everything is stored") }
