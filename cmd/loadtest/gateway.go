//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"sluice/cmd/internal/rig"
)

// startGateway starts a redis-server and replicas of the gateway on it. Their settings are the defaults, except those
// that a trial needs: addresses, names and the format of the log.
func startGateway(ctx context.Context, ps *rig.Group, replicas int, o options) (*server, error) {
	redis, err := startRedis(ctx, ps)
	if err != nil {
		return nil, err
	}
	s := &server{name: gatewayServer, redis: redis, path: "/api/sse/channels/" + channelName(sharedChannel)}
	for i := range replicas {
		name := "gateway-" + strconv.Itoa(i+1)
		settings := []string{
			"GATEWAY_ADDR=127.0.0.1:0", "GATEWAY_REDIS_URL=redis://" + redis.Addr, "GATEWAY_REPLICA=" + name,
			"GATEWAY_LOG_FORMAT=json",
		}
		if o.writer != "" {
			settings = append(settings, "GATEWAY_WRITER="+o.writer)
		}
		p, err := ps.Start(rig.Command{Name: name, Path: o.gateway, Env: rig.Environment(settings...)})
		if err != nil {
			return nil, err
		}
		s.procs = append(s.procs, p)
	}
	for i, p := range s.procs {
		addr, err := awaitGateway(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("start replica %d of the gateway: %w", i+1, err)
		}
		s.addrs = append(s.addrs, addr)
	}
	s.publisher = func() (publisher, error) {
		if o.publish == "raw" {
			return newRaw(redis.client, o.bytes), nil
		}
		return newPoster(s.addrs, posters, o.bytes), nil
	}
	return s, nil
}

// startLimit is how long a replica may take until it is ready.
const startLimit = 20 * time.Second

// awaitGateway waits until a replica of the gateway is ready, and returns its address.
func awaitGateway(ctx context.Context, p *rig.Process) (addr string, err error) {
	err = rig.Until(ctx, startLimit, func(context.Context) error {
		if err := p.Ended(); err != nil {
			return err
		}
		addr, err = listening(p)
		return err
	})
	if err != nil {
		return "", err
	}
	return addr, rig.AwaitReady(ctx, p, "http://"+addr, startLimit)
}

// listening finds the address in the gateway's log. With port 0 the gateway chooses a free port and logs it.
func listening(p *rig.Process) (string, error) {
	text, err := p.Log()
	if err != nil {
		return "", err
	}
	for line := range bytes.Lines(text) {
		var entry struct{ Msg, Address string }
		if json.Unmarshal(line, &entry) == nil && entry.Msg == "listening" {
			return entry.Address, nil
		}
	}
	return "", errors.New("the log does not say where it listens")
}

// goroutines returns how many goroutines the gateway's replicas have together, by their own /metrics.
func goroutines(ctx context.Context, s *server) (int, error) {
	sum := 0
	for _, addr := range s.addrs {
		n, err := rig.Metric(ctx, "http://"+addr, "go_goroutines")
		if err != nil {
			return 0, err
		}
		sum += int(n)
	}
	return sum, nil
}
