//go:build linux

package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// writeReport writes everything as Markdown that is readable as plain text too: ratios first.
func writeReport(out io.Writer, r report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n`%s` on %s; %s. Medians of %d; events of %d bytes.\n",
		r.Command, r.Machine, r.Versions, r.Repeat, r.Bytes)
	if r.Partial {
		b.WriteString("\nThe run was interrupted: what follows is of the trials until then.\n")
	}
	writeRatios(&b, r)
	for _, m := range r.modes {
		writeMode(&b, m, r.Trials)
	}
	writeTargets(&b, r.Targets)
	for _, t := range r.Trials.failed() {
		fmt.Fprintf(&b, "\nFAILED: %s %s, turn %d, %s: %s\n", t.Mode, t.Label, t.Turn, t.Server, t.Error)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// writeRatios writes how the gateway stands to the others, for all modes in which they do the same.
func writeRatios(b *strings.Builder, r report) {
	t := table{head: []string{"gateway, ratio of", "÷ floor", "÷ naive"}}
	for _, m := range r.modes {
		if m.key == "" {
			continue
		}
		for _, k := range r.Trials.of(m.name) {
			if k.Server != gatewayServer || !slices.ContainsFunc(bothRatios(), func(other string) bool {
				return !math.IsNaN(r.Trials.ratio(m.name, k.Label, gatewayServer, other, m.key))
			}) {
				continue
			}
			name := strings.TrimSuffix(m.name+", "+k.Label, ", ")
			row := []string{fmt.Sprintf("%s: %s", name, titles[m.key])}
			for _, other := range bothRatios() {
				v := math.NaN()
				if slices.Contains(m.ratios, other) {
					v = r.Trials.ratio(m.name, k.Label, gatewayServer, other, m.key)
				}
				row = append(row, number(v))
			}
			t.rows = append(t.rows, row)
		}
	}
	if len(t.rows) > 0 {
		b.WriteString("\n")
		t.write(b)
	}
}

// writeMode writes one mode's table.
func writeMode(b *strings.Builder, m mode, rs results) {
	kinds := rs.of(m.name)
	if len(kinds) == 0 {
		return
	}
	slices.Reverse(kinds) // the gateway first
	slices.SortStableFunc(kinds, func(x, y trial) int { return place(rs, m.name, x.Label) - place(rs, m.name, y.Label) })
	sizes := ""
	if kinds[0].Label == "" {
		sizes = fmt.Sprintf(", %s clients", thousands(kinds[0].Clients))
		if kinds[0].Events > 0 {
			sizes += fmt.Sprintf(", %s events", thousands(kinds[0].Events))
		}
	}
	fmt.Fprintf(b, "\n%s: %s%s", m.name, m.about, sizes)
	if busy := rs.most(m.name, figElsewhere); busy >= 5 {
		fmt.Fprintf(b, " (disturbed: up to %s %% of the machine worked for others)", number(busy))
	}
	if stolen := rs.most(m.name, figStolen); stolen >= 2 {
		fmt.Fprintf(b, " (disturbed: the host took up to %s %% of the machine)", number(stolen))
	}
	b.WriteString("\n\n")

	t := table{head: []string{"server"}}
	for _, other := range m.ratios {
		t.head = append(t.head, "÷ "+other)
	}
	for _, f := range m.columns {
		t.head = append(t.head, titles[f])
	}
	for _, k := range kinds {
		row := []string{strings.TrimSuffix(k.Server+", "+k.Label, ", ")}
		for _, other := range m.ratios {
			row = append(row, number(rs.ratio(m.name, k.Label, k.Server, other, m.key)))
		}
		for _, f := range m.columns {
			row = append(row, number(rs.median(m.name, k.Label, k.Server, f)))
		}
		t.rows = append(t.rows, row)
	}
	t.write(b)
}

// place returns where among a mode's works a label comes.
func place(rs results, mode, label string) int {
	return slices.IndexFunc(rs.of(mode), func(t trial) bool { return t.Label == label })
}

func writeTargets(b *strings.Builder, targets []target) {
	t := table{head: []string{"target", "measured", "verdict"}}
	for _, x := range targets {
		t.rows = append(t.rows, []string{x.Text, x.Figure, x.Verdict})
	}
	if len(t.rows) > 0 {
		b.WriteString("\n")
		t.write(b)
	}
}

// table is a Markdown table. The first column is aligned to the left, numbers to the right.
type table struct {
	head []string
	rows [][]string
}

func (t table) write(b *strings.Builder) {
	widths := make([]int, len(t.head))
	right := make([]bool, len(t.head))
	for i := range t.head {
		right[i] = i > 0
		for _, row := range append([][]string{t.head}, t.rows...) {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]), 3)
		}
		for _, row := range t.rows {
			right[i] = right[i] && strings.Trim(row[i], "0123456789.,-–") == ""
		}
	}
	line := func(row []string) {
		for i, cell := range row {
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if right[i] {
				cell, space = space+cell, ""
			}
			b.WriteString("| " + cell + space + " ")
		}
		b.WriteString("|\n")
	}
	line(t.head)
	for i, w := range widths {
		if right[i] {
			b.WriteString("| " + strings.Repeat("-", w-1) + ": ")
		} else {
			b.WriteString("| " + strings.Repeat("-", w) + " ")
		}
	}
	b.WriteString("|\n")
	for _, row := range t.rows {
		line(row)
	}
}
