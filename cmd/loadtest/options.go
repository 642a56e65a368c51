//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// spareFiles is how many file descriptors a server needs beside its clients' connections.
const spareFiles = 500

// options are the command's flags.
type options struct {
	role    string
	modes   []mode
	servers []string
	clients int
	events  int
	repeat  int
	bytes   int
	hold    time.Duration
	gateway string // path; empty: built from ./cmd/gateway
	writer  string
	publish string
	json    string
	quick   bool
	limit   time.Duration

	settle time.Duration // before a span is measured, and at its end, so that work that trails behind counts
	files  int           // file descriptors a server may have
}

func parse(args []string, errOut io.Writer) (options, error) {
	o := options{settle: 200 * time.Millisecond, files: fileLimit()}
	var names, servers string
	flags := flag.NewFlagSet("loadtest", flag.ContinueOnError)
	flags.SetOutput(errOut)
	flags.StringVar(&names, "mode", "all", "comma list of `modes`, or all")
	flags.StringVar(&servers, "servers", "", "comma list of `servers`: floor, naive, gateway; empty: all that can")
	flags.IntVar(&o.clients, "clients", 0,
		"clients, instead of each mode's own number; scale takes a 15th, a third, and all")
	flags.IntVar(&o.events, "events", 0,
		"events per trial, instead of each mode's own number (paced, burst, publish, scale)")
	flags.IntVar(&o.repeat, "repeat", 3, "turns; the tables show medians")
	flags.IntVar(&o.bytes, "bytes", 200, "length of an event's data")
	flags.DurationVar(&o.hold, "hold", 30*time.Second, "how long idle streams are held before their memory is measured")
	flags.StringVar(&o.gateway, "gateway", "", "`path` of a gateway to measure instead of building ./cmd/gateway")
	flags.StringVar(&o.writer, "writer", "", "GATEWAY_WRITER of the gateway: epoll, goroutine or auto; empty: not set")
	flags.StringVar(&o.publish, "publish", "post",
		"how events reach the gateway in paced, burst, channels and scale: post or raw")
	flags.StringVar(&o.json, "json", "", "`file` to write all figures to")
	flags.BoolVar(&o.quick, "quick", false, "small and short: shows that everything works, not how fast")
	flags.DurationVar(&o.limit, "limit", 2*time.Hour, "give up after this time")
	flags.StringVar(&o.role, "role", "", "for the command's own use: floor, naive or clients")
	flags.Usage = func() {
		fmt.Fprintln(errOut,
			"loadtest measures the gateway beside the cheapest and the simplest program that do the same. Flags:")
		flags.PrintDefaults()
		fmt.Fprintln(errOut, "Modes:")
		for _, m := range allModes() {
			fmt.Fprintf(errOut, "  %-9s %s\n", m.name, m.about)
		}
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	given := make(map[string]bool)
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if o.quick {
		o.settle = 20 * time.Millisecond
		if !given["hold"] {
			o.hold = 300 * time.Millisecond
		}
		if !given["repeat"] {
			o.repeat = 1
		}
	}
	if servers != "" {
		o.servers = strings.Split(servers, ",")
	}
	var err error
	if o.modes, err = choose(names); err != nil {
		return o, err
	}
	return o, o.check(flags.Args(), given)
}

// works returns a mode's works, with the chosen servers only.
func (o *options) works(m mode) []work {
	var all []work
	for _, w := range m.works(*o) {
		w.servers = slices.DeleteFunc(w.servers, func(name string) bool {
			return len(o.servers) > 0 && !slices.Contains(o.servers, name)
		})
		all = append(all, w)
	}
	return all
}

// check refuses what would be unbounded, or makes no sense.
func (o *options) check(rest []string, given map[string]bool) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case given["clients"] && (o.clients < 1 || o.clients > o.files-spareFiles):
		return fmt.Errorf("-clients takes 1 to %d: a server may have %d file descriptors", o.files-spareFiles, o.files)
	case given["events"] && (o.events < 1 || o.events > 1_000_000):
		return errors.New("-events takes 1 to 1000000")
	case o.repeat < 1 || o.repeat > 100:
		return errors.New("-repeat takes 1 to 100")
	case o.bytes < leastBytes || o.bytes > mostBytes:
		return fmt.Errorf("-bytes takes %d to %d", leastBytes, mostBytes)
	case o.hold < 0 || o.hold > time.Hour:
		return errors.New("-hold takes 0s to 1h")
	case o.limit <= 0 || o.limit > 24*time.Hour:
		return errors.New("-limit takes a time up to 24h")
	case slices.ContainsFunc(o.servers, func(name string) bool { return !slices.Contains(everyServer(), name) }):
		return errors.New("-servers takes floor, naive and gateway")
	case !slices.Contains([]string{"", "epoll", "goroutine", "auto"}, o.writer):
		return errors.New("-writer takes epoll, goroutine or auto")
	case !slices.Contains([]string{"post", "raw"}, o.publish):
		return errors.New("-publish takes post or raw")
	case !slices.Contains([]string{"", floorServer, naiveServer, "clients"}, o.role):
		return errors.New("-role takes floor, naive or clients")
	}
	return nil
}

// choose returns the modes of a comma list.
func choose(names string) ([]mode, error) {
	if names == "all" {
		return allModes(), nil
	}
	var chosen []mode
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(allModes(), func(m mode) bool { return m.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no mode %q", name)
		}
		chosen = append(chosen, allModes()[i])
	}
	return chosen, nil
}

// size returns how many clients a mode takes that has standard of them by itself.
func (o *options) size(standard int) int {
	switch {
	case o.clients > 0:
		return o.clients
	case o.quick:
		return 50
	default:
		return min(standard, o.files-spareFiles)
	}
}

// number returns how many events a mode publishes that has standard of them by itself.
func (o *options) number(standard int) int {
	switch {
	case o.events > 0:
		return o.events
	case o.quick:
		return min(standard, 100)
	default:
		return standard
	}
}
