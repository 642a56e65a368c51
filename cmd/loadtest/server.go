//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"sluice/cmd/internal/rig"
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
	path  string         // of the shared stream; for another channel "-" and its number follow
	procs []*rig.Process // whose processor time and memory are the server's
	redis *redisServer   // nil: it has none

	publisher func() (publisher, error)
}

func (s *server) pids() []int {
	var pids []int
	for _, p := range s.procs {
		pids = append(pids, p.Pid())
	}
	return pids
}

// startRole starts this program again in one of its roles, with pipes to talk to it.
func startRole(ps *rig.Group, name, role string) (*rig.Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return ps.Start(rig.Command{
		Name: name, Path: self, Args: []string{"-role", role}, Env: rig.Environment(), Pipes: true,
	})
}

// startServer starts the program called name, with as many replicas of the gateway as asked for.
func startServer(ctx context.Context, ps *rig.Group, name string, replicas int, o options) (*server, error) {
	if name == gatewayServer {
		return startGateway(ctx, ps, replicas, o)
	}
	p, err := startRole(ps, name, name)
	if err != nil {
		return nil, err
	}
	address, err := bufio.NewReader(p.Out).ReadString('\n') // the process says it at once, or ends
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, errors.Join(err, ps.Failed()))
	}
	return &server{
		name: name, addrs: []string{strings.TrimSpace(address)}, path: "/" + channelName(sharedChannel),
		procs:     []*rig.Process{p},
		publisher: func() (publisher, error) { return &piped{to: p.In, size: o.bytes}, nil },
	}, nil
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
