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
	channels int // how many channels the clients are spread over, in the mode resume; 0: one
	events   int // measured events per channel
	bytes    int // of an event's data; 0: as in the options
	replicas int // of the gateway
	servers  []string
}

// everyServer returns the names of all servers.
func everyServer() []string { return []string{floorServer, naiveServer, gatewayServer} }

// bothRatios returns the servers that the gateway is compared with.
func bothRatios() []string { return []string{floorServer, naiveServer} }

// allModes returns the modes in the order in which they are run.
func allModes() []mode {
	return []mode{
		idleMode(), pacedMode(), burstMode(), channelsMode(), setsMode(), resumeMode(), connectMode(), publishMode(), scaleMode(),
	}
}
