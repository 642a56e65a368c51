package main

import (
	"context"
	"sync"
	"time"
)

// mix runs several faults at the same time. At any time at least one replica has no fault, and Redis has at most one.
type mix struct {
	*run
	wg        sync.WaitGroup
	redisBusy sync.Mutex // held during a fault of Redis

	mu     sync.Mutex
	busy   map[*replica]bool // the replicas that have a fault; guarded by mu
	failed error             // why the run cannot go on, the first reason; guarded by mu
}

// everything runs a mix until the load is over.
func everything(ctx context.Context, r *run) error {
	m := &mix{run: r, busy: map[*replica]bool{}}
	for r.wait(ctx, r.between(r.loadTime()/100, r.loadTime()/20)) {
		m.start(ctx, r.draw(12), r.between(r.loadTime()/40, r.loadTime()/6), r.draw(2) == 0)
	}
	m.wg.Wait()
	return m.failed
}

// start begins one fault, unless the replica or Redis that it is for has a fault already. The caller has drawn
// everything that is random about it: what is drawn next must not depend on how long a fault takes.
func (m *mix) start(ctx context.Context, kind int, d time.Duration, coin bool) {
	switch kind {
	case 0:
		m.onReplica(func(rep *replica) { m.killReplica(ctx, rep, d) })
	case 1:
		m.onReplica(func(rep *replica) {
			m.endReplica(rep)
			m.startAgain(ctx, rep)
		})
	case 2:
		m.onReplica(func(rep *replica) { m.pauseReplica(ctx, rep, d) })
	case 3:
		m.onReplica(func(rep *replica) { m.breakNetwork(ctx, rep, freeze, d, false) })
	case 4:
		m.onReplica(func(rep *replica) { m.breakNetwork(ctx, rep, swallow, d, coin) })
	case 5:
		m.onReplica(func(rep *replica) { m.breakNetwork(ctx, rep, lag, d, false) })
	case 6:
		m.onReplica(m.cutNetwork)
	case 7:
		m.onRedis(func() error { m.killSubscribers(ctx, "pubsub"); return nil })
	case 8:
		m.onRedis(func() error { m.killSubscribers(ctx, "normal"); return nil })
	case 9:
		m.onRedis(func() error { m.freezeRedis(ctx, d/2); return nil })
	case 10:
		m.onRedis(func() error { return m.whileFull(ctx, func() { m.wait(ctx, d/2) }) })
	case 11:
		m.onRedis(func() error { return m.restartRedis(ctx, coin, d/3, nil) })
	}
}

// onReplica begins a fault of a random replica. It does nothing if that replica has a fault, or if all others have.
func (m *mix) onReplica(f func(*replica)) {
	members := m.members()
	rep := members[m.draw(len(members))]
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.busy[rep] || len(m.busy) >= len(members)-1 {
		return
	}
	m.busy[rep] = true
	m.wg.Go(func() {
		f(rep)
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.busy, rep)
	})
}

// onRedis begins a fault of Redis. It does nothing if Redis has one.
func (m *mix) onRedis(f func() error) {
	if !m.redisBusy.TryLock() {
		return
	}
	m.wg.Go(func() {
		defer m.redisBusy.Unlock()
		if err := f(); err != nil {
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.failed == nil {
				m.failed = err
			}
		}
	})
}
