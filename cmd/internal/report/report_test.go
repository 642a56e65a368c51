package report_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/cmd/internal/report"
)

func TestColumnsOfNumbersAreAlignedToTheRight(t *testing.T) {
	var b strings.Builder
	table := report.Table{
		Head: []string{"what", "µs", "took", "said"},
		Rows: [][]string{{"1", "1.00", "0.5 s", "2 of them"}, {"bcdef", "–", "12.0 s", "no"}},
	}
	if err := table.Write(&b); err != nil {
		t.Fatal(err)
	}
	want := "| what  |   µs |   took | said      |\n" +
		"| ----- | ---: | -----: | --------- |\n" +
		"| 1     | 1.00 |  0.5 s | 2 of them |\n" +
		"| bcdef |    – | 12.0 s | no        |\n"
	if got := b.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestTheFirstColumnIsAlignedToTheLeft(t *testing.T) {
	var b strings.Builder
	if err := (report.Table{Head: []string{"n", "n"}, Rows: [][]string{{"1", "1"}}}).Write(&b); err != nil {
		t.Fatal(err)
	}
	if want := "| n   |   n |\n| --- | --: |\n| 1   |   1 |\n"; b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestJSONEndsWithALineBreak(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.json")
	if err := report.WriteJSON(path, map[string]int{"a": 1}); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "{\n  \"a\": 1\n}\n" {
		t.Errorf("got %q, %v", text, err)
	}
	if err := report.WriteJSON(path, func() {}); err == nil {
		t.Error("a function is written as JSON")
	}
}
