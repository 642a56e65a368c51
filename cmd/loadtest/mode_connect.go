//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"sluice/cmd/internal/rig"
)

func connectMode() mode {
	return mode{
		name:  "connect",
		about: "streams are opened and closed as fast as possible",
		works: func(o options) []work {
			return []work{{clients: o.size(5000), replicas: 1, servers: everyServer()}}
		},
		run:     runConnect,
		key:     figCPUConnect,
		ratios:  bothRatios(),
		columns: []string{figCPUConnect, figConnects, figOpenP50, figOpenP99, figCPUDisconnect},
	}
}

func runConnect(ctx context.Context, r *run) error {
	if err := r.start(ctx); err != nil {
		return err
	}
	files, err := descriptors(r.server.pids()...)
	if err != nil {
		return err
	}
	var there, gone measured
	var took time.Duration
	for _, warm := range []bool{false, true} { // the first round is the warm-up
		if err := r.crowd.mark(ctx); err != nil {
			return err
		}
		there, err = r.measure(ctx, func() error {
			began := time.Now()
			defer func() { took = time.Since(began) }()
			return r.open(ctx, opening{})
		})
		if err != nil {
			return err
		}
		if warm {
			if err := r.judge(ctx); err != nil { // before the clients leave
				return err
			}
		}
		r.say("leaving")
		gone, err = r.measure(ctx, func() error {
			if err := r.crowd.cut(ctx); err != nil {
				return err
			}
			return r.awaitGone(ctx, files)
		})
		if err != nil {
			return err
		}
	}
	n := float64(r.w.clients)
	r.figures[figCPUConnect] = microseconds(there.server.total) / n
	r.figures[figConnects] = n / took.Seconds()
	r.figures[figCPUDisconnect] = microseconds(gone.server.total) / n
	r.noteDisturbance(there)
	return nil
}

// fewFiles is how many more descriptors than before a server may have after its clients have left: connections to Redis
// and of publishers.
const fewFiles = 100

// awaitGone waits until the server has closed its clients' connections.
func (r *run) awaitGone(ctx context.Context, before int) error {
	return rig.Until(ctx, 30*time.Second, func(context.Context) error {
		n, err := descriptors(r.server.pids()...)
		if err == nil && n > before+fewFiles {
			err = fmt.Errorf("%s has %d file descriptors after its clients have left, and had %d before they came",
				r.server.name, n, before)
		}
		return err
	})
}
