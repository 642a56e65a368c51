// Package rigtest has the parts of package rig that need a test. It is a package of its own so that no command contains
// package testing.
package rigtest

import (
	"os"
	"testing"

	"sluice/cmd/internal/rig"
)

// Need returns the path of a program that a test cannot do without. If the program is not installed the test is
// skipped, or fails where CI=true.
func Need(t testing.TB, program string) string {
	t.Helper()
	path, err := rig.Find(program)
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatalf("%v, and CI=true requires it", err)
	default:
		t.Skip(err)
	}
	return path
}

// FreeAddress is rig.FreeAddress, and fails the test if there is none.
func FreeAddress(t testing.TB) string {
	t.Helper()
	address, err := rig.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}
