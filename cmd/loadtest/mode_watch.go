//go:build linux

package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// watchEach is how many channels each stream of the mode watch has: as many as a stream may have.
const watchEach = 50

func watchMode() mode {
	return mode{
		name:  "watch",
		about: "each client watches 50 channels of its own that never have an event",
		works: func(o options) []work {
			clients := o.size(2000)
			return []work{{
				label: thousands(clients*watchEach) + " channels", clients: clients, channels: clients * watchEach, replicas: 1,
				servers: []string{gatewayServer},
			}}
		},
		run:     runWatch,
		key:     figRedisBytes,
		columns: []string{figKeys, figRedisBytes, figReplicaBytes, figRedisRate, figRedisIdle, figIdleCPU, figOpenP50, figOpenP99},
	}
}

func runWatch(ctx context.Context, r *run) error {
	if err := r.start(ctx); err != nil {
		return err
	}
	memory, keys, err := r.server.redis.size(ctx)
	if err != nil {
		return err
	}
	if err := r.openAndWeigh(ctx, opening{own: "/api/sse?channels=", each: watchEach, rate: openRate}); err != nil {
		return err
	}
	moreMemory, moreKeys, err := r.server.redis.size(ctx)
	if err != nil {
		return err
	}
	r.figures[figKeys] = float64(moreKeys - keys)
	r.figures[figRedisBytes] = float64(moreMemory-memory) / float64(r.w.channels)
	r.figures[figReplicaBytes] = r.figures[figMemory] * 1024 / watchEach
	return r.judge(ctx)
}

// size returns how many bytes Redis has allocated, with what it keeps for subscriptions, and how many keys it has.
func (r *redisServer) size(ctx context.Context) (bytes, keys int64, err error) {
	text, err := r.client.Info(ctx, "memory").Result()
	if err != nil {
		return 0, 0, err
	}
	if bytes, err = parseRedisMemory(text); err != nil {
		return 0, 0, err
	}
	keys, err = r.client.DBSize(ctx).Result()
	return bytes, keys, err
}

// parseRedisMemory returns used_memory of the answer to INFO memory.
func parseRedisMemory(text string) (int64, error) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); ok {
			return strconv.ParseInt(value, 10, 64)
		}
	}
	return 0, fmt.Errorf("INFO memory has no used_memory: %.80q", text)
}
