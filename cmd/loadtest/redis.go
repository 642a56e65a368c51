//go:build linux

package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"sluice/cmd/internal/rig"
)

// redisServer is the redis-server of one trial. It starts empty and writes no files.
type redisServer struct {
	*rig.Redis
	client *redis.Client
	meta   string // the shared channel's meta key, once it is known
}

func startRedis(ctx context.Context, ps *rig.Group) (*redisServer, error) {
	server, err := rig.StartRedis(ctx, ps)
	if err != nil {
		return nil, err
	}
	return &redisServer{Redis: server, client: redis.NewClient(&redis.Options{
		Addr: server.Addr, ContextTimeoutEnabled: true, DialerRetries: 1, PoolSize: 2,
	})}, nil
}

// commands returns how many commands of each name the server has run, those in scripts included. The INFO commands that
// ask for this are left out.
func (r *redisServer) commands(ctx context.Context) (map[string]int64, error) {
	text, err := r.client.Info(ctx, "commandstats").Result()
	if err != nil {
		return nil, err
	}
	return parseCommandStats(text)
}

// parseCommandStats parses the answer to INFO commandstats.
func parseCommandStats(text string) (map[string]int64, error) {
	counts := make(map[string]int64)
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), ":calls=")
		name, ok2 := strings.CutPrefix(name, "cmdstat_")
		if !ok || !ok2 || name == "info" {
			continue
		}
		number, _, _ := strings.Cut(rest, ",")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("INFO commandstats: %q: %w", line, err)
		}
		counts[name] = n
	}
	return counts, nil
}

// since returns what has been added to the counts. A count that has not grown is left out.
func since(now, before map[string]int64) map[string]int64 {
	added := make(map[string]int64)
	for name, n := range now {
		if n > before[name] {
			added[name] = n - before[name]
		}
	}
	return added
}

// sum returns the sum of all counts.
func sum(counts map[string]int64) int64 {
	total := int64(0)
	for _, n := range counts {
		total += n
	}
	return total
}

// scripts returns how many calls of scripts are among the counts.
func scripts(counts map[string]int64) int64 {
	return counts["evalsha"] + counts["eval"] + counts["fcall"]
}
