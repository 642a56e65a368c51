//go:build linux

package main

import (
	"fmt"
	"math"
	"slices"
)

// target is something that the gateway should reach, and whether it has.
type target struct {
	Mode    string `json:"mode"`
	Text    string `json:"target"`
	Figure  string `json:"figure"`
	Verdict string `json:"verdict"`
}

// Verdicts.
const (
	reached  = "reached"
	missed   = "missed"
	unjudged = "not judged" // the run had fewer clients than the target is for
	notShown = "failed"     // a trial failed
	unknown  = "not measured"
)

// flatGrows is the largest growth that still counts as flat.
const flatGrows = 1.15

// targets returns all targets of the modes that were run, with verdicts.
func targets(modes []mode, rs results) []target {
	var all []target
	for _, m := range modes {
		kinds := rs.of(m.name)
		if len(kinds) == 0 {
			continue
		}
		add := func(text string, clients, least int, ok bool, figure string, values ...float64) {
			t := target{Mode: m.name, Text: text, Figure: figure, Verdict: missed}
			switch {
			case anyFailed(rs, m.name):
				t.Verdict = notShown
			case slices.ContainsFunc(values, math.IsNaN): // not all servers were run
				t.Verdict = unknown
			case clients < least:
				t.Verdict = fmt.Sprintf("%s (%s clients; the target is for %s)", unjudged, thousands(clients), thousands(least))
			case ok:
				t.Verdict = reached
			}
			all = append(all, t)
		}
		judgeMode(m.name, kinds, rs, add)
	}
	return all
}

// judgeMode judges the targets of one mode.
func judgeMode(
	mode string, kinds []trial, rs results,
	add func(text string, clients, least int, ok bool, figure string, values ...float64),
) {
	clients := kinds[0].Clients
	gateway := func(figure string) float64 { return rs.median(mode, "", gatewayServer, figure) }
	overFloor := func(figure string) float64 { return rs.ratio(mode, "", gatewayServer, floorServer, figure) }
	switch mode {
	case "idle":
		memory, goroutines := gateway(figMemory), gateway(figGoroutines)
		add("15,000 idle streams: at most 2 KiB of user memory each", clients, 15_000, memory <= 2,
			number(memory)+" KiB", memory)
		add("goroutines do not grow with streams", clients, 1_000, goroutines < 0.01,
			number(goroutines)+" per stream", goroutines)
	case "paced":
		cost, p99 := overFloor(figCPU), overFloor(figP99)
		add("5,000 streams, one event at a time: CPU per delivery at most 1.15 × floor", clients, 5_000, cost <= 1.15,
			number(cost)+" × floor", cost)
		add("5,000 streams, one event at a time: p99 latency at most the floor's", clients, 5_000, p99 <= 1,
			number(p99)+" × floor", p99)
	case "burst":
		cost := overFloor(figCPU)
		add("2,000 to 5,000 streams, 64 events in flight: CPU per delivery at most 0.1 × floor, nothing lost",
			clients, 2_000, cost <= 0.1, number(cost)+" × floor", cost)
	case "channels":
		memory := gateway(figMemory)
		add("15,000 channels with a stream each: at most 4 KiB of user memory per stream", clients, 15_000, memory <= 4,
			number(memory)+" KiB", memory)
	case "sets":
		paced := rs.ratio(mode, setsPaced, gatewayServer, floorServer, figCPU)
		add("5,000 streams with a channel of their own each: CPU per delivery at most 1.25 × floor", clients, 5_000,
			paced <= 1.25, number(paced)+" × floor", paced)
		alone := rs.growth(mode, setsPaced, setsAlone, gatewayServer, figCPU)
		add("the same: at most 1.15 × that of streams of the shared channel alone", clients, 5_000, alone <= 1.15,
			number(alone)+" ×", alone)
		burst := rs.ratio(mode, setsBurst, gatewayServer, floorServer, figCPU)
		add("the same, 64 events in flight: CPU per delivery at most 0.15 × floor, nothing lost", clients, 5_000, burst <= 0.15,
			number(burst)+" × floor", burst)
		memory := rs.median(mode, setsPaced, gatewayServer, figMemory)
		add("the same: at most 3 KiB of user memory per stream and its channel", clients, 5_000, memory <= 3,
			number(memory)+" KiB", memory)
	case "resume":
		// The number of commands per channel must not depend on how many clients share it. Most of the commands are those of
		// appending the trial's own 50 events, about ten each.
		const most = 1000
		ok, text := true, ""
		var values []float64
		for _, t := range kinds {
			perChannel := rs.median(mode, t.Label, gatewayServer, figRedisPerChannel)
			ok = ok && perChannel <= most
			text += number(perChannel) + " (" + t.Label + "), "
			values = append(values, perChannel)
		}
		add("15,000 clients resume: Redis commands grow with channels, not with clients (at most 1,000 per channel); "+
			"no repeat, no hole",
			clients, 15_000, ok,
			fmt.Sprintf("%s%d events published to each among them", text, eventsAway+eventsDuring), values...)
	case "scale":
		small, large := smallestAndLargest(kinds)
		grows := rs.growth(mode, large.Label, small.Label, gatewayServer, figCPU)
		floors := rs.growth(mode, large.Label, small.Label, floorServer, figCPU)
		// The kernel's part grows by itself, because more sockets do not fit into the processor's caches. So the growth of
		// the floor in the same run is divided out. What remains is the growth of the gateway's own work.
		beyond := grows / max(1, floors)
		add("CPU per delivery is flat from 1,000 to 15,000 streams: at most 1.15 ×, beyond the floor's own growth",
			large.Clients, 15_000, beyond <= flatGrows,
			fmt.Sprintf("%s × (gateway %s ×, floor %s ×)", number(beyond), number(grows), number(floors)), beyond)
	}
}

// smallestAndLargest returns the trials with the fewest and with the most clients, of those with one replica.
func smallestAndLargest(kinds []trial) (small, large trial) {
	for _, t := range kinds {
		if t.Replicas > 1 {
			continue
		}
		if small.Clients == 0 || t.Clients < small.Clients {
			small = t
		}
		if t.Clients > large.Clients {
			large = t
		}
	}
	return small, large
}

func anyFailed(rs results, mode string) bool {
	for _, t := range rs.failed() {
		if t.Mode == mode {
			return true
		}
	}
	return false
}
