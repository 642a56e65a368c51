//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/cmd/internal/rig"
	"sluice/cmd/internal/rig/rigtest"
)

// TestMain lets the test's own program play the roles, which the command starts from itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-role" {
		os.Exit(command(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func TestEveryModeWorksWithEveryServerAndNoClientMissesAnything(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many servers")
	}
	rigtest.Need(t, "redis-server")
	rigtest.Need(t, "go") // builds the gateway
	path := filepath.Join(t.TempDir(), "figures.json")
	var out, errOut bytes.Buffer
	code := command(t.Context(), []string{"-quick", "-hold", "50ms", "-json", path}, os.Stdin, &out, &errOut)
	if code != exitGood {
		t.Fatalf("exit code %d\n%s\n%s", code, errOut.String(), out.String())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r summary
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	for _, x := range r.Trials {
		if x.Error != "" || x.Faults != nil {
			t.Errorf("%s %s, %s: %s %+v", x.Mode, x.Label, x.Server, x.Error, x.Faults)
		}
	}
	o, err := parse([]string{"-quick"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range allModes() {
		for _, w := range m.works(o) {
			for _, server := range w.servers {
				checkTrial(t, r.Trials, m, w, server)
			}
		}
		if !strings.Contains(out.String(), "\n"+m.name+": "+m.about) {
			t.Errorf("no table of %s", m.name)
		}
	}
	if len(r.Targets) != 31 {
		t.Errorf("%d targets in the report", len(r.Targets))
	}
}

// checkTrial checks that a trial has the figures that its mode shows, except those that its server cannot have.
func checkTrial(t *testing.T, rs results, m mode, w work, server string) {
	t.Helper()
	gatewayOnly := []string{figGoroutines, figSubscribes, figRedisEvent}
	clientsOnly := []string{figLeft, figRefused}
	postOnly := []string{figAnswerP50, figAnswerP99}
	signed := []string{
		figMemory, figMemoryPeak, figResident, figGoroutines, figIdleCPU, figKernelShare, figUnheard, figRejected, figLost, figUncounted,
		figLeft, figRefused, figKeys, figRedisRate, figRedisIdle, figReplicaBytes, figReadCPU, figReadRedis,
	}
	for _, figure := range m.columns {
		values := rs.values(m.name, w.label, server, figure)
		switch {
		case server != gatewayServer && slices.Contains(gatewayOnly, figure):
		case w.callers == 0 && slices.Contains(postOnly, figure):
		case w.clients == 0 && slices.Contains(clientsOnly, figure):
		case len(values) != 1:
			t.Errorf("%s %s, %s: %d values of %s", m.name, w.label, server, len(values), figure)
		case values[1] <= 0 && !slices.Contains(signed, figure):
			t.Errorf("%s %s, %s: %s is %v", m.name, w.label, server, figure, values[1])
		}
	}
}

func TestALostEventIsReported(t *testing.T) {
	ps := rig.NewGroup(t.TempDir())
	t.Cleanup(ps.Close)
	o, err := parse([]string{"-quick"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	r := &run{
		o: o, w: work{clients: 3, replicas: 1}, ps: ps, say: func(string, ...any) {}, show: func(seen) {},
		figures: make(map[string]float64), server: &server{name: floorServer},
	}
	ctx := t.Context()
	if err := r.start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ps.Close()
		r.crowd.close()
	})
	if err := r.open(ctx, opening{}); err != nil {
		t.Fatal(err)
	}
	if err := r.publish(ctx, 3, 1); err != nil {
		t.Fatal(err)
	}
	r.crowd.stall = 300 * time.Millisecond
	r.published++ // this event was never published: to the clients it looks as if the server had lost it
	if err := r.publish(ctx, 1, 2); !errors.Is(err, errStalled) {
		t.Fatalf("waiting for an event that was never sent: %v", err)
	}
	if err := r.judge(ctx); err == nil || r.faults != (faults{Missing: 3}) {
		t.Errorf("faults are %+v, %v", r.faults, err)
	}
}

func TestAnInterruptedTrialEndsItsProcesses(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o, err := parse([]string{"-quick", "-mode", "paced"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	m := o.modes[0]
	m.run = func(ctx context.Context, r *run) error {
		if err := r.start(ctx); err != nil {
			return err
		}
		pids = append(r.server.pids(), r.crowd.pids()...)
		cancel()
		return r.awaitAll(ctx, 1)
	}
	x := runTrial(ctx, m, work{clients: 2, replicas: 1}, naiveServer, 1, o, t.TempDir(), newProgress(io.Discard))
	if !strings.Contains(x.Error, context.Canceled.Error()) {
		t.Errorf("the trial says %q", x.Error)
	}
	if len(pids) != 2 {
		t.Fatalf("%d processes were started", len(pids))
	}
	for _, pid := range pids {
		if _, err := cpuOf(pid); err == nil {
			t.Errorf("process %d is still there", pid)
		}
	}
}

func TestFlagsOutOfBoundsAreRefused(t *testing.T) {
	for _, args := range [][]string{
		{"-clients", "0"}, {"-clients", "1000000"}, {"-events", "-1"}, {"-repeat", "0"}, {"-bytes", "10"}, {"-hold", "-1s"},
		{"-mode", "idle,none"}, {"-mode", ""}, {"-writer", "fast"}, {"-publish", "mail"},
		{"-servers", "floor,apache"}, {"-limit", "0s"},
		{"-servers", "floor,against"}, {"-rate", "0"},
		{"-role", "king"}, {"extra"}, {"-nothing"},
	} {
		var out, errOut bytes.Buffer
		if code := command(t.Context(), args, os.Stdin, &out, &errOut); code != exitSetUp || errOut.Len() == 0 {
			t.Errorf("%q: exit code %d, %q", args, code, errOut.String())
		}
	}
}

func TestLoadGoesToLoopbackOnly(t *testing.T) {
	l := &clientLoop{}
	for _, addr := range []string{"10.0.0.1:80", "192.0.2.1:80", "[::1]:80", "example.com:80"} {
		if err := l.open(openOrder{Addrs: []string{addr}, Clients: 1}); err == nil {
			t.Errorf("%s is taken", addr)
		}
	}
}
