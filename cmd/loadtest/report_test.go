//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
)

// turns makes trials of one mode with a figure per turn.
func turns(mode, server string, clients int, figure string, values ...float64) results {
	var rs results
	for i, v := range values {
		rs = append(rs, trial{
			Mode: mode, Server: server, Turn: i + 1, Clients: clients, Figures: map[string]float64{figure: v},
		})
	}
	return rs
}

func TestRatiosAreTakenWithinATurn(t *testing.T) {
	// The machine is twice as slow in the second turn, ten times in the third. The ratio is 1.5 in each of them.
	rs := slices.Concat(
		turns("paced", floorServer, 5000, figCPU, 10, 20, 100),
		turns("paced", gatewayServer, 5000, figCPU, 15, 30, 150),
	)
	if got := rs.ratio("paced", "", gatewayServer, floorServer, figCPU); got != 1.5 {
		t.Errorf("ratio %v, want 1.5", got)
	}
	if got := rs.median("paced", "", gatewayServer, figCPU); got != 30 {
		t.Errorf("median %v, want 30", got)
	}
	if got := rs.ratio("paced", "", gatewayServer, naiveServer, figCPU); !math.IsNaN(got) {
		t.Errorf("ratio to a server that was not measured is %v", got)
	}
}

func TestTheMedianIsInTheMiddle(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{3, 1}, 2}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.values, got, c.want)
		}
	}
	if !math.IsNaN(median(nil)) {
		t.Error("nothing has a median")
	}
}

func TestTargetsAreReachedMissedOrNotJudged(t *testing.T) {
	judged := func(m mode, rs results) []string {
		var verdicts []string
		for _, x := range targets([]mode{m}, rs) {
			verdicts = append(verdicts, x.Verdict)
		}
		return verdicts
	}
	with := func(rs results, figure string, value float64) results {
		for i := range rs {
			rs[i].Figures[figure] = value
		}
		return rs
	}
	good := with(turns("idle", gatewayServer, 15_000, figMemory, 0.64), figGoroutines, 0)
	if got := judged(idleMode(), good); !slices.Equal(got, []string{reached, reached}) {
		t.Errorf("a good run: %q", got)
	}
	bad := with(turns("idle", gatewayServer, 15_000, figMemory, 0.66), figGoroutines, 2)
	if got := judged(idleMode(), bad); !slices.Equal(got, []string{missed, missed}) {
		t.Errorf("a bad run: %q", got)
	}
	small := with(turns("idle", gatewayServer, 500, figMemory, 0.5), figGoroutines, 0)
	if got := judged(idleMode(), small); len(got) != 2 || !strings.HasPrefix(got[0], unjudged) {
		t.Errorf("a small run: %q", got)
	}
	failing := append(slices.Clone(good), trial{Mode: "idle", Server: gatewayServer, Turn: 2, Error: "it broke"})
	if got := judged(idleMode(), failing); !slices.Equal(got, []string{notShown, notShown}) {
		t.Errorf("a run in which a trial failed: %q", got)
	}
	alone := turns("paced", gatewayServer, 5000, figCPU, 10)
	if got := judged(pacedMode(), alone); !slices.Equal(got, []string{unknown, unknown}) {
		t.Errorf("a run without the floor: %q", got)
	}
	if got := judged(idleMode(), nil); got != nil {
		t.Errorf("a mode that was not run: %q", got)
	}
}

func TestScaleIsJudgedByWhatGrowsBeyondTheFloor(t *testing.T) {
	for _, c := range []struct {
		name                   string
		floorLarge, gatewayMax float64
		want                   string
	}{
		{"both flat", 10, 11, reached},
		{"the gateway grows", 10, 13, missed},
		{"both grow", 15, 16, reached},
		{"a floor that shrinks is no excuse", 5, 11, reached},
	} {
		rs := slices.Concat(
			turns("scale", floorServer, 1000, figCPU, 10), turns("scale", gatewayServer, 1000, figCPU, 10),
			turns("scale", floorServer, 15_000, figCPU, c.floorLarge), turns("scale", gatewayServer, 15_000, figCPU, c.gatewayMax),
		)
		for i := range rs {
			rs[i].Label = thousands(rs[i].Clients)
		}
		if got := targets([]mode{scaleMode()}, rs); len(got) != 1 || got[0].Verdict != c.want {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestTheReportShowsRatiosFirst(t *testing.T) {
	rs := slices.Concat(
		turns("burst", floorServer, 5000, figCPU, 10), turns("burst", naiveServer, 5000, figCPU, 20),
		turns("burst", gatewayServer, 5000, figCPU, 0.5),
	)
	rs[0].Figures[figElsewhere] = 12
	r := summary{
		Command: "go run ./cmd/loadtest", Machine: "2 cores", Versions: "Go", Repeat: 1, Trials: rs,
		Targets: targets([]mode{burstMode()}, rs), modes: []mode{burstMode()},
	}
	var out bytes.Buffer
	if err := writeReport(&out, r); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	at := 0
	for _, want := range []string{
		"2 cores", "gateway, ratio of", "burst: CPU µs/delivery |    0.05 |    0.03 |         – |", "disturbed: up to 12.0 %",
		"| gateway |    0.05 |    0.03 |            0.50 |",
		"| naive   |    2.00 |    1.00 |", "| floor   |    1.00 |    0.50 |",
		"0.05 × floor | reached",
	} {
		i := strings.Index(text[at:], want)
		if i < 0 {
			t.Fatalf("no %q in what is left of\n%s", want, text)
		}
		at += i
	}
	if _, err := json.Marshal(r); err != nil { // a NaN would not pass
		t.Error(err)
	}
}

func TestNumbersHaveThreeSignificantDigits(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0.00", 0.054: "0.05", 1.005: "1.00", 9.876: "9.88", 12.34: "12.3", 123.4: "123", 1234.4: "1,234",
		1234567: "1,234,567", -4321: "-4,321",
	} {
		if got := number(v); got != want {
			t.Errorf("%v is written %q, want %q", v, got, want)
		}
	}
}

func TestCommandsOfRedisAreCountedWithoutTheQuestions(t *testing.T) {
	before, err := parseCommandStats("# Commandstats\r\n" +
		"cmdstat_info:calls=3,usec=5\r\ncmdstat_evalsha:calls=10,usec=7,x=1\r\n")
	if err != nil {
		t.Fatal(err)
	}
	after, err := parseCommandStats("cmdstat_evalsha:calls=15,usec=9\r\ncmdstat_client|setinfo:calls=2,usec=1\r\n")
	if err != nil {
		t.Fatal(err)
	}
	added := since(after, before)
	if added["evalsha"] != 5 || added["client|setinfo"] != 2 || sum(added) != 7 {
		t.Errorf("added: %v", added)
	}
}

func TestEveryColumnHasATitle(t *testing.T) {
	for _, m := range allModes() {
		for _, figure := range m.columns {
			if titles[figure] == "" {
				t.Errorf("%s shows %s, which has no title", m.name, figure)
			}
		}
	}
}

func TestRecordsAreReadBackFromAnyPieces(t *testing.T) {
	var text []byte
	text = appendRecord(text, sharedChannel, []byte("first"))
	text = appendRecord(text, 70_000, []byte("second one"))
	for i := range text {
		if _, _, size := parseRecord(text[:i]); size != 0 && i < recordHead+len("first") {
			t.Errorf("a record is read from its first %d bytes", i)
		}
	}
	channel, frame, size := parseRecord(text)
	if channel != sharedChannel || string(frame) != "first" {
		t.Errorf("got %d, %q", channel, frame)
	}
	channel, frame, err := readRecord(bytes.NewReader(text[size:]))
	if channel != 70_000 || string(frame) != "second one" || err != nil {
		t.Errorf("got %d, %q, %v", channel, frame, err)
	}
}
