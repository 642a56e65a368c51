package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"sluice/cmd/internal/judge"
	"sluice/cmd/internal/rig"
)

// Each fault does one thing to the cluster and undoes it. It declares the window in which Redis may have counted
// receivers that did not get a message: see the package comment.

const (
	blink = 5 * time.Millisecond // added on both sides of a moment that two processes have measured

	// A replica that ends may have received messages that it has not stored yet. Afterwards Redis may still count it
	// as a receiver for a moment.
	beforeEnd = 2 * time.Second
	afterEnd  = time.Second

	// A connection that stays dead after a black hole counts as a receiver until the replica closes it.
	deadSubscription = 10 * time.Second
)

// killReplica kills a replica (SIGKILL) and starts it again on the same address after a while.
func (r *run) killReplica(ctx context.Context, rep *replica, down time.Duration) {
	r.killForGood(rep)
	r.wait(ctx, down)
	r.startAgain(ctx, rep)
}

// killForGood kills a replica and does not start it again.
func (r *run) killForGood(rep *replica) {
	at := r.now()
	if err := rep.process.Kill(); err != nil {
		r.blame("%v", err)
	}
	r.mayCost(at-beforeEnd, r.now()+afterEnd, r.perReplica)
	r.recordFault("kill "+rep.name, at, at, 1)
}

// endReplica has a replica drain (SIGTERM). It must end in time and with exit code 0.
func (r *run) endReplica(rep *replica) {
	at := r.now()
	if err := rep.process.Terminate(drainTime + 5*time.Second); err != nil {
		r.blame("%v", err)
	}
	r.mayCost(at-blink, r.now()+blink, r.perReplica)
	r.recordFault("drain "+rep.name, at, r.now(), 1)
}

// startAgain starts a replica again and waits until it is ready.
func (r *run) startAgain(ctx context.Context, rep *replica) {
	if err := r.startReplica(rep); err != nil {
		r.blame("restart %s: %v", rep.name, err)
		return
	}
	if err := r.ready(ctx, rep); err != nil && ctx.Err() == nil {
		r.blame("not ready again: %v", err)
	}
}

// pauseReplica pauses a replica (SIGSTOP) for a while.
func (r *run) pauseReplica(ctx context.Context, rep *replica, d time.Duration) {
	_ = r.whilePaused(rep, func() error {
		r.wait(ctx, d)
		return nil
	})
}

// whilePaused does something while a replica is paused.
func (r *run) whilePaused(rep *replica, do func() error) error {
	at := r.now()
	_ = rep.process.Pause()
	err := do()
	_ = rep.process.Resume()
	// When it goes on it may find that Redis has not answered for too long, and close a connection with unread messages.
	r.mayCost(at-beforeEnd, r.now()+afterEnd, r.perReplica)
	r.recordFault("pause "+rep.name, at, r.now(), 1)
	return err
}

// breakNetwork changes the condition of the network between a replica and Redis for a while. With replace the replica
// is killed at the end of that time, before the network is back, and started again.
func (r *run) breakNetwork(ctx context.Context, rep *replica, how condition, d time.Duration, replace bool) {
	at := r.now()
	rep.proxy.set(how)
	r.wait(ctx, d)
	if replace {
		if err := rep.process.Kill(); err != nil {
			r.blame("%v", err)
		}
	}
	rep.proxy.set(pass)
	end := r.now() + afterEnd
	if how == swallow {
		end += deadSubscription
	}
	r.mayCost(at-beforeEnd, end, r.perReplica)
	name := map[condition]string{lag: "slow network for", freeze: "frozen network for", swallow: "black hole for"}[how]
	r.recordFault(name+" "+rep.name, at, r.now(), 1)
	if replace {
		r.startAgain(ctx, rep)
	}
}

// cutNetwork closes a replica's connections to Redis.
func (r *run) cutNetwork(rep *replica) {
	at := r.now()
	n := rep.proxy.cut()
	r.mayCost(at-beforeEnd, r.now()+afterEnd, r.perReplica)
	r.recordFault("cut network of "+rep.name, at, r.now(), n)
}

// killSubscribers has Redis close its connections of a kind, "pubsub" or "normal". Messages that are on their way at
// that moment may be lost for every receiver.
func (r *run) killSubscribers(ctx context.Context, kind string) {
	at := r.now()
	n, err := r.admin.ClientKillByFilter(ctx, "TYPE", kind, "SKIPME", "yes").Result()
	r.mayCost(at-blink, r.now()+blink, judge.EveryReceiver)
	if err == nil {
		r.recordFault("CLIENT KILL TYPE "+kind, at, r.now(), int(n))
	}
}

// freezeRedis pauses Redis (SIGSTOP) for a while. When it goes on it may handle a PUBLISH before it notices that some
// subscribers have closed their connections meanwhile.
func (r *run) freezeRedis(ctx context.Context, d time.Duration) {
	at := r.now()
	_ = r.redis.Process.Pause()
	r.wait(ctx, d)
	_ = r.redis.Process.Resume()
	r.mayCost(at-blink, r.now()+afterEnd/2, judge.EveryReceiver)
	r.recordFault("freeze Redis", at, r.now(), 1)
}

// whileFull does something while Redis has no memory left: Redis delivers messages as always, but stores nothing.
func (r *run) whileFull(ctx context.Context, do func()) error {
	limit := func(bytes string) error {
		return rig.Until(ctx, startLimit, func(ctx context.Context) error {
			return r.admin.ConfigSet(ctx, "maxmemory", bytes).Err()
		})
	}
	at := r.now()
	if err := limit("1"); err != nil {
		return fmt.Errorf("limit Redis' memory: %w", err)
	}
	do()
	if err := limit("0"); err != nil {
		return fmt.Errorf("lift the limit of Redis' memory: %w", err)
	}
	r.recordFault("no memory for Redis", at, r.now(), 1)
	return nil
}

// restartRedis ends Redis, by SIGKILL if hard or else by SIGTERM, and starts it again after a while. In between it
// calls between, if there is one, which may change Redis' files.
func (r *run) restartRedis(ctx context.Context, hard bool, down time.Duration, between func() error) error {
	at, how := r.now(), "terminate"
	if hard {
		how = "kill"
		if err := r.redis.Process.Kill(); err != nil {
			return err
		}
	} else if err := r.redis.Process.Terminate(10 * time.Second); err != nil {
		return err
	}
	r.mayCost(at-blink, r.now()+blink, judge.EveryReceiver)
	r.wait(ctx, down)
	if between != nil {
		if err := between(); err != nil {
			return err
		}
	}
	if err := r.redis.Restart(ctx); err != nil {
		return err
	}
	r.recordFault(how+" and restart Redis", at, r.now(), 1)
	return nil
}

// snapshot saves a copy of Redis' data and returns when that began.
func (r *run) snapshot(ctx context.Context) (time.Duration, error) {
	at := r.now()
	if err := r.admin.Save(ctx).Err(); err != nil {
		return 0, fmt.Errorf("save a snapshot: %w", err)
	}
	return at, copyFile(filepath.Join(r.group.Dir(), "older.rdb"), filepath.Join(r.group.Dir(), "dump.rdb"))
}

// restore restarts Redis with the copy that snapshot has made. Everything that was written since then is lost.
func (r *run) restore(ctx context.Context, since time.Duration) error {
	return r.restartRedis(ctx, true, r.between(0, time.Second), func() error {
		r.redisLost(since, r.now())
		return copyFile(filepath.Join(r.group.Dir(), "dump.rdb"), filepath.Join(r.group.Dir(), "older.rdb"))
	})
}

// flush empties Redis.
func (r *run) flush(ctx context.Context) error {
	at := r.now()
	if err := r.admin.FlushAll(ctx).Err(); err != nil {
		return fmt.Errorf("FLUSHALL: %w", err)
	}
	r.redisLost(0, r.now())
	r.recordFault("FLUSHALL", at, r.now(), 1)
	return nil
}
