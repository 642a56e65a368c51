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

// spareFiles is how many file descriptors a server needs in addition to those of its clients' connections.
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
	against string // path of another build of the gateway; empty: there is none
	rate    int    // PUBLISHes a second of the paced trial of flood
	writer  string
	publish string
	json    string
	quick   bool
	limit   time.Duration

	settle time.Duration // pause before and after the work that is measured, so that work that follows later counts
	files  int           // file descriptors that a server may have
}

// parse reads the command line.
func parse(args []string, errOut io.Writer) (options, error) {
	o := options{settle: 200 * time.Millisecond, files: fileLimit()}
	var names, servers string
	flags := flag.NewFlagSet("loadtest", flag.ContinueOnError)
	flags.SetOutput(errOut)
	flags.StringVar(&names, "mode", "all", "comma list of `modes`, or all")
	flags.StringVar(&servers, "servers", "",
		"comma list of `servers`: floor, naive, gateway, against; empty: all of them")
	flags.IntVar(&o.clients, "clients", 0,
		"number of clients, instead of each mode's own; scale also measures a 15th and a third of it")
	flags.IntVar(&o.events, "events", 0,
		"number of events per trial of paced, burst, sets, filters, publish, raw, flood and scale, instead of each mode's own; "+
			"in deep, events stored per channel")
	flags.IntVar(&o.repeat, "repeat", 3, "number of turns; the tables show medians")
	flags.IntVar(&o.bytes, "bytes", 200, "length of an event's data in bytes")
	flags.DurationVar(&o.hold, "hold", 30*time.Second, "how long idle streams are held before their memory is measured")
	flags.StringVar(&o.gateway, "gateway", "",
		"`path` of the gateway's program to measure; empty: it is built from ./cmd/gateway")
	flags.StringVar(&o.against, "against", "",
		"`path` of another build of the gateway, which is measured in turns with this one; empty: there is none")
	flags.IntVar(&o.rate, "rate", statedRate, "PUBLISHes a second in the trial of flood that must lose nothing")
	flags.StringVar(&o.writer, "writer", "",
		"GATEWAY_WRITER of the gateway: `writer` epoll, goroutine or auto; empty: not set")
	flags.StringVar(&o.publish, "publish", "post",
		"how events are published to the gateway in paced, burst, channels, sets and scale: by `way` post or raw")
	flags.StringVar(&o.json, "json", "", "`file` to write all figures to")
	flags.BoolVar(&o.quick, "quick", false, "few clients and events: shows that everything works, not how fast it is")
	flags.DurationVar(&o.limit, "limit", 2*time.Hour, "give up after this time")
	flags.StringVar(&o.role, "role", "", "for the command's own use: the `role` of a process, floor, naive or clients")
	flags.Usage = func() {
		fmt.Fprintln(errOut,
			"loadtest measures the gateway beside the cheapest and the simplest server for the same work.\n\nFlags:")
		flags.PrintDefaults()
		fmt.Fprintln(errOut, "\nModes:")
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
	return o, o.validate(flags.Args(), given)
}

// works returns a mode's works. They have the chosen servers only; the other build of -against follows the gateway.
func (o *options) works(m mode) []work {
	var all []work
	for _, w := range m.works(*o) {
		if i := slices.Index(w.servers, gatewayServer); i >= 0 && o.against != "" {
			w.servers = slices.Insert(w.servers, i+1, againstServer)
		}
		w.servers = slices.DeleteFunc(w.servers, func(name string) bool {
			return len(o.servers) > 0 && !slices.Contains(o.servers, name)
		})
		all = append(all, w)
	}
	return all
}

// validate refuses values out of bounds. given has the names of the flags that were set.
func (o *options) validate(rest []string, given map[string]bool) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case given["clients"] && (o.clients < 1 || o.clients > o.files-spareFiles):
		return fmt.Errorf("-clients must be from 1 to %d, because a server may have %d file descriptors",
			o.files-spareFiles, o.files)
	case given["events"] && (o.events < 1 || o.events > 1_000_000):
		return errors.New("-events must be from 1 to 1000000")
	case o.repeat < 1 || o.repeat > 100:
		return errors.New("-repeat must be from 1 to 100")
	case o.bytes < leastBytes || o.bytes > mostBytes:
		return fmt.Errorf("-bytes must be from %d to %d", leastBytes, mostBytes)
	case o.hold < 0 || o.hold > time.Hour:
		return errors.New("-hold must be from 0s to 1h")
	case o.limit <= 0 || o.limit > 24*time.Hour:
		return errors.New("-limit must be more than 0s and at most 24h")
	case o.rate < 1 || o.rate > 1_000_000:
		return errors.New("-rate must be from 1 to 1000000")
	case slices.ContainsFunc(o.servers, func(name string) bool {
		return name != againstServer && !slices.Contains(everyServer(), name)
	}):
		return errors.New("-servers must be a list of floor, naive, gateway and against")
	case slices.Contains(o.servers, againstServer) && o.against == "":
		return errors.New("-servers against needs -against")
	case !slices.Contains([]string{"", "epoll", "goroutine", "auto"}, o.writer):
		return errors.New("-writer must be epoll, goroutine or auto")
	case !slices.Contains([]string{"post", "raw"}, o.publish):
		return errors.New("-publish must be post or raw")
	case !slices.Contains([]string{"", floorServer, naiveServer, "clients"}, o.role):
		return errors.New("-role must be floor, naive or clients")
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
			return nil, fmt.Errorf("unknown mode %q", name)
		}
		chosen = append(chosen, allModes()[i])
	}
	return chosen, nil
}

// size returns the number of clients of a mode. standard is its number without flags.
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

// number returns the number of events of a mode. standard is its number without flags.
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
