//go:build linux

package main

import "context"

// mode is one kind of measurement.
type mode struct {
	name    string
	about   string
	works   func(o options) []work                  // what its trials do
	run     func(ctx context.Context, r *run) error // does one trial
	key     string                                  // the figure whose ratios are shown; empty: none
	ratios  []string                                // the servers that the others are compared with
	columns []string                                // the figures that are shown
}

// work is what one trial does, with any of its servers.
type work struct {
	label    string
	clients  int
	channels int      // how many channels the clients are spread over, in the mode resume; 0: one
	events   int      // measured events per channel
	bytes    int      // of an event's data; 0: as in the options
	replicas int      // of the gateway
	callers  int      // connections that publish by POST; 0: as many as posters
	kind     string   // type of the events; empty: none
	rate     int      // raw messages a second, in the mode flood; 0: as many as Redis takes
	settings []string // of the gateway
	servers  []string
}

// everyServer returns the names of all servers that this program brings along. The other build of -against takes part
// wherever the gateway does.
func everyServer() []string { return []string{floorServer, naiveServer, gatewayServer} }

// bothRatios returns the servers that the gateway is compared with.
func bothRatios() []string { return []string{floorServer, naiveServer} }

// allModes returns the modes in the order in which they are run.
func allModes() []mode {
	return []mode{
		idleMode(), pacedMode(), burstMode(), channelsMode(), setsMode(), filtersMode(), resumeMode(), deepMode(),
		connectMode(), publishMode(), rawMode(), floodMode(), watchMode(), scaleMode(),
	}
}
