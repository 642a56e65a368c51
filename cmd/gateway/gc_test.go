package main

import (
	"runtime"
	"runtime/metrics"
	"testing"
)

func TestASmallHeapGrowsByMegabytesAndALargeOneByHalf(t *testing.T) {
	for live, want := range map[uint64]int{0: 400, 1 << 20: 400, 3 << 20: 200, 6 << 20: 100, 12 << 20: 50, 1 << 30: 50} {
		if got := gcPercent(live); got != want {
			t.Errorf("%d bytes live: %d %%, want %d", live, got, want)
		}
	}
}

func TestTheGrowthOfTheHeapFollowsItsSize(t *testing.T) {
	t.Setenv("GOGC", "")
	tuneGC()
	now := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	if metrics.Read(now); now[0].Value.Uint64() != percentAtMost {
		t.Errorf("at the start it grows by %d %%, want %d", now[0].Value.Uint64(), percentAtMost)
	}
	heap := make([]byte, 64<<20)
	waitFor(t, "a large heap to grow by half", func() bool {
		runtime.GC()
		metrics.Read(now)
		return now[0].Value.Uint64() == percentAtLeast
	})
	runtime.KeepAlive(heap)
}
