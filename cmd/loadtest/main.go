//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/redis/go-redis/v9/logging"

	"sluice/cmd/internal/report"
)

// Exit codes.
const (
	exitGood   = 0
	exitFailed = 1 // a trial failed, but not of the other build: an event was lost, repeated or out of order, or a server gave up
	exitSetUp  = 2 // nothing could be measured
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// command is the program. It returns the exit code.
func command(ctx context.Context, args []string, in *os.File, out, errOut io.Writer) int {
	o, err := parse(args, errOut)
	if errors.Is(err, flag.ErrHelp) {
		return exitGood
	}
	if err == nil && o.role != "" {
		err = play(o.role, in, out)
		if err == nil {
			return exitGood
		}
	}
	code := exitGood
	if err == nil {
		code, err = measure(ctx, args, o, out, errOut)
	}
	if err != nil {
		fmt.Fprintln(errOut, "loadtest:", err)
		return exitSetUp
	}
	return code
}

// play runs a role, in a process that this command has started from itself.
func play(role string, in *os.File, out io.Writer) error {
	switch role {
	case floorServer:
		return runFloor(in, out)
	case naiveServer:
		return runNaive(in, out)
	default:
		return runClients(in, out)
	}
}

// measure runs the modes and writes the results. It returns the exit code.
func measure(ctx context.Context, args []string, o options, out, errOut io.Writer) (int, error) {
	logging.Disable() // go-redis would report every try to reach a server that is about to listen
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	trials, err := runModes(ctx, o, newProgress(errOut))
	if len(trials) == 0 {
		return exitSetUp, err
	}
	r := newSummary(args, o, trials)
	r.Partial = err != nil
	err = errors.Join(err, writeReport(out, r))
	if o.json != "" {
		err = errors.Join(err, report.WriteJSON(o.json, r))
	}
	if len(r.Trials.broken()) > 0 {
		return exitFailed, err
	}
	return exitGood, err
}
