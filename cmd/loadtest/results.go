//go:build linux

package main

import (
	"math"
	"slices"
)

// results are all trials of a run, with the questions that a report asks.
type results []trial

// values returns a figure by turn.
func (rs results) values(mode, label, server, figure string) map[int]float64 {
	values := make(map[int]float64)
	for _, t := range rs {
		if t.Mode == mode && t.Label == label && t.Server == server {
			if v, ok := t.Figures[figure]; ok {
				values[t.Turn] = v
			}
		}
	}
	return values
}

// median returns a figure's median over the turns, or NaN if there is none.
func (rs results) median(mode, label, server, figure string) float64 {
	var all []float64
	for _, v := range rs.values(mode, label, server, figure) {
		all = append(all, v)
	}
	return median(all)
}

// ratio returns the median over the turns of a figure's ratio between two servers. Each ratio is taken within one turn:
// what slows the machine down for a while slows both servers, because they run one after the other.
func (rs results) ratio(mode, label, server, other, figure string) float64 {
	return medianRatio(rs.values(mode, label, server, figure), rs.values(mode, label, other, figure))
}

// growth returns the median over the turns of a figure's ratio between two works of one server.
func (rs results) growth(mode, label, from, server, figure string) float64 {
	return medianRatio(rs.values(mode, label, server, figure), rs.values(mode, from, server, figure))
}

// medianRatio divides values by others, turn by turn, and returns the median. A turn without both is left out.
func medianRatio(values, others map[int]float64) float64 {
	var all []float64
	for turn, v := range values {
		if d := others[turn]; d > 0 {
			all = append(all, v/d)
		}
	}
	return median(all)
}

// most returns the largest value of a figure in a mode, or NaN if there is none.
func (rs results) most(mode, figure string) float64 {
	most := math.NaN()
	for _, t := range rs {
		if v, ok := t.Figures[figure]; ok && t.Mode == mode && !(v <= most) {
			most = v
		}
	}
	return most
}

// failed returns the trials with an error.
func (rs results) failed() []trial {
	var failed []trial
	for _, t := range rs {
		if t.Error != "" {
			failed = append(failed, t)
		}
	}
	return failed
}

// broken returns the failed trials that count as failures of the run. What the other build of -against loses is shown, but
// says nothing about this one.
func (rs results) broken() []trial {
	return slices.DeleteFunc(rs.failed(), func(t trial) bool { return t.Server == againstServer })
}

// of returns the trials of a mode, one for each work and server, in the order in which they were run.
func (rs results) of(mode string) []trial {
	var kinds []trial
	for _, t := range rs {
		if t.Mode == mode && t.Turn == 1 {
			kinds = append(kinds, t)
		}
	}
	return kinds
}

// median returns the middle of values, the mean of the two in the middle if their number is even, or NaN if there are
// none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 1 {
		return values[middle]
	}
	return (values[middle-1] + values[middle]) / 2
}
