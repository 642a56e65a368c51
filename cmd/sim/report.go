package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"sluice/cmd/sim/internal/world"
)

// totals is what many worlds add up to. Its methods are called one at a time.
type totals struct {
	worlds     int
	virtual    time.Duration
	publishes  int
	events     int
	deliveries int
	gaps       int
	reconnects int
	unsure     int
	rawAgain   int
	slowest    time.Duration // recovery
	slowestOf  uint64
	faults     map[world.Kind]faultTotal
	failed     []world.Result
}

// faultTotal is how often one fault happened, and in how many worlds it hit something.
type faultTotal struct{ began, hit, worlds int }

func (t *totals) add(r world.Result) {
	t.worlds++
	t.virtual += r.Virtual
	t.publishes += r.Publishes
	t.events += r.Verdict.Events
	t.deliveries += r.Verdict.Deliveries
	t.gaps += r.Verdict.Gaps
	t.reconnects += r.Verdict.Reconnects
	t.unsure += r.Verdict.Unsure
	t.rawAgain += r.Verdict.RawAgain
	if r.Recovered > t.slowest {
		t.slowest, t.slowestOf = r.Recovered, r.Seed
	}
	for k, e := range r.Faults {
		f := t.faults[k]
		f.began += e.Began
		f.hit += e.Hit
		if e.Hit > 0 {
			f.worlds++
		}
		t.faults[k] = f
	}
	if !r.Verdict.Passed() {
		t.failed = append(t.failed, r)
	}
}

// runMany runs worlds side by side until they are done, time is over, or something cannot be run at all. stopEarly ends
// it at the first failure.
func (t *totals) runMany(ctx context.Context, m *machine, o options, stopEarly bool, progress func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	var wg sync.WaitGroup
	next, began, started := o.from, time.Now(), 0
	for range o.workers {
		wg.Go(func() {
			for {
				mu.Lock()
				for plan := world.NewPlan(next); next <= o.to && !plan.Has(o.with); plan = world.NewPlan(next) {
					next++
				}
				seed := next
				next++
				started++
				over := seed > o.to || o.most > 0 && started > o.most || ctx.Err() != nil || o.limit > 0 && time.Since(began) > o.limit
				mu.Unlock()
				if over {
					return
				}
				r, err := m.run(ctx, seed, nil, nil)
				mu.Lock()
				if err != nil {
					cancel(err)
				} else {
					t.add(r)
					if stopEarly && len(t.failed) > 0 {
						next = o.to + 1
					}
					progress()
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// runMany runs worlds and reports.
func runMany(ctx context.Context, m *machine, o options, out io.Writer) (bool, error) {
	began, told := time.Now(), time.Now()
	t := &totals{faults: map[world.Kind]faultTotal{}}
	fmt.Fprintf(out, "seeds from %d on, %d worlds at a time\n", o.from, o.workers)
	shown := 0
	err := t.runMany(ctx, m, o, false, func() {
		for ; shown < len(t.failed); shown++ {
			evidence(out, t.failed[shown])
			compare(ctx, m, t.failed[shown], out)
		}
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			speed := float64(t.worlds) / time.Since(began).Seconds()
			fmt.Fprintf(out, "%d worlds, %.2f a second, %d failed\n", t.worlds, speed, len(t.failed))
		}
	})
	t.report(out, time.Since(began))
	return len(t.failed) == 0, err
}

// evidence writes what the judge has found in one world.
func evidence(out io.Writer, r world.Result) {
	fmt.Fprintf(out, "FAILED: seed %d, trace %s: %v\n", r.Seed, r.Hash, r.Verdict.Counts)
	for _, v := range r.Verdict.Evidence {
		fmt.Fprintf(out, "  %s: %s %s at %.6f s: %s\n", v.Kind, v.Who, v.Channel, v.At.Seconds(), v.Detail)
	}
	fmt.Fprintf(out, "  go run ./cmd/sim -seed %d\n", r.Seed)
}

// compare runs the world of a failure again, and says if it is another history then: that would be a mistake of the
// simulation, and the failure could not be replayed.
func compare(ctx context.Context, m *machine, failed world.Result, out io.Writer) {
	again, err := m.run(ctx, failed.Seed, nil, nil)
	switch {
	case err != nil:
		fmt.Fprintf(out, "  it could not be run again: %v\n", err)
	case again.Hash != failed.Hash:
		fmt.Fprintf(out, "  NOT REPEATABLE: run again, its trace is %s and the verdict %v\n", again.Hash, again.Verdict.Counts)
	}
}

// report writes the table of faults and the sums.
func (t *totals) report(out io.Writer, took time.Duration) {
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "happened\thit\tin worlds\t fault\t")
	for _, k := range world.Kinds {
		f := t.faults[k]
		fmt.Fprintf(w, "%d\t%d\t%d\t %s\t\n", f.began, f.hit, f.worlds, k)
	}
	_ = w.Flush()
	fmt.Fprintf(out, "\n%d worlds in %.1f s (%.2f a second), %.0f virtual seconds; %d publishes, %d events stored, %d delivered, "+
		"%d gaps, %d reconnects, %d publishes nobody can be sure of, %d raw messages under two ids; "+
		"longest recovery %.1f s (seed %d)\n",
		t.worlds, took.Seconds(), float64(t.worlds)/took.Seconds(), t.virtual.Seconds(), t.publishes, t.events, t.deliveries, t.gaps,
		t.reconnects, t.unsure, t.rawAgain, t.slowest.Seconds(), t.slowestOf)
	kinds := map[string]int{}
	for _, r := range t.failed {
		for k := range r.Verdict.Counts {
			kinds[k]++
		}
	}
	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		fmt.Fprintf(out, "%d worlds with %s\n", kinds[k], k)
	}
	if len(t.failed) == 0 {
		fmt.Fprintln(out, "all passed")
	}
}

// replay runs one world with a log.
func replay(ctx context.Context, m *machine, seed uint64, drop []int, out io.Writer) (bool, error) {
	r, err := m.run(ctx, seed, drop, out)
	if err != nil {
		return false, err
	}
	fmt.Fprintf(out, "\ntrace %s, %.3f virtual seconds\n", r.Hash, r.Virtual.Seconds())
	if !r.Verdict.Passed() {
		evidence(out, r)
		return false, nil
	}
	fmt.Fprintln(out, "passed")
	return true, nil
}

// shrink looks for a part of the plan's actions with which the world still fails: it leaves them out one after the
// other, as long as that changes something.
func shrink(ctx context.Context, m *machine, seed uint64, out io.Writer) (bool, error) {
	r, err := m.run(ctx, seed, nil, nil)
	if err != nil {
		return false, err
	}
	if r.Verdict.Passed() {
		fmt.Fprintln(out, "passed: nothing to shrink")
		return true, nil
	}
	var drop []int
	for changed := true; changed; {
		changed = false
		for i := range r.Actions {
			if slices.Contains(drop, i) {
				continue
			}
			try := append(slices.Clone(drop), i)
			got, err := m.run(ctx, seed, try, nil)
			if err != nil {
				return false, err
			}
			if !got.Verdict.Passed() {
				drop, changed = try, true
				fmt.Fprintf(out, "still fails without %v: %v\n", drop, got.Verdict.Counts)
			}
		}
	}
	return replay(ctx, m, seed, drop, out)
}
