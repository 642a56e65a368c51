package world

import (
	"slices"
	"time"

	"sluice/cmd/internal/judge"
	"sluice/cmd/sim/internal/redismodel"
)

// act does one thing to the world and undoes it.
func (w *world) act(i int, a Action) {
	w.tracef("fault %d: %s for %v", i, a.Kind, a.For)
	from := w.now()
	hit := w.inflict(a)
	w.tracef("fault %d: %s is over, hit %d", i, a.Kind, hit)
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.exercise[a.Kind]
	e.Began++
	if hit > 0 {
		e.Hit++
	}
	w.exercise[a.Kind] = e
	f := judge.Fault{Span: judge.Span{From: from, To: w.now()}, Name: string(a.Kind), Hits: hit}
	w.record.Faults = append(w.record.Faults, f)
}

// inflict carries an action out and returns how much it hit.
func (w *world) inflict(a Action) int {
	switch a.Kind {
	case killReplica, losePower, drainReplica, pauseReplica, partition, oneWay, cutConnections, slowNetwork, dropped,
		outputLimit:
		return w.toReplica(a)
	case joinReplica:
		return w.joinAndLeave(a)
	case redisRestart, redisOlder, redisEmptied, redisLoading:
		return w.restartRedis(a)
	case redisFrozen:
		return w.freezeRedis(a)
	case redisLate:
		w.redis.Late(time.Duration(1+a.Pick%40) * ms)
		w.sleep(a.For)
		w.redis.Late(0)
		return 1
	case lateMessages, lateReplies:
		return w.beLate(a)
	case redisFull, redisReadOnly:
		return w.refuse(a)
	case killSubscribers:
		n := w.redis.KillClients(true)
		for i := 0; a.Coin && i < 1+a.Pick%3; i++ { // again, as soon as they may be back
			w.sleep(time.Duration(20+a.Pick%150) * ms)
			n += w.redis.KillClients(true)
		}
		return n
	case killCallers:
		return w.redis.KillClients(false)
	case replyLost:
		before := w.redis.LoseReply(true)
		w.sleep(a.For)
		return w.redis.LoseReply(false) - before
	case herd:
		n := 0
		for _, c := range w.clients {
			if c.disconnect(0) {
				n++
			}
		}
		return n
	case clockJump:
		w.redis.Skew(time.Duration(a.Pick-500) * 10 * ms)
		return 1
	}
	panic("no such fault: " + a.Kind)
}

// take picks a replica on which nothing else is at work. At least one is left alone.
func (w *world) take(pick int) *replica {
	w.mu.Lock()
	defer w.mu.Unlock()
	busy := 0
	for _, r := range w.members {
		if r.busy {
			busy++
		}
	}
	r := w.members[pick%len(w.members)]
	if r.busy || r.dead || busy >= max(1, len(w.members)-1) {
		return nil
	}
	r.busy = true
	return r
}

func (w *world) release(r *replica) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r.busy = false
}

// toReplica does something to one replica.
func (w *world) toReplica(a Action) int {
	r := w.take(a.Pick)
	if r == nil {
		return 0
	}
	defer w.release(r)
	w.tracef("it hits %s", r.host)
	switch a.Kind {
	case killReplica:
		w.kill(r)
		w.sleep(a.For)
		w.restart(r)
	case losePower:
		w.vanish(r, a.For)
		w.restart(r)
	case drainReplica:
		w.drain(r)
		w.restart(r)
	case pauseReplica:
		peers := append(w.peers(), "redis")
		w.stall(r, peers, peers, a)
	case partition:
		w.stall(r, []string{"redis"}, []string{"redis"}, a)
	case oneWay:
		if a.Pick/7%2 == 0 {
			w.stall(r, []string{"redis"}, nil, a)
		} else {
			w.stall(r, nil, []string{"redis"}, a)
		}
	case cutConnections:
		return w.net.Reset(r.host, "redis")
	case slowNetwork:
		d := time.Duration(1+a.Pick%300) * ms
		w.net.Slow(r.host, "redis", d)
		w.net.Slow("redis", r.host, d/2)
		w.sleep(a.For)
		w.net.Slow(r.host, "redis", 0)
		w.net.Slow("redis", r.host, 0)
	case dropped:
		return w.redis.DropSubscriptions(r.host)
	case outputLimit:
		before := w.redis.Subscribers(r.host)
		w.redis.LimitOutput(256)
		w.net.Stall("redis", r.host)
		w.sleep(a.For)
		w.net.Resume("redis", r.host)
		w.redis.LimitOutput(0)
		return before
	}
	return 1
}

// beLate makes what Redis sends to one replica, or to all, arrive late: only the messages, or only the replies.
func (w *world) beLate(a Action) int {
	some := w.replicas()
	if a.Coin {
		some = some[a.Pick%len(some):][:1]
	}
	n, d := 0, time.Duration(1+a.Pick%400)*ms
	for _, r := range some {
		if a.Kind == lateMessages {
			n += w.redis.LateMessages(r.host, d)
			defer w.redis.LateMessages(r.host, 0)
		} else {
			n++
			w.redis.LateReplies(r.host, 3*d)
			defer w.redis.LateReplies(r.host, 0)
		}
	}
	w.sleep(a.For)
	return n
}

// peers are all hosts that talk to replicas.
func (w *world) peers() []string {
	out := []string{"operator"}
	for _, c := range w.clients {
		out = append(out, c.name)
	}
	return out
}

// stall lets data between a replica and others stand still, and then go on or break.
func (w *world) stall(r *replica, to, from []string, a Action) {
	began := w.now()
	for _, peer := range to {
		w.net.Stall(r.host, peer)
	}
	for _, peer := range from {
		w.net.Stall(peer, r.host)
	}
	w.sleep(a.For)
	if a.Coin {
		for _, peer := range slices.Concat(to, from) {
			w.net.Reset(r.host, peer)
		}
	}
	for _, peer := range to {
		w.net.Resume(r.host, peer)
	}
	for _, peer := range from {
		w.net.Resume(peer, r.host)
	}
	w.outage(r.host, began)
}

// outage notes that raw messages may have waited in a replica, or in all of them (""), since began.
func (w *world) outage(host string, began time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outages[host] = append(w.outages[host], judge.Span{From: began, To: w.now()})
}

// kill ends a replica at once.
func (w *world) kill(r *replica) {
	w.mu.Lock()
	r.dead = true
	w.mu.Unlock()
	w.mayCost(r, w.now())
	w.net.Down(r.host)
	w.wg.Go(r.cancel)
}

// vanish ends a replica without a word to its peers, which learn of it after a while.
func (w *world) vanish(r *replica, d time.Duration) {
	w.mu.Lock()
	r.dead = true
	w.mu.Unlock()
	from := w.now()
	w.net.Vanish(r.host)
	w.sleep(d)
	w.mayCost(r, from)
	w.net.Down(r.host)
	w.wg.Go(r.cancel)
}

// drain ends a replica in order. What it has taken in must be stored, unless Redis takes nothing.
func (w *world) drain(r *replica) {
	from := w.now()
	err := r.shutDown()
	w.mu.Lock()
	r.dead = true
	disturbed := w.disturbed(r.host, from-5*time.Second)
	w.mu.Unlock()
	if err != nil {
		w.blame(judge.Process, "%s did not end in time: %v", r.host, err)
	}
	if disturbed {
		w.mayCost(r, from)
	}
	w.net.Down(r.host)
}

// disturbed reports whether a replica could not store raw messages at some time since from; w.mu is held.
func (w *world) disturbed(host string, from time.Duration) bool {
	for _, o := range slices.Concat(w.outages[""], w.outages[host], w.current()) {
		if o.To >= from {
			return true
		}
	}
	return false
}

// current are outages that are not over; w.mu is held.
func (w *world) current() []judge.Span {
	var out []judge.Span
	for _, since := range w.running {
		out = append(out, judge.Span{From: since, To: w.now()})
	}
	return out
}

// mayCost declares that raw messages which a replica had, but had not stored, may be gone with it.
func (w *world) mayCost(r *replica, at time.Duration) {
	receivers := max(1, int64(w.redis.Subscribers(r.host)))
	w.mu.Lock()
	defer w.mu.Unlock()
	from := at - 3*time.Second
	all := slices.Concat(w.outages[""], w.outages[r.host], w.current())
	for again := true; again; {
		again = false
		for _, o := range all {
			if o.To >= from-2*time.Second && o.From-time.Second < from {
				from, again = o.From-time.Second, true
			}
		}
	}
	w.record.Windows = append(w.record.Windows, judge.Window{
		Span: judge.Span{From: from, To: w.now() + 5*ms}, Receivers: receivers,
	})
}

// cut is told by Redis that a subscriber's connection is over, which may not have got what was published since.
func (w *world) cut(host string, since time.Duration) {
	w.mu.Lock()
	r := w.hosts[host]
	dead := r == nil || r.dead
	if !dead {
		w.record.Windows = append(w.record.Windows, judge.Window{
			Span: judge.Span{From: since, To: w.now()}, Receivers: 1,
		})
	}
	w.mu.Unlock()
	w.tracef("a subscriber of %s is gone, not heard since %v", host, since)
}

// joinAndLeave adds a replica, and takes it or another one away after a while.
func (w *world) joinAndLeave(a Action) int {
	r := w.join()
	w.tracef("%s joins", r.host)
	w.sleep(a.For)
	victim := w.take(a.Pick)
	if victim == nil {
		return 1
	}
	w.leave(victim)
	if a.Coin {
		w.kill(victim)
	} else {
		w.drain(victim)
	}
	return 1
}

// restartRedis ends Redis and brings it back, with an older dataset or none.
func (w *world) restartRedis(a Action) int {
	var older *redismodel.Dataset
	since := w.now()
	branch := 0
	if a.Kind == redisOlder {
		select {
		case w.redisUse <- struct{}{}: // a server that is down has the data from before it went down
		default:
			return 0
		}
		older = w.redis.Snapshot()
		w.mu.Lock()
		branch = w.branch
		w.mu.Unlock()
		<-w.redisUse
		w.sleep(min(a.For, 1500*ms))
	}
	select {
	case w.redisUse <- struct{}{}:
	default:
		return 0 // it is down already
	}
	defer func() { <-w.redisUse }()
	w.mu.Lock()
	other := branch != w.branch
	w.mu.Unlock()
	if other && a.Kind == redisOlder {
		return 0 // the snapshot is of a past that Redis has lost: to go back to that one is beyond the promise
	}
	began := w.begins()
	if a.Kind == redisEmptied && a.Coin {
		w.redis.FlushAll()
		w.lose(0)
		w.ends(began)
		return 1
	}
	data := w.redis.Stop()
	switch a.Kind {
	case redisOlder:
		data = older
		w.lose(since)
	case redisEmptied:
		data = nil
		w.lose(0)
	}
	if a.Kind == redisOlder || a.Pick%3 == 0 {
		w.sleep(min(a.For, time.Duration(a.Pick%500)*ms))
	} else {
		w.sleep(min(a.For, 2*time.Second))
	}
	if a.Kind == redisLoading {
		w.redis.Refuse(redismodel.Loading)
	}
	w.redis.Start("redis", data)
	hit := 1
	if a.Kind == redisLoading {
		w.sleep(a.For)
		hit = w.redis.Refuse(redismodel.Nothing)
	}
	w.ends(began)
	return hit
}

// lose declares that Redis has lost what was written since a moment.
func (w *world) lose(since time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.branch++
	w.record.Losses = append(w.record.Losses, judge.Span{From: since, To: w.now()})
}

// begins notes that Redis stores nothing from now on; ends, that it does again.
func (w *world) begins() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tokens++
	w.running[w.tokens] = w.now()
	return w.tokens
}

func (w *world) ends(token int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outages[""] = append(w.outages[""], judge.Span{From: w.running[token], To: w.now()})
	delete(w.running, token)
}

func (w *world) freezeRedis(a Action) int {
	select {
	case w.redisUse <- struct{}{}:
	default:
		return 0
	}
	defer func() { <-w.redisUse }()
	began := w.begins()
	w.redis.Freeze()
	w.sleep(a.For)
	w.redis.Thaw()
	w.ends(began)
	return 1
}

// refuse lets Redis refuse writes; in the middle of it subscribers may have to come back.
func (w *world) refuse(a Action) int {
	select {
	case w.redisUse <- struct{}{}:
	default:
		return 0
	}
	defer func() { <-w.redisUse }()
	began := w.begins()
	r := redismodel.OOM
	if a.Kind == redisReadOnly {
		r = redismodel.ReadOnly
	}
	w.redis.Refuse(r)
	w.sleep(a.For / 2)
	if a.Coin {
		w.redis.KillClients(true)
	}
	w.sleep(a.For / 2)
	hit := w.redis.Refuse(redismodel.Nothing)
	w.ends(began)
	return hit
}
