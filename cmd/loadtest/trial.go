//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sluice/cmd/internal/rig"
)

// trialLimit is how long one trial may take, without the time for which it holds idle streams.
const trialLimit = 5 * time.Minute

// trial is the result of one work with one server.
type trial struct {
	Mode     string             `json:"mode"`
	Label    string             `json:"label,omitempty"`
	Server   string             `json:"server"`
	Turn     int                `json:"turn"`
	Clients  int                `json:"clients"`
	Events   int                `json:"events,omitempty"`
	Replicas int                `json:"replicas,omitempty"`
	Rate     int                `json:"rate,omitempty"`
	Seconds  float64            `json:"seconds"` // from starting the processes to their end
	Figures  map[string]float64 `json:"figures"`
	Redis    map[string]int64   `json:"redis_commands,omitempty"`
	Faults   *faults            `json:"faults,omitempty"`
	Error    string             `json:"error,omitempty"`
}

// runModes does all trials of all modes. A trial that fails is in the result, too. An error means that the run could
// not go on; the trials until then are returned with it.
func runModes(ctx context.Context, o options, p *progress) ([]trial, error) {
	dir, err := os.MkdirTemp("", "loadtest-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if o.gateway == "" {
		p.step("building the gateway")
		if o.gateway, err = (rig.Binary{Package: "sluice/cmd/gateway"}).Build(ctx, dir); err != nil {
			return nil, err
		}
	} else if o.gateway, err = filepath.Abs(o.gateway); err != nil {
		return nil, err
	}
	if o.against != "" {
		if o.against, err = filepath.Abs(o.against); err != nil {
			return nil, err
		}
	}
	if _, err := rig.Find("redis-server"); err != nil {
		return nil, err
	}
	all := 0
	for _, m := range o.modes {
		for _, w := range o.works(m) {
			all += o.repeat * len(w.servers)
		}
	}
	var trials []trial
	for _, m := range o.modes {
		// The servers take turns, so that what else the machine does disturbs all of them alike.
		for turn := range o.repeat {
			for _, w := range o.works(m) {
				for _, server := range w.servers {
					name := strings.TrimSpace(fmt.Sprintf("%s %s", m.name, w.label))
					p.begin(fmt.Sprintf("[%d/%d] %s, turn %d: %s", len(trials)+1, all, name, turn+1, server))
					t := runTrial(ctx, m, w, server, turn+1, o, dir, p)
					if ctx.Err() != nil {
						return trials, fmt.Errorf("interrupted: %w", context.Cause(ctx))
					}
					p.end(outcome(m, t))
					trials = append(trials, t)
				}
			}
		}
	}
	return trials, nil
}

// runTrial does one trial. Everything it starts has ended when it returns.
func runTrial(
	ctx context.Context, m mode, w work, serverName string, turn int, o options, dir string, p *progress,
) trial {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, trialLimit+o.hold)
	defer cancel()
	t := trial{
		Mode: m.name, Label: w.label, Server: serverName, Turn: turn, Clients: w.clients, Events: w.events, Rate: w.rate,
		Figures: make(map[string]float64),
	}
	if isGateway(serverName) {
		t.Replicas = w.replicas
	}
	ps := rig.NewGroup(dir)
	r := &run{
		o: o, w: w, ps: ps, say: p.phase, figures: t.Figures, server: &server{name: serverName},
		show: func(s seen) {
			p.show("%s of %s open, %s delivered", thousands(s.opened), thousands(w.clients), thousands(int(s.total)))
		},
	}
	err := m.run(ctx, r)
	if err != nil {
		// The clients may notice the end of a server before Failed does.
		_ = pause(ctx, r.o.settle)
		err = errors.Join(err, ps.Failed(), r.explain())
	} else {
		err = r.endPublisher()
	}
	ps.Close()
	if r.crowd != nil {
		r.crowd.close()
	}
	if r.publisher != nil {
		_ = r.publisher.close() // it ends, because its server has ended
	}
	if r.server.redis != nil {
		_ = r.server.redis.client.Close() // the trial's own error matters more
	}
	t.Redis, t.Seconds = r.redis, time.Since(began).Seconds()
	if !r.faults.none() {
		t.Faults = &r.faults
	}
	if err != nil {
		t.Error = strings.ReplaceAll(err.Error(), "\n", "; ")
		if !errors.Is(err, errUncounted) {
			clear(t.Figures) // they do not show what was to be measured
		}
	}
	return t
}

// explain asks the clients of a failed trial for their faults, unless they are known. It returns them as an error.
func (r *run) explain() error {
	if r.crowd == nil || !r.faults.none() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	v, err := r.crowd.audit(ctx, r.published)
	if err != nil {
		return nil // the trial's own error is the one to show
	}
	if r.faults = v.faults; r.faults.none() {
		return nil
	}
	return fmt.Errorf("the clients' faults: %+v %s", v.faults, v.why)
}

// outcome describes a trial in a few words.
func outcome(m mode, t trial) string {
	if t.Error != "" {
		return "FAILED: " + t.Error
	}
	var parts []string
	for _, f := range m.columns {
		if v, ok := t.Figures[f]; ok && len(parts) < 3 {
			parts = append(parts, format(f, v)+" "+titles[f])
		}
	}
	return strings.Join(parts, ", ")
}
