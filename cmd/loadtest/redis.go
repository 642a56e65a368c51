//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisServer is a redis-server of one trial: empty, and without files.
type redisServer struct {
	proc   *proc
	addr   string
	client *redis.Client
}

func startRedis(ctx context.Context, ps *procs) (*redisServer, error) {
	path, err := find("redis-server")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	p, err := ps.program("redis", plainEnvironment(), path, "--port", strconv.Itoa(port), "--bind", "127.0.0.1",
		"--save", "", "--appendonly", "no", "--dir", ps.dir)
	if err != nil {
		return nil, err
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	r := &redisServer{proc: p, addr: addr, client: redis.NewClient(&redis.Options{
		Addr: addr, ContextTimeoutEnabled: true, DialerRetries: 1, PoolSize: 2,
	})}
	err = until(ctx, 10*time.Second, func(ctx context.Context) error {
		if err := ps.failed(); err != nil {
			return err
		}
		return r.client.Ping(ctx).Err()
	})
	if err != nil {
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	return r, nil
}

// freePort finds a loopback port that nobody listens on.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// commands returns how many commands of each kind the server has run, also those in scripts, without our question.
func (r *redisServer) commands(ctx context.Context) (map[string]int64, error) {
	text, err := r.client.Info(ctx, "commandstats").Result()
	if err != nil {
		return nil, err
	}
	return parseCommandStats(text)
}

// parseCommandStats reads what INFO commandstats answers.
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

// since returns what has been added to the counts.
func since(now, before map[string]int64) map[string]int64 {
	added := make(map[string]int64)
	for name, n := range now {
		if n > before[name] {
			added[name] = n - before[name]
		}
	}
	return added
}

func sum(counts map[string]int64) int64 {
	total := int64(0)
	for _, n := range counts {
		total += n
	}
	return total
}
