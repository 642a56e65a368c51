package rig

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisLimit is how long a redis-server may take until it answers; it may have data to load.
const redisLimit = 20 * time.Second

// Redis is a redis-server on a loopback address of its own.
type Redis struct {
	Addr    string   // host:port, the same after every Restart
	Process *Process // the running process, or the last one that ran; Restart replaces it

	group *Group
	path  string
	args  []string
}

// StartRedis starts a redis-server whose data are in the group's folder, and returns when it answers. It writes no
// files unless args, options for its command line, say otherwise.
func StartRedis(ctx context.Context, g *Group, args ...string) (*Redis, error) {
	path, err := Find("redis-server")
	if err != nil {
		return nil, err
	}
	addr, err := FreeAddress()
	if err != nil {
		return nil, err
	}
	host, port, _ := net.SplitHostPort(addr) // FreeAddress has joined them
	r := &Redis{Addr: addr, group: g, path: path, args: slices.Concat([]string{
		"--bind", host, "--port", port, "--dir", g.Dir(), "--daemonize", "no", "--save", "", "--appendonly", "no",
	}, args)}
	return r, r.Restart(ctx)
}

// Restart starts the server again after its process has ended, on the same address and the same data, and returns when
// it answers. It must not be called from several goroutines at the same time.
func (r *Redis) Restart(ctx context.Context) error {
	p, err := r.group.Start(Command{Name: "redis", Path: r.path, Args: r.args, Env: Environment()})
	if err != nil {
		return err
	}
	r.Process = p
	client := redis.NewClient(&redis.Options{Addr: r.Addr, ContextTimeoutEnabled: true, DialerRetries: 1, PoolSize: 1})
	defer client.Close()
	err = Until(ctx, redisLimit, func(ctx context.Context) error {
		if err := p.Ended(); err != nil {
			return err
		}
		return client.Ping(ctx).Err()
	})
	if err != nil {
		return fmt.Errorf("start redis-server: %w", err)
	}
	return nil
}
