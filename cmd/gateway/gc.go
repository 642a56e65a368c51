package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// How much the heap grows between two collections of garbage. Most objects live as long as their streams, so half of what
// lives is enough for a large heap, and saves a quarter of the memory (measured by "go run ./cmd/loadtest -mode channels").
// For a small heap it is not: Go would collect after each 2 MiB, which is 50 times a second while 10,000 events a second are
// published, and takes a sixth of the CPU time.
const (
	growthAtLeast  = 6 << 20 // bytes
	percentAtLeast = 50
	percentAtMost  = 400 // a heap of less than 1.5 MiB need not grow by 6
)

// gcPercent returns the value of GOGC for a heap of which so many bytes live.
func gcPercent(live uint64) int {
	return int(min(max(100*growthAtLeast/max(live, 1), percentAtLeast), percentAtMost))
}

// tuneGC sets GOGC after each collection, as long as the process lives, unless the environment sets it.
func tuneGC() {
	if os.Getenv("GOGC") != "" {
		return
	}
	t := &gcTuner{percent: percentAtMost, sample: []metrics.Sample{{Name: "/gc/heap/live:bytes"}}}
	debug.SetGCPercent(t.percent)
	runtime.SetFinalizer(t, (*gcTuner).afterCollection)
}

// gcTuner is referred to by nobody, so each collection of garbage calls its finalizer.
type gcTuner struct {
	percent int
	sample  []metrics.Sample
}

func (t *gcTuner) afterCollection() {
	metrics.Read(t.sample)
	percent := gcPercent(t.sample[0].Value.Uint64())
	if change := percent - t.percent; change > t.percent/8 || -change > t.percent/8 { // each setting stops the process for a moment
		t.percent = percent
		debug.SetGCPercent(percent)
	}
	runtime.SetFinalizer(t, (*gcTuner).afterCollection)
}
