//go:build linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"sluice/cmd/internal/rig"
)

// isGateway reports whether a server is a build of the gateway.
func isGateway(name string) bool { return name == gatewayServer || name == againstServer }

// startGateway starts a redis-server and the replicas of a work on it.
func startGateway(ctx context.Context, ps *rig.Group, name string, w work, o options) (*server, error) {
	redis, err := startRedis(ctx, ps)
	if err != nil {
		return nil, err
	}
	s := &server{name: name, redis: redis, path: "/api/sse/channels/" + channelName(sharedChannel)}
	if err := s.startReplicas(ctx, ps, w.replicas, w.settings, o); err != nil {
		return nil, err
	}
	s.publisher = func() (publisher, error) {
		if o.publish == "raw" {
			return newRaw(redis.client, o.bytes), nil
		}
		return newPoster(s.addrs, cmp.Or(w.callers, posters), w.kind, o.bytes), nil
	}
	return s, nil
}

// startReplicas starts replicas of the gateway on the server's Redis, and waits until they are ready. From then on they
// are the server. Their settings are the defaults, except those that a trial needs: addresses, names, the format of the
// log, and settings. With -against an older build gets the same ones, and it refuses a setting that it does not know. So
// a trial may need only settings that all builds have had from the beginning.
func (s *server) startReplicas(ctx context.Context, ps *rig.Group, replicas int, settings []string, o options) error {
	path := o.gateway
	if s.name == againstServer {
		path = o.against
	}
	s.procs, s.addrs = nil, nil
	for i := range replicas {
		s.started++
		name := "gateway-" + strconv.Itoa(s.started)
		all := slices.Concat([]string{
			"GATEWAY_ADDR=127.0.0.1:0", "GATEWAY_REDIS_URL=redis://" + s.redis.Addr, "GATEWAY_REPLICA=" + name,
			"GATEWAY_LOG_FORMAT=json",
		}, settings)
		if o.writer != "" {
			all = append(all, "GATEWAY_WRITER="+o.writer)
		}
		p, err := ps.Start(rig.Command{Name: name, Path: path, Env: rig.Environment(all...)})
		if err != nil {
			return fmt.Errorf("start replica %d of the gateway: %w", i+1, err)
		}
		s.procs = append(s.procs, p)
	}
	for i, p := range s.procs {
		addr, err := awaitGateway(ctx, p)
		if err != nil {
			return fmt.Errorf("start replica %d of the gateway: %w", i+1, err)
		}
		s.addrs = append(s.addrs, addr)
	}
	return nil
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

// metric returns the sum of a metric over the server's replicas, and over all labels that it has, by their /metrics. A
// build that lacks the metric counts as 0.
func (s *server) metric(ctx context.Context, name string) (float64, error) {
	sum := 0.0
	for _, addr := range s.addrs {
		n, err := rig.MetricSum(ctx, "http://"+addr, name)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}
