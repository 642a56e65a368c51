//go:build linux

package main

import (
	"encoding/json"
	"slices"
	"testing"
	"time"
)

func TestAMessageIsStoredRejectedOrCountedOrItIsMissing(t *testing.T) {
	for _, c := range []struct {
		name string
		a    account
		want int64
	}{
		{"all stored", account{received: 10, stored: 10}, 0},
		{"each of the three", account{received: 10, stored: 5, rejected: 2, lost: 3}, 0},
		{"some are missing", account{received: 10, stored: 5, lost: 3}, 2},
		{"one is stored twice", account{received: 10, stored: 11}, -1},
	} {
		if got := c.a.uncounted(); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestAFloodIsJudgedByItsWorstTurn(t *testing.T) {
	flood := func(label string, figure string, values ...float64) results {
		rs := turns("flood", gatewayServer, 5_000, figure, values...)
		for i := range rs {
			rs[i].Label, rs[i].Events, rs[i].Rate = label, 200_000, 2_000
			for _, other := range []string{figUnheard, figReceived, figLost, figUncounted} {
				if other != figure {
					rs[i].Figures[other] = 0
				}
			}
		}
		return rs
	}
	verdicts := func(rs results) (all []string) {
		for _, x := range targets([]mode{floodMode()}, rs) {
			all = append(all, x.Verdict)
		}
		return all
	}
	for _, c := range []struct {
		name string
		rs   results
		want []string // no streams, as fast as possible, at the stated rate
	}{
		{"nothing is wrong", slices.Concat(flood(floodAlone, figUncounted, 0), flood(floodSets, figUncounted, 0, 0),
			flood(floodStated, figUncounted, 0)), []string{reached, reached, reached}},
		{"one turn of three loses one", flood(floodSets, figUncounted, 0, 1, 0), []string{unknown, missed, unknown}},
		{"one turn of three stores one twice", flood(floodSets, figUncounted, 0, -1, 0), []string{unknown, missed, unknown}},
		{"what is counted is lost with a flood only", slices.Concat(flood(floodSets, figLost, 7), flood(floodStated, figLost, 7)),
			[]string{unknown, reached, missed}},
		{"nobody listens", flood(floodStated, figUnheard, 3), []string{unknown, unknown, missed}},
	} {
		if got := verdicts(c.rs); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestATrialWithMessagesThatAreMissingKeepsItsFigures(t *testing.T) {
	rs := turns("flood", gatewayServer, 5_000, figUncounted, 3)
	rs[0].Label, rs[0].Error = floodSets, errUncounted.Error()
	if anyFailed(rs, "flood") {
		t.Error("its targets are not judged")
	}
	if len(rs.failed()) != 1 {
		t.Error("the run is not reported as failed")
	}
}

func TestMessagesAreDueAtTheirRate(t *testing.T) {
	for _, c := range []struct {
		i, rate int
		want    time.Duration
	}{{0, 5, 0}, {5, 5, time.Second}, {1, 2_000, 500 * time.Microsecond}, {1_000_000, 1, 1_000_000 * time.Second}} {
		if got := dueAt(c.i, c.rate); got != c.want {
			t.Errorf("message %d at %d a second is due after %v, want %v", c.i, c.rate, got, c.want)
		}
	}
}

func TestReportsOfATaskGrowAndNeverEndIt(t *testing.T) {
	last := map[string]float64{}
	for i := range 500 {
		channel, payload := taskReport(i)
		var r struct {
			Progress float64
			Message  string
		}
		if err := json.Unmarshal([]byte(payload), &r); err != nil || r.Message == "" {
			t.Fatalf("report %q, %v", payload, err)
		}
		if before, ok := last[channel]; ok && r.Progress <= before || r.Progress >= 100 {
			t.Errorf("task %s goes from %v to %v", channel, before, r.Progress)
		}
		last[channel] = r.Progress
	}
	if len(last) != 10 {
		t.Errorf("%d tasks", len(last))
	}
}

func TestTheMemoryOfRedisIsRead(t *testing.T) {
	got, err := parseRedisMemory("# Memory\r\nused_memory:5000\r\nused_memory_human:5K\r\nmem_clients_normal:1200\r\n")
	if err != nil || got != 5000 {
		t.Errorf("got %d, %v", got, err)
	}
	for _, text := range []string{"", "used_memory:many\r\n", "used_memory_human:1K\r\n"} {
		if _, err := parseRedisMemory(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestScriptCallsAreCountedByAllTheirNames(t *testing.T) {
	if n := scripts(map[string]int64{"evalsha": 3, "eval": 2, "fcall": 1, "script|load": 9, "get": 9}); n != 6 {
		t.Errorf("%d script calls", n)
	}
}
