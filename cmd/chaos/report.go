package main

import (
	"fmt"
	"io"
	"time"

	"sluice/cmd/internal/judge"
	"sluice/cmd/internal/report"
)

// result is one scenario's line of the report.
type result struct {
	Scenario string  `json:"scenario"`
	Seconds  float64 `json:"seconds"`
	Seed     uint64  `json:"seed"`
	Outcome  string  `json:"verdict"` // one of the verdicts below
	Why      string  `json:"why,omitempty"`
	Logs     string  `json:"logs,omitempty"`
	judge.Verdict
}

// Verdicts.
const (
	passes   = "pass"
	violated = "VIOLATED"
	leftOut  = "skipped" // a program is not installed
	failed   = "ERROR"   // the run could not be set up
)

// table writes the results as a table, a row for each scenario.
func table(w io.Writer, results []result) error {
	t := report.Table{Head: []string{
		"scenario", "events", "deliveries", "reconnects", "repeats", "silent holes", "announced gaps", "reorderings",
		"lost", "stored twice", "worst recovery", "verdict",
	}}
	for _, r := range results {
		row := []string{r.Scenario}
		if r.Outcome == leftOut || r.Outcome == failed {
			for len(row) < len(t.Head)-1 {
				row = append(row, "–")
			}
		} else {
			for _, n := range []int{
				r.Events, r.Deliveries, r.Reconnects, r.Counts[judge.Repeat], r.Counts[judge.SilentHole] + r.Counts[judge.Skipped], r.Gaps,
				r.Counts[judge.Reordering], r.Counts[judge.Lost], r.Counts[judge.Doubled],
			} {
				row = append(row, fmt.Sprint(n))
			}
			row = append(row, fmt.Sprintf("%.1f s", r.Worst.Seconds()))
		}
		t.Rows = append(t.Rows, append(row, r.Outcome))
	}
	return t.Write(w)
}

// evidence writes the reasons of each verdict that is not a pass.
func evidence(w io.Writer, results []result) {
	for _, r := range results {
		if r.Outcome == passes {
			continue
		}
		fmt.Fprintf(w, "\n%s: %s %s\n", r.Scenario, r.Outcome, r.Why)
		shown := map[string]int{}
		for _, v := range r.Evidence {
			shown[v.Kind]++
			fmt.Fprintf(w, "  %s (%d of %d): %s %s at %.3f s: %s\n",
				v.Kind, shown[v.Kind], r.Counts[v.Kind], v.Who, v.Channel, v.At.Seconds(), v.Detail)
		}
		if r.Logs != "" {
			fmt.Fprintf(w, "  logs and record: %s\n", r.Logs)
		}
	}
}

// summary is the whole report as JSON.
type summary struct {
	Date     time.Time `json:"date"`
	Command  string    `json:"command"`
	Replicas int       `json:"replicas"`
	Clients  int       `json:"clients"`
	Rate     float64   `json:"rate"`
	Results  []result  `json:"results"`
}
