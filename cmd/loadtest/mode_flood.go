//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// statedRate is how many raw messages a second, on one channel, the documents say that one Redis and one replica take
// beside 5,000 streams, with nothing lost.
const statedRate = 2_000

// statedSeconds is how long they are published at that rate.
const statedSeconds = 10

// The trials of the mode flood.
const (
	floodAlone  = "as fast as Redis takes them, no streams"
	floodSets   = "as fast as Redis takes them"
	floodStated = "at the stated rate"
)

func floodMode() mode {
	return mode{
		name:  "flood",
		about: "raw messages on the shared channel; each client reads it and a channel of its own",
		works: func(o options) []work {
			clients, n := o.size(5000), o.number(200_000)
			all := []work{
				{label: floodAlone, events: n},
				{label: floodSets, events: n, clients: clients},
				{label: floodStated, events: min(n, statedSeconds*o.rate), clients: clients, rate: o.rate},
			}
			for i := range all {
				all[i].replicas, all[i].servers = 1, []string{gatewayServer}
				all[i].settings = []string{"GATEWAY_INGEST=" + channelName(sharedChannel)}
			}
			return all
		},
		run: runFlood,
		key: figCPUPublish,
		columns: []string{
			figMessages, figUnheard, figReceived, figStored, figRejected, figLost, figUncounted, figCPUPublish, figRedisPublish,
			figLeft, figRefused,
		},
	}
}

// account says what became of raw messages.
type account struct {
	received int64 // that Redis has counted a receiver for
	stored   int64 // by the store
	rejected int64 // by /metrics
	lost     int64 // by /metrics, all causes together
}

// uncounted returns how many messages nobody can account for. It is negative if there are more than were received.
func (a account) uncounted() int64 { return a.received - a.stored - a.rejected - a.lost }

// errUncounted is in the error of a trial with messages that nobody can account for. Its figures count.
var errUncounted = errors.New("raw messages were lost or repeated without being counted")

func runFlood(ctx context.Context, r *run) error {
	r.o.publish = "post" // for the last event; the flood is none of the publishers
	if err := r.start(ctx); err != nil {
		return err
	}
	if r.w.clients > 0 {
		if err := r.open(ctx, opening{own: setsPath(), rate: openRate, loose: comeBackAfter}); err != nil {
			return err
		}
	}
	r.say("publishing")
	var a account
	var took time.Duration
	span, err := r.measure(ctx, func() error {
		began := time.Now()
		var err error
		a.received, err = flood(ctx, r.server.redis.client, r.w.events, r.w.rate, r.o.bytes)
		if err != nil {
			return err
		}
		took = time.Since(began)
		r.say("settling")
		return r.settleAccount(ctx, &a)
	})
	if err != nil {
		return err
	}
	n := float64(max(a.received, 1))
	r.figures[figMessages] = float64(r.w.events) / took.Seconds()
	r.figures[figUnheard] = float64(int64(r.w.events) - a.received)
	r.figures[figReceived], r.figures[figStored] = float64(a.received), float64(a.stored)
	r.figures[figRejected], r.figures[figLost] = float64(a.rejected), float64(a.lost)
	r.figures[figUncounted] = float64(a.uncounted())
	r.figures[figCPUPublish] = microseconds(span.server.total) / n
	r.figures[figRedisPublish] = microseconds(span.redis.total) / n
	r.noteDisturbance(span)
	if err := r.finishFlood(ctx); err != nil {
		return err
	}
	if a.uncounted() != 0 {
		return fmt.Errorf("%w: Redis counted receivers for %d, %d are stored, %d rejected, %d counted as lost",
			errUncounted, a.received, a.stored, a.rejected, a.lost)
	}
	return nil
}

// finishFlood publishes one more event and waits until all clients have it.
func (r *run) finishFlood(ctx context.Context) error {
	if r.w.clients == 0 {
		return nil
	}
	r.say("catching up")
	if err := r.renewPublisher(); err != nil {
		return err
	}
	if err := r.publisher.publish(ctx, sharedChannel, r.w.events); err != nil {
		return err
	}
	r.crowd.stall = floodStall
	if err := r.crowd.finish(ctx, r.w.events+1); err != nil {
		return err
	}
	v, err := r.crowd.audit(ctx, 0)
	if err != nil {
		return err
	}
	r.figures[figLeft], r.figures[figRefused] = float64(v.loose.Left), float64(v.loose.Refused)
	if r.faults, r.why = v.faults, v.why; !r.faults.none() {
		return fmt.Errorf("%w: %+v %s", errFaults, r.faults, r.why)
	}
	return nil
}

// floodStall is how long clients may take to come back without any progress: some wait for comeBackAfter.
const floodStall = 60 * time.Second

// flood publishes n raw messages over one connection, and returns for how many of them Redis counted a receiver. rate is
// how many it publishes a second; 0: as many as Redis takes.
func flood(ctx context.Context, client *redis.Client, n, rate, size int) (received int64, err error) {
	began := time.Now()
	for i := 0; i < n; {
		batch := client.Pipeline()
		for ; batch.Len() < rawBatch && i < n && (rate == 0 || time.Since(began) >= dueAt(i, rate)); i++ {
			batch.Publish(ctx, channelName(sharedChannel), appendPayload(nil, i, now(), size))
		}
		if batch.Len() == 0 {
			if err := pause(ctx, dueAt(i, rate)-time.Since(began)); err != nil {
				return received, err
			}
			continue
		}
		answers, err := batch.Exec(ctx)
		if err != nil {
			return received, fmt.Errorf("PUBLISH: %w", err)
		}
		for _, a := range answers {
			if a.(*redis.IntCmd).Val() > 0 {
				received++
			}
		}
	}
	return received, nil
}

// dueAt returns when message i is due, at so many messages a second.
func dueAt(i, rate int) time.Duration { return time.Duration(i) * time.Second / time.Duration(rate) }

// settleAccount waits until every message is accounted for, or until nothing has changed for some time.
func (r *run) settleAccount(ctx context.Context, a *account) error {
	ctx, cancel := context.WithTimeout(ctx, trialLimit)
	defer cancel()
	before, since := *a, time.Now()
	for {
		if err := r.readAccount(ctx, a); err != nil {
			return err
		}
		if *a != before {
			before, since = *a, time.Now()
		}
		if a.uncounted() == 0 || time.Since(since) > stallLimit {
			return nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// readAccount reads what is known now of the raw messages that were received.
func (r *run) readAccount(ctx context.Context, a *account) error {
	rejected, err := r.server.metric(ctx, "sluice_raw_rejected_total")
	if err != nil {
		return err
	}
	lost, err := r.server.metric(ctx, "sluice_raw_lost_total")
	if err != nil {
		return err
	}
	a.rejected, a.lost = int64(rejected), int64(lost)
	a.stored, err = r.server.redis.stored(ctx)
	return err
}

// stored returns how many events of the shared channel were ever stored: the offset of the newest one, which is in the
// channel's meta hash. Builds have different names for this key.
func (r *redisServer) stored(ctx context.Context) (int64, error) {
	if r.meta == "" {
		keys, err := r.client.Keys(ctx, "*meta*").Result()
		if err != nil {
			return 0, err
		}
		i := slices.IndexFunc(keys, func(key string) bool { return strings.Contains(key, "{"+channelName(sharedChannel)+"}") })
		if i < 0 {
			return 0, nil
		}
		r.meta = keys[i]
	}
	text, err := r.client.HGet(ctx, r.meta, "offset").Result()
	if errors.Is(err, redis.Nil) || err == nil && text == "" {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}
