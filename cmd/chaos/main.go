package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9/logging"

	"sluice/cmd/internal/judge"
	"sluice/cmd/internal/report"
	"sluice/cmd/internal/rig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit codes.
const (
	exitPassed   = 0 // no promise was broken
	exitViolated = 1 // a promise was broken
	exitSetUp    = 2 // a run could not be set up
)

// options are the command's flags.
type options struct {
	scenario string
	except   string
	seconds  float64
	settle   time.Duration
	seed     uint64
	replicas int
	clients  int
	rate     float64
	gateway  string
	settings []string // of the replicas, in addition to those of the scenario
	json     string
	keep     bool
	progress func(format string, args ...any)
}

// parse reads the command line and refuses values out of bounds.
func parse(args []string, errOut io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.SetOutput(errOut)
	flags.StringVar(&o.scenario, "scenario", "all", "comma list of scenario `names`, or all")
	flags.StringVar(&o.except, "except", "", "comma list of scenario `names` to leave out")
	flags.Float64Var(&o.seconds, "seconds", 20, "how long events are published in each scenario")
	flags.DurationVar(&o.settle, "settle", 30*time.Second,
		"how long after the last publish an event may arrive before it counts as missing")
	flags.Uint64Var(&o.seed, "seed", 0, "seed of the random choices; 0: a random seed, which is printed")
	flags.IntVar(&o.replicas, "replicas", 3, "number of replicas of the gateway, 2 to 10")
	flags.IntVar(&o.clients, "clients", 24, "number of clients on the general channels, 8 to 500")
	flags.Float64Var(&o.rate, "rate", 200, "events per second, all channels together, 1 to 5000")
	flags.StringVar(&o.gateway, "gateway", "",
		"`path` of the gateway's program to check; empty: it is built from ./cmd/gateway")
	flags.Func("set", "`GATEWAY_NAME=value` for all replicas; may be given several times", func(s string) error {
		if !strings.HasPrefix(s, "GATEWAY_") || !strings.Contains(s, "=") {
			return errors.New("expected GATEWAY_NAME=value")
		}
		o.settings = append(o.settings, s)
		return nil
	})
	flags.StringVar(&o.json, "json", "", "`file` to write the report to as JSON")
	flags.BoolVar(&o.keep, "keep", false, "keep the logs of scenarios that pass, not only those of the others")
	flags.Usage = func() {
		fmt.Fprintln(errOut,
			"chaos breaks a running cluster on purpose and checks whether events are lost or repeated.\n\nFlags:")
		flags.PrintDefaults()
		fmt.Fprintln(errOut, "\nScenarios:")
		for _, s := range scenarios() {
			fmt.Fprintf(errOut, "  %-19s %s\n", s.name, s.about)
		}
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	for o.seed == 0 {
		o.seed = uint64(rand.Uint32())
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.seconds < 2 || o.seconds > 3600:
		return o, errors.New("-seconds must be from 2 to 3600")
	case o.settle < quietFor || o.settle > 10*time.Minute:
		return o, fmt.Errorf("-settle must be from %v to 10m", quietFor)
	case o.replicas < 2 || o.replicas > 10:
		return o, errors.New("-replicas must be from 2 to 10")
	case o.clients < 8 || o.clients > 500:
		return o, errors.New("-clients must be from 8 to 500")
	case o.rate < 1 || o.rate > 5000:
		return o, errors.New("-rate must be from 1 to 5000")
	case o.rate*o.seconds > 2*historySize:
		return o, fmt.Errorf("-rate times -seconds must not be more than %d: otherwise histories would be trimmed",
			2*historySize)
	}
	return o, nil
}

// command is the program. It returns the exit code.
func command(ctx context.Context, args []string, out, errOut io.Writer) int {
	o, err := parse(args, errOut)
	if errors.Is(err, flag.ErrHelp) {
		return exitPassed
	}
	chosen, err2 := choose(o.scenario, o.except)
	if err := errors.Join(err, err2); err != nil {
		fmt.Fprintln(errOut, "chaos:", err)
		return exitSetUp
	}
	logging.Disable() // go-redis would report every connection that is broken on purpose
	o.progress = func(format string, args ...any) { fmt.Fprintf(errOut, format+"\n", args...) }
	results, err := check(ctx, chosen, o)
	if err != nil {
		fmt.Fprintln(errOut, "chaos:", err)
		return exitSetUp
	}
	if err := table(out, results); err != nil {
		fmt.Fprintln(errOut, "chaos:", err)
		return exitSetUp
	}
	evidence(out, results)
	fmt.Fprintf(out, "\nseed %d\n", o.seed)
	if o.json != "" {
		s := summary{
			Date: time.Now().UTC(), Command: "go run ./cmd/chaos " + strings.Join(args, " "),
			Replicas: o.replicas, Clients: o.clients, Rate: o.rate, Results: results,
		}
		if err := report.WriteJSON(o.json, s); err != nil {
			fmt.Fprintln(errOut, "chaos:", err)
			return exitSetUp
		}
	}
	return exitCode(results)
}

// exitCode returns the exit code of the whole command.
func exitCode(results []result) int {
	code := exitPassed
	for _, r := range results {
		switch r.Outcome {
		case violated:
			return exitViolated
		case failed:
			code = exitSetUp
		}
	}
	return code
}

// check builds the gateway once and runs the scenarios one after the other.
func check(ctx context.Context, chosen []scenario, o options) ([]result, error) {
	if errSystem != nil {
		return nil, errSystem
	}
	if _, err := rig.Find("redis-server"); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "chaos-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(dir) // fails, as it should, if the folder of a scenario was kept
	binary, err := filepath.Abs(o.gateway)
	if err != nil {
		return nil, err
	}
	if o.gateway == "" {
		o.progress("building the gateway")
		b := rig.Binary{Package: "sluice/cmd/gateway"}
		if binary, err = b.Build(ctx, dir); err != nil {
			return nil, err
		}
		defer os.Remove(binary)
	}
	o.progress("seed %d, %d scenarios of %v s, logs in %s", o.seed, len(chosen), o.seconds, dir)
	var results []result
	for _, s := range chosen {
		logs := filepath.Join(dir, s.name)
		r := runAndJudge(ctx, s, o, binary, logs)
		if ctx.Err() != nil {
			return nil, errors.Join(errors.New("interrupted"), os.RemoveAll(logs))
		}
		o.progress("%s: %s %s", s.name, r.Outcome, r.Why)
		results = append(results, r)
	}
	return results, nil
}

// runAndJudge runs one scenario in a folder of its own. The folder is removed if the scenario passes.
func runAndJudge(ctx context.Context, s scenario, o options, gateway, dir string) result {
	out := result{Scenario: s.name, Seconds: o.seconds, Seed: o.seed, Outcome: passes}
	if err := os.Mkdir(dir, 0o755); err != nil {
		out.Outcome, out.Why = failed, err.Error()
		return out
	}
	o.progress("%s: %s", s.name, s.about)
	seen, err := runScenario(ctx, s, o, gateway, dir)
	switch {
	case errors.Is(err, rig.ErrMissing) && o.scenario == "all" && os.Getenv("CI") != "true":
		out.Outcome, out.Why = leftOut, err.Error()
	case err != nil:
		out.Outcome, out.Why, out.Logs = failed, err.Error(), dir
		return out
	default:
		out.Verdict = judge.Judge(seen)
		if !out.Passed() {
			out.Outcome, out.Logs = violated, dir
			if err := report.WriteJSON(filepath.Join(dir, "record.json"), seen); err != nil {
				out.Why = err.Error()
			}
			return out
		}
	}
	if o.keep {
		out.Logs = dir
	} else if err := os.RemoveAll(dir); err != nil {
		out.Why = err.Error()
	}
	return out
}
