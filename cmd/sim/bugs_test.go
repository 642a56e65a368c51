package main

import "testing"

func TestEveryPlantedBugStillHasItsPlace(t *testing.T) {
	for _, b := range bugs {
		if _, err := plant(t.Context(), b.name); err != nil {
			t.Error(err)
		}
	}
}
