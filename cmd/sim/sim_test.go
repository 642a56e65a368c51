package main

import (
	"io"
	"testing"

	"sluice/cmd/sim/internal/world"
)

// newTestMachine builds a guest, with a planted bug if it has a name.
func newTestMachine(t *testing.T, bug string) *machine {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and compiles a guest, which takes a while")
	}
	replaced, err := plant(t.Context(), bug)
	if err != nil {
		t.Fatal(err)
	}
	wasm, err := build(t.Context(), replaced)
	if err != nil {
		t.Fatal(err)
	}
	m, err := newMachine(t.Context(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.close(t.Context()) })
	return m
}

func TestASeedIsOneHistory(t *testing.T) {
	m := newTestMachine(t, "")
	seen := map[string]uint64{}
	for seed := range uint64(4) {
		first, err := m.run(t.Context(), seed, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		second, err := m.run(t.Context(), seed, nil, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if first.Hash != second.Hash {
			t.Errorf("seed %d: trace %s, then %s", seed, first.Hash, second.Hash)
		}
		if other, twice := seen[first.Hash]; twice {
			t.Errorf("seeds %d and %d have the same trace", other, seed)
		}
		seen[first.Hash] = seed
		if first.Verdict.Deliveries == 0 || len(first.Faults) == 0 {
			t.Errorf("seed %d: %d deliveries, faults %v: nothing happened", seed, first.Verdict.Deliveries, first.Faults)
		}
	}
}

func TestAPlantedBugIsFound(t *testing.T) {
	m := newTestMachine(t, "resume")
	total := &totals{faults: map[world.Kind]faultTotal{}}
	if err := total.runMany(t.Context(), m, options{from: 1, to: 50, workers: 2}, true, func() {}); err != nil {
		t.Fatal(err)
	}
	if len(total.failed) == 0 {
		t.Errorf("%d worlds passed although clients miss an event whenever they come back", total.worlds)
	}
}

func TestEveryPlantedBugStillHasItsPlace(t *testing.T) {
	for _, b := range bugs {
		if _, err := plant(t.Context(), b.name); err != nil {
			t.Error(err)
		}
	}
}
