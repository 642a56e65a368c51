//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sluice/cmd/internal/rig"
)

// summary is a whole run, as it is written to the JSON file.
type summary struct {
	Date     time.Time `json:"date"`
	Command  string    `json:"command"`
	Machine  string    `json:"machine"`
	Versions string    `json:"versions"`
	Repeat   int       `json:"repeat"`
	Bytes    int       `json:"bytes"` // of an event's data
	Writer   string    `json:"writer,omitempty"`
	Partial  bool      `json:"partial,omitempty"` // the run was interrupted
	Targets  []target  `json:"targets"`
	Trials   results   `json:"trials"`

	modes []mode
}

func newSummary(args []string, o options, trials []trial) summary {
	return summary{
		Date: time.Now().UTC(), Command: strings.TrimSpace("go run ./cmd/loadtest " + strings.Join(args, " ")),
		Machine: machine(), Versions: versions(), Repeat: o.repeat, Bytes: o.bytes, Writer: o.writer,
		Targets: targets(o.modes, trials), Trials: trials, modes: o.modes,
	}
}

// machine describes the machine that the figures were measured on.
func machine() string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	var info unix.Sysinfo_t
	memory := ""
	if unix.Sysinfo(&info) == nil {
		total := uint64(info.Totalram) //nolint:unconvert // 32 bits on some processors
		memory = fmt.Sprintf(", %d GiB", (total*uint64(info.Unit)+1<<29)>>30)
	}
	var name unix.Utsname
	kernel := ""
	if unix.Uname(&name) == nil {
		kernel = ", Linux " + unix.ByteSliceToString(name.Release[:])
	}
	return fmt.Sprintf("%d cores (%s)%s%s", runtime.NumCPU(), model, memory, kernel)
}

// versions names the versions of Go and Redis.
func versions() string {
	redis := "unknown Redis"
	if path, err := rig.Find("redis-server"); err == nil {
		if out, err := exec.Command(path, "--version").Output(); err == nil {
			if _, rest, ok := strings.Cut(string(out), "v="); ok {
				version, _, _ := strings.Cut(rest, " ")
				redis = "Redis " + version
			}
		}
	}
	return strings.Replace(runtime.Version(), "go", "Go ", 1) + ", " + redis
}
