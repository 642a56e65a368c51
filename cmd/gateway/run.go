package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/gateway"
	"sluice/gateway/auth"
	"sluice/pubsub"
	"sluice/store"
	"sluice/store/kind"
)

// shutdownExtra is how much longer than the drain time a shutdown may take, for the last requests and simulated tasks. It is
// longer than net/http waits for a connection on which no request has come: five to six seconds. Browsers open such
// connections in advance.
const shutdownExtra = 8 * time.Second

// run builds the gateway, serves until ctx ends or a part fails, and then ends the parts in order. It returns nil if
// ctx has ended and every part has shut down without an error.
func run(ctx context.Context, cfg Config, out io.Writer) error {
	if err := cfg.checkOpen(); err != nil {
		return err
	}
	embedded := cfg.RedisURL == ""
	// Without settings somebody is probably trying the gateway out, maybe with the output in a pipe.
	readable := cfg.LogFormat == "text" || cfg.LogFormat == "auto" && (embedded || isTerminal(out))
	log := newLogger(cfg.LogLevel, readable, out)
	if cfg.Broker.Replica == "" {
		cfg.Broker.Replica = newReplicaName()
	}
	if embedded {
		m, err := startEmbedded()
		if err != nil {
			return err
		}
		defer m.Close()
		cfg.RedisURL = "redis://" + m.Addr()
		cfg.Server.DrainTime = 0 // clients have no other replica to go to
	}
	o, err := redisOptions(cfg.RedisURL)
	if err != nil {
		return err
	}
	redis.SetLogger(redisLogger{log})
	rdb := redis.NewClient(o)
	defer rdb.Close()

	if cfg.Server.Authenticator, err = auth.New(cfg.Auth, nil, log); err != nil {
		return wrong(err)
	}
	// The addresses are taken before Redis answers, so that /readyz can say what the gateway waits for.
	// Heartbeats find clients that are gone, and requests have deadlines. Go's keep-alive probes would cost each connection five
	// system calls.
	sockets := net.ListenConfig{KeepAlive: -1}
	listener, err := sockets.Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return fmt.Errorf("%s=%q: %w", variable("Addr"), cfg.Addr, err)
	}
	admin, err := listenAdmin(cfg.Server.AdminAddr)
	if err != nil {
		_ = listener.Close()
		return err
	}
	if readable {
		printBanner(out, listener.Addr(), o, embedded)
	}
	log.Info("listening", "address", listener.Addr().String(), "replica", cfg.Broker.Replica, "version", version,
		"redis", o.Addr, "embedded", embedded)
	sayWhoIsLetIn(cfg, log)
	return serve(ctx, cfg, listener, admin, rdb, log)
}

// sayWhoIsLetIn tells an operator what the settings of authentication come to.
func sayWhoIsLetIn(cfg Config, log *slog.Logger) {
	switch {
	case !cfg.Auth.On():
		log.Warn("no authentication: whoever reaches the address may read and publish everything", "address", cfg.Addr)
	case cfg.Auth.JwksURL != "" && cfg.Auth.JWTAudience == "":
		log.Warn("tokens that the issuer made for other applications are accepted too; set " + variable("JWTAudience"))
	}
	if cfg.Auth.On() {
		log.Info("authentication", "methods", strings.Join(cfg.Auth.Names(), ","))
	}
}

// listenAdmin returns the listener for operators, or nil if there is no address for one.
func listenAdmin(addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s=%q: %w", variable("AdminAddr"), addr, err)
	}
	return l, nil
}

// serve runs the parts of the gateway on listeners, which it closes, until ctx ends or one of them fails. admin may be nil.
func serve(ctx context.Context, cfg Config, listener, admin net.Listener, rdb *redis.Client, log *slog.Logger) error {
	events := store.New(rdb, cfg.Store)
	defer events.Close()
	broker := pubsub.NewBroker(rdb, events, cfg.Broker, log)
	server := gateway.New(broker, events, cfg.Server, log)

	alive, fail := context.WithCancelCause(ctx) // ends with ctx, or when a part fails
	defer fail(nil)
	brokerCtx, stopBroker := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBroker()
	var wg sync.WaitGroup
	wg.Go(func() { broker.Run(brokerCtx) })
	if a := cfg.Server.Authenticator; a != nil {
		wg.Go(func() { a.Run(brokerCtx) })
	}
	if admin != nil {
		wg.Go(func() {
			if err := server.ServeAdmin(admin); err != nil {
				fail(fmt.Errorf("serve operators: %w", err))
			}
		})
	}
	wg.Go(func() {
		if err := server.Serve(listener); err != nil {
			fail(fmt.Errorf("serve: %w", err))
		}
	})
	wg.Go(func() {
		if err := waitForRedis(alive, rdb, events, cfg.RedisWait); err != nil {
			fail(err)
		}
	})
	if cfg.listening != nil {
		cfg.listening(listener.Addr().String())
	}
	<-alive.Done()

	log.Info("draining", "time", cfg.Server.DrainTime)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.Server.DrainTime+shutdownExtra)
	defer cancel()
	err := server.Shutdown(drain)
	stopBroker() // after the server, whose streams need the broker
	wg.Wait()
	if ctx.Err() == nil { // a part has failed
		return errors.Join(context.Cause(alive), err)
	}
	log.Info("stopped")
	return err
}

// newReplicaName returns the host's name with a random ending, because replicas on one host need different names.
func newReplicaName() string {
	host, err := os.Hostname()
	if err != nil || kind.CheckChannel(host) != nil || len(host) > 64 {
		host = "replica"
	}
	return host + "-" + strings.ToLower(rand.Text()[:5])
}

// newLogger returns the logger that all parts write to.
func newLogger(level slog.Level, readable bool, out io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: withUnit}
	if readable {
		return slog.New(slog.NewTextHandler(out, o))
	}
	return slog.New(slog.NewJSONHandler(out, o))
}

// withUnit makes durations readable: slog's JSON has them as a number of nanoseconds without a unit.
func withUnit(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// isTerminal reports whether out is a terminal. Every character device counts as one.
func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// healthcheck asks the gateway at the configured address whether it is ready. It is for containers that have no curl.
func healthcheck(ctx context.Context, cfg Config) error {
	host, port, err := net.SplitHostPort(cmp.Or(cfg.Server.AdminAddr, cfg.Addr))
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 1024))
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", strings.TrimSpace(string(text)))
	}
	return nil
}
