//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// The programs under test, in the order of their turns.
const (
	floorServer   = "floor"
	naiveServer   = "naive"
	gatewayServer = "gateway"
)

// server is one of them, running.
type server struct {
	name  string
	addrs []string
	path  string       // of the shared stream; for another channel "-" and its number follow
	procs []*proc      // whose processor time and memory are the server's
	redis *redisServer // nil: it has none

	publisher func() (publisher, error)
}

func (s *server) pids() []int {
	var pids []int
	for _, p := range s.procs {
		pids = append(pids, p.pid())
	}
	return pids
}

// startServer starts the program called name, with as many replicas of the gateway as asked for.
func startServer(ctx context.Context, ps *procs, name string, replicas int, o options) (*server, error) {
	if name == gatewayServer {
		return startGateway(ctx, ps, replicas, o)
	}
	p, err := ps.role(name, name)
	if err != nil {
		return nil, err
	}
	address, err := bufio.NewReader(p.out).ReadString('\n') // the process says it at once, or ends
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, errors.Join(err, ps.failed()))
	}
	return &server{
		name: name, addrs: []string{strings.TrimSpace(address)}, path: "/" + channelName(sharedChannel),
		procs:     []*proc{p},
		publisher: func() (publisher, error) { return &piped{to: p.in, size: o.bytes}, nil },
	}, nil
}

// until polls a condition. It returns the condition's last error when the time is up.
func until(ctx context.Context, limit time.Duration, condition func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := condition(ctx)
		if err == nil || errors.Is(err, errEnded) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (waited up to %v)", err, limit)
		case <-tick.C:
		}
	}
}

// pause waits for d.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
