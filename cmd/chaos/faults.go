package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"sluice/cmd/internal/rig"
)

// Each fault does one thing to the cluster, undoes it, and says what it may have cost: see doc.go on windows.

const (
	blink = 5 * time.Millisecond // around an instant: clocks of two processes on one machine

	// A replica that goes may take messages with it that it got but had not stored, and Redis may go on counting it.
	beforeEnd = 2 * time.Second
	afterEnd  = time.Second

	// A connection that stays dead after a black hole is a receiver to Redis until the replica gives it up.
	deadSubscription = 10 * time.Second
)

// killReplica ends a replica by SIGKILL and starts it again on the same address after a while.
func (r *run) killReplica(ctx context.Context, rep *replica, down time.Duration) {
	r.killForGood(rep)
	r.wait(ctx, down)
	r.startAgain(ctx, rep)
}

func (r *run) killForGood(rep *replica) {
	at := r.now()
	if err := rep.process.Kill(); err != nil {
		r.blame("%v", err)
	}
	r.mayCost(at-beforeEnd, r.now()+afterEnd, r.perReplica)
	r.did("kill "+rep.name, at, at, 1)
}

// endReplica drains a replica by SIGTERM. It has to end by itself, in time and with exit code 0.
func (r *run) endReplica(rep *replica) {
	at := r.now()
	if err := rep.process.Terminate(drainTime + 5*time.Second); err != nil {
		r.blame("%v", err)
	}
	r.mayCost(at-blink, r.now()+blink, r.perReplica)
	r.did("drain "+rep.name, at, r.now(), 1)
}

func (r *run) startAgain(ctx context.Context, rep *replica) {
	if err := r.startReplica(rep); err != nil {
		r.blame("restart %s: %v", rep.name, err)
		return
	}
	if err := r.ready(ctx, rep, startLimit); err != nil && ctx.Err() == nil {
		r.blame("not ready again: %v", err)
	}
}

// pauseReplica stops a replica by SIGSTOP and lets it go on.
func (r *run) pauseReplica(ctx context.Context, rep *replica, d time.Duration) {
	_ = r.whilePaused(rep, func() error {
		r.wait(ctx, d)
		return nil
	})
}

// whilePaused does something that a replica sleeps through.
func (r *run) whilePaused(rep *replica, do func() error) error {
	at := r.now()
	_ = rep.process.Pause()
	err := do()
	_ = rep.process.Resume()
	// On waking up it may think that Redis is gone and drop a connection with unread messages.
	r.mayCost(at-beforeEnd, r.now()+afterEnd, r.perReplica)
	r.did("pause "+rep.name, at, r.now(), 1)
	return err
}

// breakNetwork does something to the way between a replica and Redis for a while. With replace the replica does not get
// its network back: it is killed and another process takes its address.
func (r *run) breakNetwork(ctx context.Context, rep *replica, how mood, d time.Duration, replace bool) {
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
	name := map[mood]string{lag: "slow network for", freeze: "frozen network for", swallow: "black hole for"}[how]
	r.did(name+" "+rep.name, at, r.now(), 1)
	if replace {
		r.startAgain(ctx, rep)
	}
}

// cutNetwork breaks a replica's connections to Redis.
func (r *run) cutNetwork(rep *replica) {
	at := r.now()
	n := rep.proxy.cut()
	r.mayCost(at-beforeEnd, r.now()+afterEnd, r.perReplica)
	r.did("cut network of "+rep.name, at, r.now(), n)
}

// killSubscribers closes connections on Redis' side. Messages on their way at that moment may be lost to all.
func (r *run) killSubscribers(ctx context.Context, kind string) {
	at := r.now()
	n, err := r.admin.ClientKillByFilter(ctx, "TYPE", kind, "SKIPME", "yes").Result()
	r.mayCost(at-blink, r.now()+blink, everyReceiver)
	if err == nil {
		r.did("CLIENT KILL TYPE "+kind, at, r.now(), int(n))
	}
}

// freezeRedis stops Redis by SIGSTOP and lets it go on. When it wakes up it may handle a PUBLISH before it notices that
// the subscribers it counts have given up meanwhile.
func (r *run) freezeRedis(ctx context.Context, d time.Duration) {
	at := r.now()
	_ = r.redis.Process.Pause()
	r.wait(ctx, d)
	_ = r.redis.Process.Resume()
	r.mayCost(at-blink, r.now()+afterEnd/2, everyReceiver)
	r.did("freeze Redis", at, r.now(), 1)
}

// whileFull does something while Redis has no memory left: it passes messages on as ever, but stores nothing.
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
	r.did("no memory for Redis", at, r.now(), 1)
	return nil
}

// restartRedis ends Redis, hard or softly, does something to its data, and starts it again.
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
	r.mayCost(at-blink, r.now()+blink, everyReceiver)
	r.wait(ctx, down)
	if between != nil {
		if err := between(); err != nil {
			return err
		}
	}
	if err := r.redis.Restart(ctx); err != nil {
		return err
	}
	r.did(how+" and restart Redis", at, r.now(), 1)
	return nil
}

// snapshot saves Redis' data aside and returns when that began.
func (r *run) snapshot(ctx context.Context) (time.Duration, error) {
	at := r.now()
	if err := r.admin.Save(ctx).Err(); err != nil {
		return 0, fmt.Errorf("save a snapshot: %w", err)
	}
	return at, copyFile(filepath.Join(r.group.Dir(), "older.rdb"), filepath.Join(r.group.Dir(), "dump.rdb"))
}

// restore puts the older snapshot back. Whatever was written since it was made is gone.
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
	r.did("FLUSHALL", at, r.now(), 1)
	return nil
}
