package main

import (
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"
)

// dice draws random values that depend on a seed and a name only. The schedule and each client have dice of their own:
// what one of them draws must not depend on how often another one has drawn. It is safe for concurrent use.
type dice struct {
	mu  sync.Mutex
	rng *rand.Rand // guarded by mu
}

func newDice(seed uint64, name string) *dice {
	return &dice{rng: rand.New(rand.NewPCG(seed, hash(name)))}
}

// between draws a duration.
func (d *dice) between(from, to time.Duration) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return from + time.Duration(d.rng.Int64N(int64(to-from)+1))
}

// draw draws a number from 0 to n-1.
func (d *dice) draw(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.IntN(n)
}

func hash(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}
