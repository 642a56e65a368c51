package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/cmd/sim/internal/world"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	ok, err := command(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "sim:", err)
		os.Exit(2)
	case !ok:
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	from, to uint64 // seeds
	one      bool   // -seed: with a log
	shrink   bool
	workers  int
	limit    time.Duration
	bug      string
	bugs     bool
	budget   int
	most     int          // worlds; 0: as many as there are seeds
	with     []world.Kind // only worlds that have all of these faults
}

// command does what the command line asks for. ok is false if a world failed.
func command(ctx context.Context, args []string, out io.Writer) (ok bool, err error) {
	o := options{}
	flags := flag.NewFlagSet("sim", flag.ContinueOnError)
	seeds := flags.String("seeds", "", "worlds to run, for example 1-1000; empty: from a fresh seed on until -time is over")
	seed := flags.String("seed", "", "one world, with a log of everything")
	flags.BoolVar(&o.shrink, "shrink", false, "with -seed: look for fewer faults with which it still fails")
	flags.IntVar(&o.workers, "workers", runtime.NumCPU(), "worlds side by side")
	flags.DurationVar(&o.limit, "time", 0, "begin no world after that")
	flags.StringVar(&o.bug, "bug", "", "plant a bug: "+bugNames())
	flags.BoolVar(&o.bugs, "bugs", false, "plant each bug in turn and look for it")
	flags.IntVar(&o.budget, "budget", 500, "with -bugs: worlds at most for each")
	with := flags.String("with", "", "only worlds that have all of these faults, as the report names them, separated by commas")
	if err := flags.Parse(args); err != nil {
		return false, err
	}
	if o.with, err = kindsOf(*with); err != nil {
		return false, err
	}
	switch {
	case *seed != "":
		o.one = true
		o.from, err = strconv.ParseUint(*seed, 10, 64)
		o.to = o.from
	case *seeds != "":
		o.from, o.to, err = seedRange(*seeds)
	default:
		if o.limit == 0 && !o.bugs {
			o.limit = 2 * time.Minute
		}
		o.from = uint64(time.Now().Unix()) * 1000
		o.to = o.from + 1<<40
	}
	if err != nil {
		return false, err
	}
	if o.bugs {
		return huntAll(ctx, o, out)
	}
	replaced, err := plant(ctx, o.bug)
	if err != nil {
		return false, err
	}
	wasm, err := build(ctx, replaced)
	if err != nil {
		return false, err
	}
	m, err := newMachine(ctx, wasm)
	if err != nil {
		return false, err
	}
	defer m.close(ctx)
	switch {
	case o.one && o.shrink:
		return shrink(ctx, m, o.from, out)
	case o.one:
		return replay(ctx, m, o.from, nil, out)
	}
	return runMany(ctx, m, o, out)
}

func seedRange(text string) (from, to uint64, err error) {
	a, b, found := strings.Cut(text, "-")
	if !found {
		b = a
	}
	if from, err = strconv.ParseUint(a, 10, 64); err == nil {
		to, err = strconv.ParseUint(b, 10, 64)
	}
	if err != nil || to < from {
		return 0, 0, fmt.Errorf("-seeds %s: a range such as 1-1000 is expected", text)
	}
	return from, to, nil
}

// kindsOf reads the names of faults.
func kindsOf(text string) (kinds []world.Kind, err error) {
	if text == "" {
		return nil, nil
	}
	for name := range strings.SplitSeq(text, ",") {
		k := world.Kind(strings.TrimSpace(name))
		if !slices.Contains(world.Kinds, k) {
			return nil, fmt.Errorf("-with: no fault %q; there are: %q", k, world.Kinds)
		}
		kinds = append(kinds, k)
	}
	return kinds, nil
}
