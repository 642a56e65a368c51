//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sluice/cmd/internal/rig"
	"sluice/cmd/internal/rig/rigtest"
)

func TestTheOtherBuildTakesPartWhereverTheGatewayDoes(t *testing.T) {
	o := options{against: "/somewhere/gateway", quick: true, files: 20_000}
	for _, m := range allModes() {
		for _, w := range o.works(m) {
			i := slices.Index(w.servers, gatewayServer)
			if i < 0 || i+1 >= len(w.servers) || w.servers[i+1] != againstServer {
				t.Errorf("%s %s: servers %q", m.name, w.label, w.servers)
			}
		}
	}
	o.against = ""
	for _, m := range allModes() {
		for _, w := range o.works(m) {
			if slices.Contains(w.servers, againstServer) {
				t.Errorf("%s %s: there is another build without -against", m.name, w.label)
			}
		}
	}
}

// Whatever a trial sets, a build of the first edition must know it: it does not start with a setting that is new to it.
func TestTrialsNeedOnlySettingsThatAllBuildsKnow(t *testing.T) {
	o := options{quick: true, files: 20_000}
	for _, m := range allModes() {
		for _, w := range m.works(o) {
			for _, s := range w.settings {
				name, _, _ := strings.Cut(s, "=")
				if !slices.Contains([]string{"GATEWAY_INGEST", "GATEWAY_HISTORY_SIZE"}, name) {
					t.Errorf("%s %s needs %s", m.name, w.label, name)
				}
			}
		}
	}
}

func TestTwoBuildsAreComparedTurnByTurn(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many servers")
	}
	rigtest.Need(t, "redis-server")
	rigtest.Need(t, "go") // builds the gateway
	dir := t.TempDir()
	gateway, err := rig.Binary{Package: "sluice/cmd/gateway"}.Build(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "figures.json")
	var out, errOut bytes.Buffer
	code := command(t.Context(), []string{
		"-quick", "-repeat", "2", "-mode", "paced", "-servers", "gateway,against", "-gateway", gateway, "-against", gateway, "-json", path,
	}, os.Stdin, &out, &errOut)
	if code != exitGood {
		t.Fatalf("exit code %d\n%s\n%s", code, errOut.String(), out.String())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r summary
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, x := range r.Trials {
		order = append(order, x.Server)
	}
	if !slices.Equal(order, []string{gatewayServer, againstServer, gatewayServer, againstServer}) {
		t.Errorf("the servers had these turns: %q", order)
	}
	if ratio := r.Trials.ratio("paced", "", gatewayServer, againstServer, figCPU); !(ratio > 0) {
		t.Errorf("the ratio of the two builds is %v", ratio)
	}
	if !strings.Contains(out.String(), "÷ against") {
		t.Errorf("no ratios of the two builds in\n%s", out.String())
	}
}

func TestWhatTheOtherBuildLosesIsNoFailureOfThisOne(t *testing.T) {
	rs := slices.Concat(
		turns("burst", floorServer, 5000, figCPU, 10, 10), turns("burst", gatewayServer, 5000, figCPU, 0.5, 0.5),
		results{{Mode: "burst", Server: againstServer, Turn: 1, Error: "it broke"}},
	)
	if got := targets([]mode{burstMode()}, rs); len(got) != 1 || got[0].Verdict != reached {
		t.Errorf("the targets are %+v", got)
	}
	if len(rs.failed()) != 1 || len(rs.broken()) != 0 {
		t.Errorf("%d trials are shown as failed, and %d count", len(rs.failed()), len(rs.broken()))
	}
}

func TestTargetsThatCompareWithTheOtherBuildAreNotMeasuredWithoutIt(t *testing.T) {
	both := func(gateway, against float64) results {
		rs := slices.Concat(
			turns("publish", gatewayServer, 1, figCPUPublish, gateway), turns("publish", againstServer, 1, figCPUPublish, against),
		)
		for i := range rs {
			rs[i].Label, rs[i].Events = post1, 5_000
		}
		return rs
	}
	first := func(rs results) string { return targets([]mode{publishMode()}, rs)[0].Verdict }
	for _, c := range []struct {
		name string
		rs   results
		want string
	}{
		{"less than 0.7 of it", both(69, 100), reached},
		{"more than 0.7 of it", both(71, 100), missed},
		{"the gateway alone", both(69, 100)[:1], unknown},
	} {
		if got := first(c.rs); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
