// Package report writes what the commands found out: tables for people, JSON for programs.
//
// It knows nothing of what the cells mean. cmd/chaos and cmd/loadtest use it.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Table is a table whose rows all have a cell for each word of the head.
type Table struct {
	Head []string
	Rows [][]string
}

// leastWidth is the least width of a column: Markdown wants that many dashes.
const leastWidth = 3

// number matches a cell that is a number, also with a unit of time, or a dash for "no value".
var number = regexp.MustCompile(`^[-–0-9.,]+( [mµn]?s)?$`)

// Write writes the table as Markdown, with columns that line up in a terminal, too. A column of numbers is aligned to
// the right, except the first column.
func (t Table) Write(w io.Writer) error {
	widths, right := make([]int, len(t.Head)), make([]bool, len(t.Head))
	for i, title := range t.Head {
		widths[i], right[i] = max(utf8.RuneCountInString(title), leastWidth), i > 0
		for _, row := range t.Rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
			right[i] = right[i] && number.MatchString(row[i])
		}
	}
	var b strings.Builder
	line := func(row []string) {
		for i, cell := range row {
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if right[i] {
				cell, space = space+cell, ""
			}
			fmt.Fprintf(&b, "| %s%s ", cell, space)
		}
		b.WriteString("|\n")
	}
	line(t.Head)
	for i, width := range widths {
		dashes := strings.Repeat("-", width)
		if right[i] {
			dashes = dashes[1:] + ":"
		}
		fmt.Fprintf(&b, "| %s ", dashes)
	}
	b.WriteString("|\n")
	for _, row := range t.Rows {
		line(row)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteJSON writes v to a file, indented.
func WriteJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644) // what was measured is no secret
}
