package main

import (
	"context"
	"fmt"
	"time"
)

// A schedule breaks things until the load is over. Its durations are fractions of the load, so that each schedule
// breaks about as much in a short run as in a long one.

// nothing is the schedule without faults.
func nothing(context.Context, *run) error { return nil }

func replicaKill(ctx context.Context, r *run) error {
	for r.wait(ctx, r.between(r.loadTime()/10, r.loadTime()/5)) {
		members := r.members()
		r.killReplica(ctx, members[r.draw(len(members))], r.between(0, r.loadTime()/8))
	}
	return nil
}

func replicaPause(ctx context.Context, r *run) error {
	for r.wait(ctx, r.loadTime()/20) {
		members := r.members()
		r.pauseReplica(ctx, members[r.draw(len(members))], min(20*time.Second, r.loadTime()*3/5))
	}
	return nil
}

func rollingRestart(ctx context.Context, r *run) error {
	for i := 0; r.wait(ctx, r.between(0, r.loadTime()/20)); i++ {
		rep := r.members()[i%len(r.members())]
		r.endReplica(rep)
		r.startAgain(ctx, rep)
	}
	return nil
}

func redisRestart(ctx context.Context, r *run) error {
	for i := r.draw(2); r.wait(ctx, r.loadTime()/8); i++ {
		if err := r.restartRedis(ctx, i%2 == 0, r.between(0, r.loadTime()/10), nil); err != nil {
			return err
		}
		if err := r.allReady(ctx); err != nil {
			r.blame("not ready after Redis was back: %v", err)
		}
	}
	return nil
}

func redisEverySec(ctx context.Context, r *run) error {
	for r.wait(ctx, r.loadTime()/5) {
		at := r.now()
		err := r.restartRedis(ctx, true, r.between(0, r.loadTime()/10), func() error {
			r.redisLost(at-2*time.Second, r.now())
			return nil
		})
		if err != nil {
			return err
		}
		if err := r.allReady(ctx); err != nil {
			r.blame("not ready after Redis was back: %v", err)
		}
	}
	return nil
}

// sometimesWhilePaused does something to Redis. About every second time one replica is paused meanwhile.
func (r *run) sometimesWhilePaused(do func() error) error {
	if r.draw(2) == 0 {
		return do()
	}
	members := r.members()
	return r.whilePaused(members[r.draw(len(members))], do)
}

// redisRestore also restarts a replica after each restore. The new process publishes markers that Redis and the other
// replicas have never seen, and they must agree on what they store behind these.
func redisRestore(ctx context.Context, r *run) error {
	for r.wait(ctx, r.loadTime()/10) {
		since, err := r.snapshot(ctx)
		if err != nil {
			return err
		}
		r.wait(ctx, r.between(r.loadTime()/20, r.loadTime()/8))
		if err := r.sometimesWhilePaused(func() error { return r.restore(ctx, since) }); err != nil {
			return err
		}
		if err := r.allReady(ctx); err != nil {
			r.blame("not ready after Redis was back: %v", err)
		}
		if r.wait(ctx, r.between(0, r.loadTime()/10)) {
			members := r.members()
			r.killReplica(ctx, members[r.draw(len(members))], 0)
		}
	}
	return nil
}

// flushAll also kills the subscriptions after a flush: Redis has forgotten all markers, and every replica publishes a
// new one. There are only two flushes, so that much of the load comes after the last one: only what is stored at the
// end can be compared.
func flushAll(ctx context.Context, r *run) error {
	for range 2 {
		r.wait(ctx, r.loadTime()/5)
		err := r.sometimesWhilePaused(func() error {
			defer r.wait(ctx, r.between(0, r.loadTime()/20))
			return r.flush(ctx)
		})
		if err != nil {
			return err
		}
		if r.wait(ctx, r.between(0, r.loadTime()/10)) {
			r.killSubscribers(ctx, "pubsub")
		}
	}
	return nil
}

func redisFreeze(ctx context.Context, r *run) error {
	for r.wait(ctx, r.loadTime()/6) {
		longest := min(8*time.Second, r.loadTime()/4)
		r.freezeRedis(ctx, r.between(longest/2, longest))
		if err := r.allReady(ctx); err != nil {
			r.blame("not ready after Redis went on: %v", err)
		}
	}
	return nil
}

// redisFull also kills the subscriptions every second time: the replicas have to subscribe again to a Redis that
// refuses to store anything.
func redisFull(ctx context.Context, r *run) error {
	for i := 0; r.wait(ctx, r.loadTime()/8); i++ {
		d := r.between(r.loadTime()/20, r.loadTime()/8)
		err := r.whileFull(ctx, func() {
			r.wait(ctx, d)
			if i%2 == 1 {
				r.killSubscribers(ctx, "pubsub")
			}
			r.wait(ctx, d)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func pubsubKill(ctx context.Context, r *run) error {
	for r.wait(ctx, r.between(200*time.Millisecond, 1500*time.Millisecond)) {
		r.killSubscribers(ctx, "pubsub")
	}
	return nil
}

func blackHole(ctx context.Context, r *run) error {
	for i := r.draw(2); r.wait(ctx, r.loadTime()/15); i++ {
		rep, d := r.members()[r.draw(len(r.members()))], r.between(r.loadTime()/12, r.loadTime()/5)
		switch i % 5 {
		case 0:
			r.breakNetwork(ctx, rep, swallow, d, false)
		case 1:
			r.breakNetwork(ctx, rep, freeze, d, false)
		case 2:
			r.cutNetwork(rep)
		case 3:
			r.breakNetwork(ctx, rep, swallow, d, true)
		case 4:
			r.breakNetwork(ctx, rep, lag, d, false)
		}
		if err := r.ready(ctx, rep); err != nil {
			r.blame("not ready after the network was back: %v", err)
		}
	}
	return nil
}

func herd(ctx context.Context, r *run) error {
	for r.wait(ctx, r.loadTime()/4) {
		at := r.now()
		for _, c := range r.clients {
			c.disconnect(0)
		}
		r.recordFault("cut all clients", at, at, len(r.clients))
	}
	return nil
}

func nginxReload(ctx context.Context, r *run) error {
	for i := 1; r.wait(ctx, r.between(r.loadTime()/12, r.loadTime()/6)); i++ {
		at := r.now()
		if err := r.nginx.Reload(); err != nil {
			return fmt.Errorf("reload nginx: %w", err)
		}
		r.recordFault("reload nginx", at, at, 1)
		if i%3 == 0 {
			r.killReplica(ctx, r.members()[r.draw(len(r.members()))], r.between(0, time.Second))
		}
	}
	return nil
}

func replicaJoin(ctx context.Context, r *run) error {
	for i := 0; r.wait(ctx, r.between(r.loadTime()/20, r.loadTime()/10)); i++ {
		at := r.now()
		rep, err := r.addReplica()
		if err != nil {
			return err
		}
		if err := r.ready(ctx, rep); err != nil {
			r.blame("a new replica: %v", err)
		}
		r.retarget()
		r.recordFault("join "+rep.name, at, at, 1)
		r.wait(ctx, r.between(0, r.loadTime()/5))
		leaving := r.members()[r.draw(len(r.members()))]
		if i%2 == 0 {
			r.endReplica(leaving)
		} else {
			r.killForGood(leaving)
		}
		r.remove(leaving)
		r.retarget()
	}
	return nil
}
