package boottime_test

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/pubsub/boottime"
)

func TestTheClockGoesOnAndNeverBack(t *testing.T) {
	first := boottime.Now()
	last := first
	for deadline := time.Now().Add(time.Minute); last == first; {
		now := boottime.Now()
		if now < last {
			t.Fatalf("the clock went back from %v to %v", last, now)
		}
		last = now
		if time.Now().After(deadline) {
			t.Fatal("the clock stands still")
		}
	}
}

// The kernel's uptime includes the time that the machine has slept.
func TestTheClockIsTheUptimeOfTheMachine(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the portable clock begins with the program")
	}
	before := boottime.Now()
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Skip(err)
	}
	after := boottime.Now()
	seconds, err := strconv.ParseFloat(strings.Fields(string(text))[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	uptime, rounding := time.Duration(seconds*float64(time.Second)), 10*time.Millisecond
	if uptime < before-rounding || uptime > after+rounding {
		t.Errorf("uptime %v, but the clock went from %v to %v", uptime, before, after)
	}
}

func BenchmarkNow(b *testing.B) {
	for b.Loop() {
		boottime.Now()
	}
}
