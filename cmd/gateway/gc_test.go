package main

import (
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestASmallHeapWithMuchGarbageGrowsByMegabytesAndALargeOneByHalf(t *testing.T) {
	for live, want := range map[uint64]int{0: 400, 1 << 20: 400, 3 << 20: 200, 6 << 20: 100, 12 << 20: 50, 1 << 30: 50} {
		if got := busyPercent(live); got != want {
			t.Errorf("%d bytes live: %d %%, want %d", live, got, want)
		}
	}
}

func TestMemoryGoesBackToTheSystemWhenThereIsNoMoreGarbage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var percent, freed atomic.Int64
		percent.Store(percentAtLeast)
		g := &gcTuner{set: func(p int) { percent.Store(int64(p)) }, percent: percentAtLeast}
		g.free = func() { freed.Add(1); g.collected(3 << 20) }
		step := func(after time.Duration, wantPercent, wantFreed int64) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if percent.Load() != wantPercent || freed.Load() != wantFreed {
				t.Errorf("%d %%, freed %d times; want %d and %d", percent.Load(), freed.Load(), wantPercent, wantFreed)
			}
		}
		g.collected(3 << 20) // a lone collection
		step(time.Minute, 50, 0)
		for range 100 {
			g.collected(3 << 20)
			time.Sleep(100 * time.Millisecond)
		}
		step(0, 200, 0)
		step(calmAfter, 50, 1)
		step(time.Hour, 50, 1)
		g.collected(20 << 20)
		g.collected(20 << 20)
		step(time.Hour, 50, 1) // a large heap grew by half all the time
	})
}

func TestEachCollectionOfGarbageIsNoticed(t *testing.T) {
	var noticed, live atomic.Uint64
	afterEachCollection(func(bytes uint64) { noticed.Add(1); live.Store(bytes) })
	heap := make([]byte, 64<<20)
	for range 3 {
		before := noticed.Load()
		runtime.GC()
		waitFor(t, "the collection to be noticed", func() bool { return noticed.Load() > before })
	}
	if live.Load() < uint64(len(heap)) {
		t.Errorf("%d bytes live, want at least %d", live.Load(), len(heap))
	}
	runtime.KeepAlive(heap)
}
