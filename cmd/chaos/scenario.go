package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// scenario is one named fault schedule with the cluster and the rules that belong to it.
//
// A schedule returns when the load is over; everything it broke works again then. An error means that the
// run could not be carried out, not that the gateway failed: that is the judge's word.
type scenario struct {
	name     string
	about    string
	plan     plan
	rules    rules
	loses    bool // Redis loses acknowledged writes
	slow     bool // some clients stop reading now and then
	padding  int  // bytes added to each payload
	schedule func(ctx context.Context, r *run) error
}

func scenarios() []scenario {
	return []scenario{
		{
			name: "baseline", about: "no faults, except that clients lose their own connections",
			rules: rules{RawOrder: true, MinReconnects: 1}, schedule: nothing,
		},
		{
			name: "replica-kill", about: "replicas die by SIGKILL and come back",
			rules: rules{MinFaults: 1, MinReconnects: 1}, schedule: replicaKill,
		},
		{
			name: "replica-pause", about: "a replica stands still for 20 s (SIGSTOP) and goes on",
			rules: rules{MinFaults: 1}, schedule: replicaPause,
		},
		{
			name: "rolling-restart", about: "each replica in turn is drained (SIGTERM) and replaced",
			rules: rules{MinFaults: 1, MinReconnects: 1}, schedule: rollingRestart,
		},
		{
			name: "redis-restart", about: "Redis with appendfsync always is killed or ended, and comes back",
			plan: plan{persist: everyTime}, rules: rules{MinFaults: 1}, schedule: redisRestart,
		},
		{
			name: "redis-everysec", about: "Redis with appendfsync everysec is killed and comes back, perhaps a little older",
			plan: plan{persist: everySec}, loses: true, rules: rules{MinFaults: 1}, schedule: redisEverySec,
		},
		{
			name: "redis-restore", about: "Redis comes back from an older snapshot",
			loses: true, rules: rules{MinFaults: 1}, schedule: redisRestore,
		},
		{
			name: "flushall", about: "Redis is emptied while everyone is connected",
			loses: true, rules: rules{MinFaults: 1}, schedule: flushAll,
		},
		{
			name: "redis-freeze", about: "Redis stands still for a while (SIGSTOP)",
			rules: rules{MinFaults: 1}, schedule: redisFreeze,
		},
		{
			name: "pubsub-kill", about: "CLIENT KILL TYPE pubsub, again and again",
			rules: rules{MinFaults: 3}, schedule: pubsubKill,
		},
		{
			name: "black-hole", about: "bytes between one replica and Redis stand still or vanish",
			plan: plan{proxied: true}, rules: rules{MinFaults: 1}, schedule: blackHole,
		},
		{
			name: "slow-clients", about: "clients stop reading, are evicted, and resume",
			plan:  plan{settings: []string{"GATEWAY_FEED_BYTES=131072"}},
			rules: rules{RawOrder: true, MinFaults: 1}, slow: true, padding: 8 << 10, schedule: nothing,
		},
		{
			name: "trim", about: "clients stay away until what they missed is trimmed",
			plan:  plan{settings: []string{"GATEWAY_FEED_BYTES=65536"}},
			rules: rules{Trim: 60, RawOrder: true, MinGaps: 1}, padding: 2 << 10, schedule: nothing,
		},
		{
			name: "nginx-reload", about: "clients come through nginx, which is reloaded again and again; a replica dies",
			plan: plan{nginx: true}, rules: rules{MinFaults: 1, MinReconnects: 1}, schedule: nginxReload,
		},
		{
			name: "replica-join", about: "replicas join and leave",
			rules: rules{MinFaults: 1, MinReconnects: 1}, schedule: replicaJoin,
		},
		{
			name: "everything-at-once", about: "a random mix of all faults after which Redis still has everything",
			plan: plan{persist: everyTime, proxied: true}, rules: rules{MinFaults: 3, MinReconnects: 1}, schedule: everything,
		},
	}
}

// choose returns the scenarios named in a comma list, or all.
func choose(names string) ([]scenario, error) {
	all := scenarios()
	if names == "all" {
		return all, nil
	}
	var out []scenario
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(s scenario) bool { return s.name == strings.TrimSpace(name) })
		if i < 0 {
			var known []string
			for _, s := range all {
				known = append(known, s.name)
			}
			return nil, fmt.Errorf("no scenario %q; there are: %s", name, strings.Join(known, ", "))
		}
		out = append(out, all[i])
	}
	return out, nil
}

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

// redisRestore lets a replica start anew after each restore: its markers begin where the restored counter stands.
func redisRestore(ctx context.Context, r *run) error {
	for r.wait(ctx, r.whole()/10) {
		since, err := r.snapshot(ctx)
		if err != nil {
			return err
		}
		r.wait(ctx, r.between(r.whole()/10, r.whole()/5))
		if err := r.restore(ctx, since); err != nil {
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

// flushAll kills subscriptions as well: markers start from nothing then.
func flushAll(ctx context.Context, r *run) error {
	for r.wait(ctx, r.whole()/5) {
		if err := r.flush(ctx); err != nil {
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
		r.freezeRedis(ctx, r.between(r.whole()/10, min(8*time.Second, r.whole()/4)))
		if err := r.allReady(ctx, startLimit); err != nil {
			r.blame("not ready after Redis woke up: %v", err)
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
	for i := 0; r.wait(ctx, r.whole()/12); i++ {
		rep, d := r.members()[r.draw(len(r.members()))], r.between(r.whole()/8, r.whole()/4)
		r.breakNetwork(ctx, rep, []mood{swallow, freeze, swallow}[i%3], d, i%3 == 2)
		if err := r.ready(ctx, rep, startLimit); err != nil {
			r.blame("not ready after the network came back: %v", err)
		}
	}
	return nil
}

func nginxReload(ctx context.Context, r *run) error {
	for i := 1; r.wait(ctx, r.between(r.whole()/12, r.whole()/6)); i++ {
		at := r.now()
		if err := hangUp(r.nginx.cmd.Process); err != nil {
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
			at := r.now()
			leaving.proc.kill()
			r.mayCost(at-beforeEnd, r.now()+afterEnd, perReplica)
			r.did("kill "+leaving.name, at, at, 1)
		}
		r.leave(leaving)
		r.aim()
	}
	return nil
}

// everything runs faults at random times, several at once, but leaves at least one replica alone at any time and
// does one thing at a time to Redis.
func everything(ctx context.Context, r *run) error {
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		busy    = map[*replica]bool{} // guarded by mu
		redisMu sync.Mutex
		failed  = make(chan error, 1) // the first is enough
	)
	defer wg.Wait()
	onReplica := func(f func(*replica)) {
		mu.Lock()
		defer mu.Unlock()
		rep := r.members()[r.draw(len(r.members()))]
		if busy[rep] || len(busy) >= len(r.members())-1 {
			return
		}
		busy[rep] = true
		wg.Go(func() {
			f(rep)
			mu.Lock()
			defer mu.Unlock()
			delete(busy, rep)
		})
	}
	onRedis := func(f func()) {
		if redisMu.TryLock() {
			wg.Go(func() {
				defer redisMu.Unlock()
				f()
			})
		}
	}
	short := func() time.Duration { return r.between(r.whole()/40, r.whole()/6) }
	faults := []func(){
		func() { onReplica(func(rep *replica) { r.killReplica(ctx, rep, short()) }) },
		func() { onReplica(func(rep *replica) { r.endReplica(rep); r.startAgain(ctx, rep) }) },
		func() { onReplica(func(rep *replica) { r.pauseReplica(ctx, rep, short()) }) },
		func() { onReplica(func(rep *replica) { r.breakNetwork(ctx, rep, freeze, short(), false) }) },
		func() { onReplica(func(rep *replica) { r.breakNetwork(ctx, rep, swallow, short(), r.draw(2) == 0) }) },
		func() { onRedis(func() { r.killSubscribers(ctx, "pubsub") }) },
		func() { onRedis(func() { r.killSubscribers(ctx, "normal") }) },
		func() { onRedis(func() { r.freezeRedis(ctx, short()/2) }) },
		func() {
			onRedis(func() {
				if err := r.restartRedis(ctx, r.draw(2) == 0, short()/3, nil); err != nil {
					select {
					case failed <- err:
					default:
					}
				}
			})
		},
	}
	for r.wait(ctx, r.between(r.whole()/100, r.whole()/20)) {
		faults[r.draw(len(faults))]()
	}
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}
