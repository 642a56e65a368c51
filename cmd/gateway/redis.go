package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"sluice/store"
)

// embeddedAddr is where the embedded Redis listens, unless another program does. redis-cli uses it without an option.
const embeddedAddr = "127.0.0.1:6379"

// startEmbedded starts a Redis inside this process, so that Sluice can be tried out without one. It listens on the loopback
// address only.
func startEmbedded() (*miniredis.Miniredis, error) {
	m := miniredis.NewMiniRedis()
	m.ClockTTL(true) // otherwise keys would not expire
	err := m.StartAddr(embeddedAddr)
	for port := 6380; port < 6400 && errors.Is(err, syscall.EADDRINUSE); port++ {
		err = m.StartAddr(net.JoinHostPort("127.0.0.1", fmt.Sprint(port)))
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		err = m.StartAddr("127.0.0.1:0")
	}
	if err != nil {
		return nil, fmt.Errorf("start the embedded Redis: %w", err)
	}
	return m, nil
}

// redisOptions returns the options of the clients for a Redis at url.
func redisOptions(url string) (*redis.Options, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", variable("RedisURL"), err)
	}
	o.ContextTimeoutEnabled = true // otherwise a call does not end with its context
	o.DialTimeout = 3 * time.Second
	o.ReadTimeout, o.WriteTimeout = 4*time.Second, 4*time.Second
	o.DialerRetries = 1
	o.MaxRetries = -1 // a publish whose answer was lost may have been stored: it must not be sent again
	o.PipelinePoolSize = -1
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return o, nil
}

// waitForRedis returns when Redis answers. It gives up after wait, or never if wait is 0, and when ctx ends. It gives up at
// once if Redis holds what another version of the gateway wrote.
func waitForRedis(ctx context.Context, rdb *redis.Client, events *store.Store, wait time.Duration, log *slog.Logger) error {
	start := time.Now()
	for try := 0; ; try++ {
		call, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := events.CheckFormat(call)
		cancel()
		if err == nil {
			return nil
		}
		if other, ok := errors.AsType[*store.FormatError](err); ok {
			return fmt.Errorf("%s=%q: %w", variable("Prefix"), other.Prefix, err)
		}
		if wait > 0 && time.Since(start) > wait {
			return fmt.Errorf("no answer from Redis at %s within %s=%v: %w", rdb.Options().Addr, variable("RedisWait"), wait, err)
		}
		if try%10 == 0 {
			log.Warn("waiting for Redis", "address", rdb.Options().Addr, "error", err)
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
