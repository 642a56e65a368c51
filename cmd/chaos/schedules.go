package main

import (
	"context"
	"fmt"
	"time"
)

func nothing(context.Context, *run) error { return nil }

func replicaKill(ctx context.Context, r *run) error {
	for r.wait(ctx, r.between(r.whole()/10, r.whole()/5)) {
		members := r.members()
		r.killReplica(ctx, members[r.draw(len(members))], r.between(0, r.whole()/8))
	}
	return nil
}

func replicaPause(ctx context.Context, r *run) error {
	for r.wait(ctx, r.whole()/20) {
		members := r.members()
		r.pauseReplica(ctx, members[r.draw(len(members))], min(20*time.Second, r.whole()*3/5))
	}
	return nil
}

func rollingRestart(ctx context.Context, r *run) error {
	for i := 0; r.wait(ctx, r.between(0, r.whole()/20)); i++ {
		rep := r.members()[i%len(r.members())]
		r.endReplica(rep)
		r.startAgain(ctx, rep)
	}
	return nil
}

func redisRestart(ctx context.Context, r *run) error {
	for i := r.draw(2); r.wait(ctx, r.whole()/8); i++ {
		if err := r.restartRedis(ctx, i%2 == 0, r.between(0, r.whole()/10), nil); err != nil {
			return err
		}
		if err := r.allReady(ctx, startLimit); err != nil {
			r.blame("not ready after Redis came back: %v", err)
		}
	}
	return nil
}

func redisEverySec(ctx context.Context, r *run) error {
	for r.wait(ctx, r.whole()/5) {
		at := r.now()
		err := r.restartRedis(ctx, true, r.between(0, r.whole()/10), func() error {
			r.redisLost(at-2*time.Second, r.now())
			return nil
		})
		if err != nil {
			return err
		}
		if err := r.allReady(ctx, startLimit); err != nil {
			r.blame("not ready after Redis came back: %v", err)
		}
	}
	return nil
}

// perhapsPaused does something to Redis; every other time one replica sleeps through it.
func (r *run) perhapsPaused(do func() error) error {
	if r.draw(2) == 0 {
		return do()
	}
	members := r.members()
	return r.whilePaused(members[r.draw(len(members))], do)
}

// redisRestore lets a replica start anew after each restore: its markers begin where the restored counter stands.
func redisRestore(ctx context.Context, r *run) error {
	for r.wait(ctx, r.whole()/10) {
		since, err := r.snapshot(ctx)
		if err != nil {
			return err
		}
		r.wait(ctx, r.between(r.whole()/20, r.whole()/8))
		if err := r.perhapsPaused(func() error { return r.restore(ctx, since) }); err != nil {
			return err
		}
		if err := r.allReady(ctx, startLimit); err != nil {
			r.blame("not ready after Redis came back: %v", err)
		}
		if r.wait(ctx, r.between(0, r.whole()/10)) {
			members := r.members()
			r.killReplica(ctx, members[r.draw(len(members))], 0)
		}
	}
	return nil
}

// flushAll kills subscriptions as well: markers start from nothing then. It leaves half of the load to the time after
// the last flush, because only what is stored at the end can be compared.
func flushAll(ctx context.Context, r *run) error {
	for range 2 {
		r.wait(ctx, r.whole()/5)
		err := r.perhapsPaused(func() error {
			defer r.wait(ctx, r.between(0, r.whole()/20))
			return r.flush(ctx)
		})
		if err != nil {
			return err
		}
		if r.wait(ctx, r.between(0, r.whole()/10)) {
			r.killSubscribers(ctx, "pubsub")
		}
	}
	return nil
}

func redisFreeze(ctx context.Context, r *run) error {
	for r.wait(ctx, r.whole()/6) {
		longest := min(8*time.Second, r.whole()/4)
		r.freezeRedis(ctx, r.between(longest/2, longest))
		if err := r.allReady(ctx, startLimit); err != nil {
			r.blame("not ready after Redis woke up: %v", err)
		}
	}
	return nil
}

// redisFull takes the replicas' subscriptions away as well, every other time: they have to come back to a Redis that
// refuses to store anything.
func redisFull(ctx context.Context, r *run) error {
	for i := 0; r.wait(ctx, r.whole()/8); i++ {
		d := r.between(r.whole()/20, r.whole()/8)
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
	for i := r.draw(2); r.wait(ctx, r.whole()/15); i++ {
		rep, d := r.members()[r.draw(len(r.members()))], r.between(r.whole()/12, r.whole()/5)
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
		if err := r.ready(ctx, rep, startLimit); err != nil {
			r.blame("not ready after the network came back: %v", err)
		}
	}
	return nil
}

func herd(ctx context.Context, r *run) error {
	for r.wait(ctx, r.whole()/4) {
		at := r.now()
		for _, c := range r.clients {
			c.disconnect(0)
		}
		r.did("cut all clients", at, at, len(r.clients))
	}
	return nil
}

func nginxReload(ctx context.Context, r *run) error {
	for i := 1; r.wait(ctx, r.between(r.whole()/12, r.whole()/6)); i++ {
		at := r.now()
		if err := r.nginx.Reload(); err != nil {
			return fmt.Errorf("reload nginx: %w", err)
		}
		r.did("reload nginx", at, at, 1)
		if i%3 == 0 {
			r.killReplica(ctx, r.members()[r.draw(len(r.members()))], r.between(0, time.Second))
		}
	}
	return nil
}

func replicaJoin(ctx context.Context, r *run) error {
	for i := 0; r.wait(ctx, r.between(r.whole()/20, r.whole()/10)); i++ {
		at := r.now()
		rep, err := r.addReplica(ctx)
		if err != nil {
			return err
		}
		if err := r.ready(ctx, rep, startLimit); err != nil {
			r.blame("a new replica: %v", err)
		}
		r.aim()
		r.did("join "+rep.name, at, at, 1)
		r.wait(ctx, r.between(0, r.whole()/5))
		leaving := r.members()[r.draw(len(r.members()))]
		if i%2 == 0 {
			r.endReplica(leaving)
		} else {
			r.killForGood(leaving)
		}
		r.leave(leaving)
		r.aim()
	}
	return nil
}
