package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// How much the heap grows between two collections of garbage. Most objects live as long as their streams, so half of what
// lives is enough for a large heap, and saves a quarter of the memory (measured by "go run ./cmd/loadtest -mode channels").
// For a small heap it is not: Go would collect after each 2 MiB, which is 50 times a second while 10,000 events a second are
// published, and takes a quarter of the CPU time. So a small heap grows by some MiB while there is much garbage. When that is
// over, the memory goes back to the system.
const (
	growthWhenBusy = 6 << 20 // bytes
	percentAtLeast = 50
	percentAtMost  = 400 // a heap of less than 1.5 MiB need not grow by 6

	busyInterval = time.Second     // collections that follow each other faster are much garbage
	calmAfter    = 3 * time.Second // without such a collection
)

// busyPercent returns the value of GOGC for a heap of which so many bytes live, while there is much garbage.
func busyPercent(live uint64) int {
	return int(min(max(100*growthWhenBusy/max(live, 1), percentAtLeast), percentAtMost))
}

// gcTuner sets GOGC after each collection of garbage.
type gcTuner struct {
	set  func(percent int)
	free func() // collects garbage and returns memory to the system

	mu      sync.Mutex
	percent int
	last    time.Time // of the last collection
	calm    *time.Timer
}

// tuneGC tunes GOGC as long as the process lives, unless the environment sets it.
func tuneGC() {
	if os.Getenv("GOGC") != "" {
		return
	}
	t := &gcTuner{set: func(percent int) { debug.SetGCPercent(percent) }, free: debug.FreeOSMemory, percent: percentAtLeast}
	t.set(t.percent)
	afterEachCollection(t.collected)
}

// afterEachCollection calls f with what lives after each collection of garbage.
func afterEachCollection(f func(live uint64)) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	type unreachable struct{ _ *byte } // nobody refers to it, so each collection calls its finalizer
	var finalize func(*unreachable)
	finalize = func(u *unreachable) {
		metrics.Read(live)
		f(live[0].Value.Uint64())
		runtime.SetFinalizer(u, finalize)
	}
	runtime.SetFinalizer(&unreachable{}, finalize)
}

// collected is called after each collection.
func (t *gcTuner) collected(live uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	busy := now.Sub(t.last) < busyInterval
	if t.last = now; !busy {
		return
	}
	// Each setting stops the process for a moment, so small changes are left.
	if percent := busyPercent(live); max(percent, t.percent) > min(percent, t.percent)*9/8 {
		t.percent = percent
		t.set(percent)
	}
	if t.calm == nil {
		t.calm = time.AfterFunc(calmAfter, t.becameCalm)
	} else {
		t.calm.Reset(calmAfter)
	}
}

// becameCalm is called when there has not been much garbage for a while.
func (t *gcTuner) becameCalm() {
	t.mu.Lock()
	was := t.percent
	t.percent = percentAtLeast
	t.last = time.Time{} // what free collects is not much garbage
	t.mu.Unlock()
	if was != percentAtLeast {
		t.set(percentAtLeast)
		t.free()
	}
}
