package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"sluice/store"
)

// redisOptions returns the options of the clients for a Redis at url.
func redisOptions(url string) (*redis.Options, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", variable("RedisURL"), err)
	}
	o.ContextTimeoutEnabled = true // otherwise a call does not end with its context
	o.DialTimeout = 3 * time.Second
	if o.TLSConfig != nil {
		o.DialTimeout = 6 * time.Second // it takes two round trips then
	}
	o.ReadTimeout, o.WriteTimeout = 4*time.Second, 4*time.Second
	o.DialerRetries = 1
	o.MaxRetries = -1 // a publish whose answer was lost may have been stored: it must not be sent again
	o.PipelinePoolSize = -1
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return o, nil
}

// errCluster is the error of a node of a Redis Cluster.
var errCluster = errors.New("this is a node of a Redis Cluster, which is not supported yet; " +
	"use a Redis that runs alone or with replicas")

// refuseCluster returns errCluster if Redis is a node of a cluster. A Redis that does not tell is none.
func refuseCluster(ctx context.Context, rdb *redis.Client) error {
	info, err := rdb.Info(ctx, "cluster").Result()
	if _, refused := errors.AsType[redis.Error](err); refused {
		return nil
	}
	if strings.Contains(info, "cluster_enabled:1") {
		return errCluster
	}
	return err
}

// waitForRedis returns when Redis answers. It gives up after wait, or never if wait is 0, and when ctx ends. It gives up at
// once if Redis holds what another version of the gateway wrote. The broker logs that it waits.
func waitForRedis(ctx context.Context, rdb *redis.Client, events *store.Store, wait time.Duration) error {
	start := time.Now()
	for {
		limit := 10 * time.Second // for a new connection to a Redis far away
		if wait > 0 {
			limit = min(limit, max(wait-time.Since(start), time.Second))
		}
		call, cancel := context.WithTimeout(ctx, limit)
		err := refuseCluster(call, rdb)
		if err == nil {
			err = events.CheckFormat(call)
		}
		cancel()
		if err == nil {
			return nil
		}
		if errors.Is(err, errCluster) {
			return fmt.Errorf("%s=%s: %w", variable("RedisURL"), rdb.Options().Addr, err)
		}
		if other, ok := errors.AsType[*store.FormatError](err); ok {
			return fmt.Errorf("%s=%q: %w", variable("Prefix"), other.Prefix, err)
		}
		if wait > 0 && time.Since(start) > wait {
			return fmt.Errorf("no answer from Redis at %s within %s=%v: %w", rdb.Options().Addr, variable("RedisWait"), wait, err)
		}
		timer := time.NewTimer(500 * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// redisLogger passes the messages of go-redis to the gateway's logger. go-redis has one logger for the whole process.
type redisLogger struct{ log *slog.Logger }

// Printf implements the interface of redis.SetLogger.
func (l redisLogger) Printf(ctx context.Context, format string, v ...any) {
	l.log.DebugContext(ctx, "go-redis", "message", fmt.Sprintf(format, v...))
}
