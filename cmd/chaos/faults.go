package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// Each fault does one thing to the cluster, undoes it, and says what it may have cost: see doc.go on windows.

const (
	blink = 5 * time.Millisecond // around an instant: clocks of two processes on one machine

	// A replica may be counted twice by Redis, once for a channel and once for a pattern.
	perReplica = 2

	// A replica that goes may take messages with it that it got but had not stored, and Redis may go on counting it.
	beforeEnd = 2 * time.Second
	afterEnd  = time.Second
)

// killReplica ends a replica by SIGKILL and starts it again on the same address after a while.
func (r *run) killReplica(ctx context.Context, rep *replica, down time.Duration) {
	at := r.now()
	rep.proc.kill()
	r.mayCost(at-beforeEnd, r.now()+afterEnd, perReplica)
	r.did("kill "+rep.name, at, at, 1)
	r.wait(ctx, down)
	r.startAgain(ctx, rep)
}

// endReplica drains a replica by SIGTERM. It has to end by itself, in time and with exit code 0.
func (r *run) endReplica(rep *replica) {
	at := r.now()
	if err := rep.proc.terminate(drainTime + 5*time.Second); err != nil {
		r.blame("%v", err)
	}
	r.mayCost(at-blink, r.now()+blink, perReplica)
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
	at := r.now()
	_ = pause(rep.proc.cmd.Process)
	r.wait(ctx, d)
	_ = unpause(rep.proc.cmd.Process)
	// On waking up it may think that Redis is gone and drop a connection with unread messages.
	r.mayCost(at-beforeEnd, r.now()+afterEnd, perReplica)
	r.did("pause "+rep.name, at, r.now(), 1)
}

// breakNetwork freezes or black-holes the way between a replica and Redis. With replace the replica does not get its
// network back: it is ended and another one takes its address.
func (r *run) breakNetwork(ctx context.Context, rep *replica, how mood, d time.Duration, replace bool) {
	at := r.now()
	rep.proxy.set(how)
	r.wait(ctx, d)
	if replace {
		rep.proc.kill()
	}
	rep.proxy.set(pass)
	r.mayCost(at-beforeEnd, r.now()+afterEnd, perReplica)
	r.did(fmt.Sprintf("%s %s", [...]string{freeze: "freeze network of", swallow: "black hole for"}[how], rep.name), at, r.now(), 1)
	if replace {
		r.startAgain(ctx, rep)
	}
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
	_ = pause(r.redis.cmd.Process)
	r.wait(ctx, d)
	_ = unpause(r.redis.cmd.Process)
	r.mayCost(at-blink, r.now()+afterEnd/2, everyReceiver)
	r.did("freeze Redis", at, r.now(), 1)
}

// restartRedis ends Redis, hard or softly, does something to its data, and starts it again.
func (r *run) restartRedis(ctx context.Context, hard bool, down time.Duration, between func() error) error {
	at, how := r.now(), "terminate"
	if hard {
		how = "kill"
		r.redis.kill()
	} else if err := r.redis.terminate(10 * time.Second); err != nil {
		return err
	}
	r.mayCost(at-blink, r.now()+blink, everyReceiver)
	r.wait(ctx, down)
	if between != nil {
		if err := between(); err != nil {
			return err
		}
	}
	if err := r.startRedis(ctx); err != nil {
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
	return at, copyFile(filepath.Join(r.dir, "older.rdb"), filepath.Join(r.dir, "dump.rdb"))
}

// restore puts the older snapshot back. Whatever was written since it was made is gone.
func (r *run) restore(ctx context.Context, since time.Duration) error {
	return r.restartRedis(ctx, true, r.between(0, time.Second), func() error {
		r.redisLost(since, r.now())
		return copyFile(filepath.Join(r.dir, "dump.rdb"), filepath.Join(r.dir, "older.rdb"))
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
