//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// progress shows a person how far the run is. On a terminal it rewrites the line of the running trial again and again.
// On other outputs it writes a line when a trial ends.
type progress struct {
	out   io.Writer
	width int // of the terminal; 0: the output is no terminal
	title string
	doing string
	shown time.Time
	began time.Time
}

func newProgress(out io.Writer) *progress {
	p := &progress{out: out, began: time.Now()}
	if f, ok := out.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
			p.width = max(int(size.Col), 40)
		}
	}
	return p
}

// step writes a line that stays.
func (p *progress) step(text string) { fmt.Fprintf(p.out, "%s\n", text) }

// begin shows which trial runs.
func (p *progress) begin(title string) {
	p.title, p.doing = title, ""
	p.line("")
}

// phase shows what the trial does now.
func (p *progress) phase(format string, args ...any) {
	p.doing = fmt.Sprintf(format, args...)
	p.line("")
}

// show shows how far the trial is, but not too often.
func (p *progress) show(format string, args ...any) {
	if time.Since(p.shown) > 100*time.Millisecond {
		p.line(fmt.Sprintf(format, args...))
	}
}

// line rewrites the line of the running trial.
func (p *progress) line(detail string) {
	if p.width > 0 {
		p.shown = time.Now()
		// A line that is longer than the terminal is wide could not be rewritten.
		text := []rune(fmt.Sprintf("%s  %s  %s", p.title, p.doing, detail))
		fmt.Fprint(p.out, "\r\x1b[K"+string(text[:min(len(text), p.width-1)]))
	}
}

// end writes the result of the trial.
func (p *progress) end(outcome string) {
	if p.width > 0 {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
	fmt.Fprintf(p.out, "%6.0fs %s: %s\n", time.Since(p.began).Seconds(), p.title, outcome)
}
