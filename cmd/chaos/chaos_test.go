package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/cmd/internal/judge"
	"sluice/cmd/internal/rig/rigtest"
)

// needRedis skips the test on a machine without redis-server; in CI that is a failure.
func needRedis(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a cluster")
	}
	rigtest.Need(t, "redis-server")
}

// runChaos runs the command and returns its exit code and the report.
func runChaos(t *testing.T, args ...string) (int, summary) {
	t.Helper()
	report := filepath.Join(t.TempDir(), "report.json")
	var out, errOut bytes.Buffer
	code := command(t.Context(), append(args, "-json", report), &out, &errOut)
	t.Logf("%s\n%s", errOut.String(), out.String())
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var s summary
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	for _, r := range s.Results {
		if r.Logs != "" {
			t.Cleanup(func() {
				if !t.Failed() { // what was broken on purpose is not worth keeping
					_ = os.RemoveAll(filepath.Dir(r.Logs))
				}
			})
		}
	}
	return code, s
}

func TestAHealthyGatewayPasses(t *testing.T) {
	needRedis(t)
	code, s := runChaos(t, "-scenario", "baseline", "-seconds", "3", "-clients", "12", "-rate", "100")
	if code != exitPassed || len(s.Results) != 1 || s.Results[0].Outcome != passes {
		t.Errorf("exit code %d, want %d", code, exitPassed)
	}
}

func TestWrongUseIsASetUpError(t *testing.T) {
	for _, args := range [][]string{
		{"-scenario", "no-such"}, {"-except", "no-such"}, {"-seconds", "0"}, {"-replicas", "1"}, {"-rate", "1e9"}, {"-clients", "1"}, {"-settle", "1s"}, {"extra"}, {"-nonsense"},
	} {
		var out, errOut bytes.Buffer
		if code := command(t.Context(), args, &out, &errOut); code != exitSetUp || errOut.Len() == 0 {
			t.Errorf("%q: exit code %d, message %q", args, code, errOut.String())
		}
	}
}

func TestScenariosCanBeLeftOut(t *testing.T) {
	all, err := choose("all", "")
	if err != nil {
		t.Fatal(err)
	}
	some, err := choose("all", "baseline, herd")
	if err != nil || len(some) != len(all)-2 {
		t.Fatalf("%d scenarios of %d are left without two, %v", len(some), len(all), err)
	}
	for _, s := range some {
		if s.name == "baseline" || s.name == "herd" {
			t.Errorf("%s is not left out", s.name)
		}
	}
	if _, err := choose("herd", "herd"); err == nil {
		t.Error("a scenario is both chosen and left out")
	}
}

func TestTheExitCodeTellsAViolationFromAFailedSetUp(t *testing.T) {
	for _, c := range []struct {
		verdicts string
		want     int
	}{
		{"pass pass", exitPassed}, {"pass skipped", exitPassed}, {"pass ERROR", exitSetUp}, {"ERROR VIOLATED pass", exitViolated},
	} {
		var results []result
		for v := range strings.FieldsSeq(c.verdicts) {
			results = append(results, result{Outcome: v})
		}
		if got := exitCode(results); got != c.want {
			t.Errorf("%s: exit code %d, want %d", c.verdicts, got, c.want)
		}
	}
}

func TestTheTableHasARowForEachScenario(t *testing.T) {
	var out bytes.Buffer
	err := table(&out, []result{
		{Scenario: "baseline", Outcome: passes, Verdict: judge.Verdict{Events: 12, Counts: map[string]int{}}},
		{Scenario: "flushall", Outcome: violated, Verdict: judge.Verdict{Counts: map[string]int{judge.SilentHole: 3, judge.Skipped: 1}}},
		{Scenario: "nginx-reload", Outcome: leftOut},
	})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 5 {
		t.Fatalf("%d lines, want 5:\n%s", len(lines), out.String())
	}
	for i, want := range []string{"silent holes", "---:", " 12 ", " 4 ", " – "} {
		if !strings.Contains(lines[i], want) || len([]rune(lines[i])) != len([]rune(lines[0])) {
			t.Errorf("line %d is %q, want %q in it and the table's width", i+1, lines[i], want)
		}
	}
}
