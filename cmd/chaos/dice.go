package main

import (
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"
)

// dice draws what a seed and a name decide. The schedule and each client have their own, so that one does not depend
// on how often another has drawn.
type dice struct {
	mu  sync.Mutex
	rng *rand.Rand // guarded by mu
}

func newDice(seed uint64, name string) *dice {
	return &dice{rng: rand.New(rand.NewPCG(seed, hash(name)))}
}

// between draws a time.
func (d *dice) between(from, to time.Duration) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return from + time.Duration(d.rng.Int64N(int64(to-from)+1))
}

// draw draws a number below n.
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
