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
	unjudged = "not judged" // the run was smaller than the target is for
	notShown = "failed"     // a trial failed
	unknown  = "not measured"
)

// judging judges the targets of one mode, from all trials of a run.
type judging struct {
	mode  string
	kinds []trial // of the mode, one for each work and server
	rs    results
	found []target
}

// targets returns all targets of the modes that were run, with verdicts.
func targets(modes []mode, rs results) []target {
	var all []target
	for _, m := range modes {
		j := &judging{mode: m.name, kinds: rs.of(m.name), rs: rs}
		if judge := targetsOf[m.name]; judge != nil && len(j.kinds) > 0 {
			judge(j)
			all = append(all, j.found...)
		}
	}
	return all
}

// size is how large a run was in one respect, and how large it must be for a target.
type size struct {
	have, need int
	of         string
}

// clients returns the size of a work by its clients.
func (j *judging) clients(label string, need int) size {
	return size{j.work(label).Clients, need, "clients"}
}

// events returns the size of a work by its events.
func (j *judging) events(label string, need int) size {
	return size{j.work(label).Events, need, "events"}
}

// work returns a trial with a label. An empty label stands for the mode's first work.
func (j *judging) work(label string) trial {
	for _, t := range j.kinds {
		if label == "" || t.Label == label {
			return t
		}
	}
	return trial{}
}

// median returns a figure of the gateway.
func (j *judging) median(label, figure string) float64 {
	return j.rs.median(j.mode, label, gatewayServer, figure)
}

// over returns the ratio of a figure of the gateway to that of another server.
func (j *judging) over(other, label, figure string) float64 {
	return j.rs.ratio(j.mode, label, gatewayServer, other, figure)
}

// worst returns the largest value of a figure of the gateway in all turns of a work, or NaN if there is none.
func (j *judging) worst(label, figure string) float64 {
	worst := math.NaN()
	for _, v := range j.rs.values(j.mode, label, gatewayServer, figure) {
		if !(math.Abs(v) <= math.Abs(worst)) {
			worst = v
		}
	}
	return worst
}

// most judges a target that is reached by a value that is small enough. unit follows the value in the report.
func (j *judging) most(text string, s size, value, limit float64, unit string) {
	j.add(text, s, value <= limit, number(value)+unit, value)
}

// least judges a target that is reached by a value that is large enough.
func (j *judging) least(text string, s size, value, limit float64, unit string) {
	j.add(text, s, value >= limit, number(value)+unit, value)
}

// add adds a target. values are what its verdict depends on: without one of them there is none.
func (j *judging) add(text string, s size, ok bool, figure string, values ...float64) {
	t := target{Mode: j.mode, Text: text, Figure: figure, Verdict: missed}
	switch {
	case anyFailed(j.rs, j.mode):
		t.Verdict = notShown
	case slices.ContainsFunc(values, math.IsNaN): // not all servers were run
		t.Verdict = unknown
	case s.have < s.need:
		t.Verdict = fmt.Sprintf("%s (%s %s; the target is for %s)", unjudged, thousands(s.have), s.of, thousands(s.need))
	case ok:
		t.Verdict = reached
	}
	j.found = append(j.found, t)
}

// anyFailed reports whether a trial of a mode has no figures because it failed. One of the other build is missing in the
// ratios, and that is all.
func anyFailed(rs results, mode string) bool {
	for _, t := range rs.broken() {
		if t.Mode == mode && len(t.Figures) == 0 { // with figures, the targets that they miss say enough
			return true
		}
	}
	return false
}
