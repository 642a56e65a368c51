// Package transcript runs tests that are text files of steps and what comes out of each: a person reads them from top to
// bottom as a story.
//
//	# Lines that begin with # are comments.
//	publish 2a        the step: a command and its arguments
//	----
//	event 2a          what comes out; ends with an empty line or the file
//
// With the flag -rewrite (go test ./pubsub -run Transcript -rewrite) what comes out is written into the files instead of
// being compared. Read the difference before you commit it.
package transcript

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write what comes out into the transcripts")

const separator = "----"

// Run runs each file of a directory as a subtest with a new system: begin makes one and returns the function that carries
// out a step, given as words, and returns what comes out. Surrounding space of that does not count.
func Run(t *testing.T, dir string, begin func(t *testing.T) (step func(words []string) string)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts in %s (%v)", dir, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			now := play(t, file, strings.Split(string(text), "\n"), begin(t))
			if *rewrite && now != string(text) {
				if err := os.WriteFile(file, []byte(now), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// play carries out the steps of a file, compares what comes out, and returns the file as it should be.
func play(t *testing.T, file string, lines []string, step func(words []string) string) string {
	t.Helper()
	var now strings.Builder
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if i > 0 {
			now.WriteString("\n")
		}
		now.WriteString(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		number := i + 1
		if i++; i == len(lines) || lines[i] != separator {
			t.Fatalf("%s:%d: a step without %s", file, number, separator)
		}
		var want []string
		for i+1 < len(lines) && lines[i+1] != "" {
			i++
			want = append(want, lines[i])
		}
		got := strings.TrimSpace(step(strings.Fields(line)))
		if wanted := strings.Join(want, "\n"); got != wanted && !*rewrite {
			t.Fatalf("%s:%d: %s\ngot:\n%s\nwant:\n%s", file, number, line, got, wanted)
		}
		now.WriteString("\n" + separator)
		if got != "" {
			now.WriteString("\n" + got)
		}
	}
	return now.String()
}
