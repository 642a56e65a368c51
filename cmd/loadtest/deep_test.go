//go:build linux

package main

import (
	"testing"
	"time"
)

func TestAClientThatResumesGetsWhatItMissedAndNothingElse(t *testing.T) {
	for _, c := range []struct {
		name string
		got  []int
		good bool
	}{
		{"the last ten", []int{90, 91, 92, 93, 94, 95, 96, 97, 98, 99}, true},
		{"in another order", []int{91, 90, 88, 93, 94, 99, 96, 97, 98, 95}, true},
		{"too few", []int{91, 92}, false},
		{"one again", []int{90, 91, 92, 93, 94, 95, 96, 97, 98, 98}, false},
		{"too many", []int{89, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99}, false},
		{"one that was never published", []int{91, 92, 93, 94, 95, 96, 97, 98, 99, 100}, false},
	} {
		if err := checkLast(c.got, 100); (err == nil) != c.good {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestWhatAServerDoesAllTheTimeIsNoClientsCost(t *testing.T) {
	idle := cpu{total: 10 * time.Millisecond}
	for _, c := range []struct {
		busy, wall, idleWall, want time.Duration
	}{
		{50 * time.Millisecond, time.Second, time.Second, 40 * time.Millisecond},
		{50 * time.Millisecond, 2 * time.Second, time.Second, 30 * time.Millisecond},
		{5 * time.Millisecond, time.Second, time.Second, 0},
	} {
		if got := beyond(cpu{total: c.busy}, c.wall, idle, c.idleWall); got != c.want {
			t.Errorf("%v in %v: %v, want %v", c.busy, c.wall, got, c.want)
		}
	}
}
