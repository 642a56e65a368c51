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

// The servers that are measured, in the order of their turns.
const (
	floorServer   = "floor"
	naiveServer   = "naive"
	gatewayServer = "gateway"
	againstServer = "against" // another build of the gateway: the program of -against
)

// server is one of the servers, while it runs.
type server struct {
	name  string
	addrs []string
	path  string         // of the stream of the shared channel; that of another channel has "-" and its number added
	procs []*rig.Process // their processor time and memory are the server's
	redis *redisServer   // nil if it has none

	started int // replicas of the gateway that were started so far

	publisher func() (publisher, error)
}

func (s *server) pids() []int {
	var pids []int
	for _, p := range s.procs {
		pids = append(pids, p.Pid())
	}
	return pids
}

// startRole starts this program again in one of its roles, with pipes to and from it.
func startRole(ps *rig.Group, name, role string) (*rig.Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return ps.Start(rig.Command{
		Name: name, Path: self, Args: []string{"-role", role}, Env: rig.Environment(), Pipes: true,
	})
}

// startServer starts the server called name for a work.
func startServer(ctx context.Context, ps *rig.Group, name string, w work, o options) (*server, error) {
	if isGateway(name) {
		return startGateway(ctx, ps, name, w, o)
	}
	p, err := startRole(ps, name, name)
	if err != nil {
		return nil, err
	}
	address, err := bufio.NewReader(p.Out).ReadString('\n') // the process writes it at once, or ends
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, errors.Join(err, ps.Failed()))
	}
	return &server{
		name: name, addrs: []string{strings.TrimSpace(address)}, path: "/" + channelName(sharedChannel),
		procs:     []*rig.Process{p},
		publisher: func() (publisher, error) { return &piped{to: p.In, size: o.bytes}, nil },
	}, nil
}

// pause waits for d. It returns an error if ctx ends before that.
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
