//go:build linux

package main

import (
	"math"
	"os"
	"testing"
	"time"
)

func TestAProgramsNameDoesNotDisturbItsTimes(t *testing.T) {
	for name, text := range map[string]string{
		"plain":      "7 (gateway) S 1 7 7 0 -1 4194304 65 0 0 0 24 11 0 0 20 0 1 0 313414 2654208 405",
		"odd":        "7 (a) S (b c) R 1 7 7 0 -1 4194304 65 0 0 0 24 11 0 0 20 0 1 0 313414 2654208 405",
		"with a end": "7 (x ) R 1 7 7 0 -1 4194304 65 0 0 0 24 11 0 0 20 0 1 0 313414 2654208 405\n",
	} {
		user, system, err := parseStat([]byte(text))
		if err != nil || user != 240*time.Millisecond || system != 110*time.Millisecond {
			t.Errorf("%s: got %v, %v, %v", name, user, system, err)
		}
	}
	for _, text := range []string{"", "7 (gateway) S 1 2", "7 (gateway) S 1 7 7 0 -1 4194304 65 0 0 0 x y 0 0"} {
		if _, _, err := parseStat([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestMemoryIsReadFromARollup(t *testing.T) {
	text := "55d0-7ffd ---p 00000000 00:00 0    [rollup]\nRss:                1234 kB\nPss:                 567 kB\n" +
		"Pss_Dirty:           100 kB\nPss_Anon:            100 kB\n"
	m, err := parseRollup(text)
	if err != nil || m.rss != 1234<<10 || m.pss != 567<<10 {
		t.Errorf("got %+v, %v", m, err)
	}
	if _, err := parseRollup("Rss: 1 kB\n"); err == nil {
		t.Error("a rollup without Pss is taken")
	}
}

func TestBusyAndStolenTimeOfTheMachineAreTold(t *testing.T) {
	busy, stolen, err := parseMachineStat("cpu  100 1 20 9999 50 2 3 40 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
	if want := 1260 * time.Millisecond; err != nil || busy != want || stolen != 400*time.Millisecond {
		t.Errorf("got %v, %v, %v", busy, stolen, err)
	}
	if _, _, err := parseMachineStat("intr 1 2 3"); err == nil {
		t.Error("another line is taken")
	}
}

// The two sources of processor time must agree: the number of the clock is computed by hand, and could be that of
// another clock.
func TestTheClockAndTheStatOfAProcessAgree(t *testing.T) {
	before, err := cpuOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	x := 1.0
	var span cpu
	for span.total < 300*time.Millisecond { // of work, however long it takes
		for range 1_000_000 {
			x = math.Sqrt(x + 1)
		}
		after, err := cpuOf(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		span = after.minus(before)
	}
	if apart := (span.total - span.user - span.system).Abs(); apart > 60*time.Millisecond {
		t.Errorf("the clock says %v, stat says %v (%v)", span.total, span.user+span.system, x)
	}
	if _, err := cpuOf(1 << 30); err == nil {
		t.Error("a process that does not exist has processor time")
	}
}

func TestMemoryAndDescriptorsOfAProcessAreCounted(t *testing.T) {
	before, err := memoryOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	block := make([]byte, size)
	for i := 0; i < size; i += 4096 {
		block[i] = 1
	}
	after, err := memoryOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if grown := after.pss - before.pss; grown < size*9/10 || after.rss < after.pss {
		t.Errorf("PSS has grown by %d after %d bytes (%d)", grown, size, block[0])
	}

	n, err := descriptors(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if more, err := descriptors(os.Getpid()); err != nil || more != n+1 {
		t.Errorf("%d descriptors after one more than %d, %v", more, n, err)
	}
}

func TestTheClockIsTheOneThatAllProcessesShare(t *testing.T) {
	var last int64
	for range 1000 {
		at := now()
		if at < last {
			t.Fatal("the clock goes back")
		}
		last = at
	}
	if up := time.Duration(last); up < time.Second || up > 50*365*24*time.Hour {
		t.Errorf("%v is not the time since the machine started", up)
	}
}
