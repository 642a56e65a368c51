//go:build linux

package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"sluice/cmd/internal/report"
)

// writeReport writes everything as Markdown that reads well as plain text, too. The ratios come first.
func writeReport(out io.Writer, r summary) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n`%s` on %s; %s. Medians of %d; events of %d bytes.\n",
		r.Command, r.Machine, r.Versions, r.Repeat, r.Bytes)
	if r.Partial {
		b.WriteString("\nThe run was interrupted. The figures are those of the trials until then.\n")
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

// writeRatios writes the ratios of the gateway to the other servers, for all modes in which they do the same work.
func writeRatios(b *strings.Builder, r summary) {
	others := append(bothRatios(), againstServer)
	t := report.Table{Head: []string{"gateway, ratio of"}}
	for _, other := range others {
		t.Head = append(t.Head, "÷ "+other)
	}
	for _, m := range r.modes {
		if m.key == "" {
			continue
		}
		for _, k := range r.Trials.of(m.name) {
			if k.Server != gatewayServer || !slices.ContainsFunc(others, func(other string) bool {
				return !math.IsNaN(r.Trials.ratio(m.name, k.Label, gatewayServer, other, m.key))
			}) {
				continue
			}
			name := strings.TrimSuffix(m.name+", "+k.Label, ", ")
			row := []string{fmt.Sprintf("%s: %s", name, titles[m.key])}
			for _, other := range others {
				v := math.NaN()
				if other == againstServer || slices.Contains(m.ratios, other) {
					v = r.Trials.ratio(m.name, k.Label, gatewayServer, other, m.key)
				}
				row = append(row, number(v))
			}
			t.Rows = append(t.Rows, row)
		}
	}
	if len(t.Rows) > 0 {
		b.WriteString("\n")
		_ = t.Write(b) // a strings.Builder takes everything
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
		fmt.Fprintf(b, " (disturbed: up to %s %% of the machine was used by others)", number(busy))
	}
	if stolen := rs.most(m.name, figStolen); stolen >= 2 {
		fmt.Fprintf(b, " (disturbed: the host took up to %s %% of the machine)", number(stolen))
	}
	b.WriteString("\n\n")

	t := report.Table{Head: []string{"server"}}
	ratios := m.ratios
	if m.key != "" && slices.ContainsFunc(kinds, func(k trial) bool { return k.Server == againstServer }) {
		ratios = append(slices.Clone(ratios), againstServer)
	}
	for _, other := range ratios {
		t.Head = append(t.Head, "÷ "+other)
	}
	for _, f := range m.columns {
		t.Head = append(t.Head, titles[f])
	}
	for _, k := range kinds {
		row := []string{strings.TrimSuffix(k.Server+", "+k.Label, ", ")}
		for _, other := range ratios {
			row = append(row, number(rs.ratio(m.name, k.Label, k.Server, other, m.key)))
		}
		for _, f := range m.columns {
			row = append(row, format(f, rs.median(m.name, k.Label, k.Server, f)))
		}
		t.Rows = append(t.Rows, row)
	}
	_ = t.Write(b) // a strings.Builder takes everything
}

// place returns the index of a label among a mode's works.
func place(rs results, mode, label string) int {
	return slices.IndexFunc(rs.of(mode), func(t trial) bool { return t.Label == label })
}

// writeTargets writes the targets and whether they were reached.
func writeTargets(b *strings.Builder, targets []target) {
	t := report.Table{Head: []string{"target", "measured", "verdict"}}
	for _, x := range targets {
		t.Rows = append(t.Rows, []string{x.Text, x.Figure, x.Verdict})
	}
	if len(t.Rows) > 0 {
		b.WriteString("\n")
		_ = t.Write(b) // a strings.Builder takes everything
	}
}
