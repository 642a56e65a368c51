//go:build linux

package main

import "context"

// mode is a kind of work that is measured.
type mode struct {
	name    string
	about   string
	works   func(o options) []work
	run     func(ctx context.Context, r *run) error // one trial
	key     string                                  // the figure whose ratios are shown; empty: none
	ratios  []string                                // servers the others are compared with
	columns []string                                // the figures shown
}

// work is what one trial does, apart from the server it does it with.
type work struct {
	label    string
	clients  int
	channels int // that the clients are spread over, in resume; 0: one
	events   int // per channel, the measured ones
	bytes    int // of an event's data; 0: what the options say
	replicas int // of the gateway
	servers  []string
}

// Which servers take part.
func everyServer() []string { return []string{floorServer, naiveServer, gatewayServer} }

// bothRatios are shown where floor and naive do the same work.
func bothRatios() []string { return []string{floorServer, naiveServer} }

func allModes() []mode {
	return []mode{
		idleMode(), pacedMode(), burstMode(), channelsMode(), resumeMode(), connectMode(), publishMode(), scaleMode(),
	}
}
