package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice/cmd/internal/rig"
)

// run is one scenario while it happens.
type run struct {
	*cluster
	*dice
	scenario scenario
	rules    rules
	options  options
	began    time.Time
	deadline time.Time // when the load ends
	channels []string

	perReplica int64 // receivers of a PUBLISH that are one replica

	ledger  ledger
	clients []*client
	tasks   []*client

	mu      sync.Mutex
	windows []window    // guarded by mu
	losses  []span      // guarded by mu
	faults  []fault     // guarded by mu
	wrong   []violation // guarded by mu
}

func (r *run) now() time.Duration { return time.Since(r.began) }

// whole is how long the load lasts.
func (r *run) whole() time.Duration { return time.Duration(r.options.seconds * float64(time.Second)) }

// wait lets time pass and reports whether there is load left to break things under.
func (r *run) wait(ctx context.Context, d time.Duration) bool {
	left := time.Until(r.deadline)
	select {
	case <-ctx.Done():
		return false
	case <-time.After(max(0, min(d, left))):
		return left > d
	}
}

// did records a fault that has been undone. What it means for Redis' counts of receivers comes with it.
func (r *run) did(name string, from, to time.Duration, bites int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, fault{span{from, to}, name, bites})
	r.options.progress("%s: %s at %.1f s for %.1f s (%d hit)",
		r.scenario.name, name, from.Seconds(), (to - from).Seconds(), bites)
}

// mayCost declares that receivers may have been cut off within a span.
func (r *run) mayCost(from, to time.Duration, receivers int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.windows = append(r.windows, window{span{from, to}, receivers})
}

// redisLost declares that writes of a span may be gone.
func (r *run) redisLost(from, to time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.losses = append(r.losses, span{from, to})
}

// blame records what the schedule itself saw going wrong.
func (r *run) blame(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrong = append(r.wrong, violation{Kind: process, At: r.now(), Detail: fmt.Sprintf(format, args...)})
}

// channelNames are the general channels of every scenario.
func channelNames() []string { return []string{"chaos.a", "chaos.b", "chaos:c", "chaos-d"} }

// runScenario does everything up to the verdict. It returns an error if there can be none.
func runScenario(ctx context.Context, s scenario, o options, gateway, dir string) (record, error) {
	r := &run{
		scenario: s, rules: s.rules, options: o, channels: channelNames(),
		dice: newDice(o.seed, s.name),
		cluster: &cluster{
			group: rig.NewGroup(dir), plan: s.plan, gateway: gateway, targets: &targets{},
			ingest: strings.Join(channelNames(), ","),
		},
	}
	defer r.close()
	r.plan.settings = slices.Concat(o.settings, r.plan.settings) // the scenario's own win
	if s.trims {                                                 // a tenth of the load is kept, about
		r.rules.Trim = max(20, int(o.rate*o.seconds/10)/len(r.channels))
		r.plan.settings = append(r.plan.settings, fmt.Sprintf("GATEWAY_HISTORY_SIZE=%d", r.rules.Trim))
	}
	if err := startCluster(ctx, r.cluster, o.replicas); err != nil {
		return record{}, err
	}
	if err := r.countReceivers(ctx); err != nil {
		return record{}, err
	}
	r.began = time.Now()
	seen, err := r.load(ctx)
	if err != nil {
		return record{}, err
	}
	return r.collect(ctx, seen)
}

// countReceivers finds out how many receivers Redis counts for each replica, which is the gateway's own business.
func (r *run) countReceivers(ctx context.Context) error {
	subscribers, err := r.admin.PubSubNumSub(ctx, r.channels[0]).Result()
	if err != nil {
		return err
	}
	r.perReplica = max(1, subscribers[r.channels[0]]/int64(r.options.replicas))
	return nil
}

// load starts clients and publishers, lets the schedule loose and waits until everything is quiet again.
func (r *run) load(ctx context.Context) (*witness, error) {
	var reading, writing sync.WaitGroup
	readCtx, stopReading := context.WithCancel(ctx)
	defer reading.Wait()
	defer stopReading()
	seen := r.watch(readCtx, &reading)

	worker, err := r.startTask(ctx)
	if err != nil {
		return nil, err
	}
	late := r.makeClients(worker)
	early := r.clients[:len(r.clients)-late]
	for _, c := range slices.Concat(early, r.tasks) {
		reading.Go(func() { c.run(readCtx) })
	}
	r.allBound(ctx, early)

	r.deadline = time.Now().Add(r.whole())
	writeCtx, stopWriting := context.WithCancel(ctx)
	defer writing.Wait()
	defer stopWriting()
	for _, p := range r.makePublishers() {
		writing.Go(func() { p.run(ctx, writeCtx.Done()) })
	}
	if worker != nil {
		writing.Go(func() { worker.run(ctx, writeCtx.Done(), r.whole()/20) })
	}
	for _, c := range r.clients[len(r.clients)-late:] {
		pause := r.between(r.whole()/5, r.whole()*4/5)
		reading.Go(func() {
			r.wait(readCtx, pause)
			r.follow(c)
			c.run(readCtx)
		})
	}
	r.disturbClients(writeCtx, &writing)
	if err := r.scenario.schedule(ctx, r); err != nil {
		return nil, err
	}
	r.wait(ctx, time.Hour) // whatever is left of the load
	if err := r.allReady(ctx, startLimit); err != nil {
		r.blame("not ready after the faults were over: %v", err)
	}
	stopWriting()
	writing.Wait()
	r.allBound(ctx, r.clients)
	if worker != nil {
		worker.finish(ctx)
	}
	return seen, r.settle(ctx, r.lastWords(ctx))
}

// allBound waits until clients have seen a stream. One that never does is the judge's business.
func (r *run) allBound(ctx context.Context, clients []*client) {
	_ = rig.Until(ctx, startLimit, func(context.Context) error {
		for _, c := range clients {
			if !c.bound() {
				return fmt.Errorf("%s has no stream", c.name)
			}
		}
		return nil
	})
}

// watch starts a witness if the scenario trims.
func (r *run) watch(ctx context.Context, wg *sync.WaitGroup) *witness {
	if r.rules.Trim == 0 {
		return nil
	}
	w := &witness{redis: newRedis(r.redis.Addr), trim: r.rules.Trim, logs: map[string][]stored{}}
	wg.Go(func() {
		defer w.redis.Close()
		w.run(ctx, r.channels)
	})
	return w
}

// lastWords publishes one more event per channel, so that a client that missed the end of the load has something
// behind the hole. It returns their ids: nothing of their type comes later.
func (r *run) lastWords(ctx context.Context) map[string]string {
	ids := map[string]string{}
	for _, channel := range append([]string{notifications}, r.channels...) {
		p := &publisher{name: "last", channel: channel, ledger: &r.ledger, now: r.now}
		p.sender = r.newPoster("last-" + channel)
		ids[channel] = p.one(ctx, noteEvery).ID
	}
	return ids
}

// quietFor is longer than a newcomer holds its first raw messages back.
const quietFor = 2500 * time.Millisecond

// settle waits until the history stands still and everyone has the newest event, or the limit is over.
func (r *run) settle(ctx context.Context, notes map[string]string) error {
	last, since := map[string]string{}, time.Now()
	err := rig.Until(ctx, r.options.settle, func(ctx context.Context) error {
		newest := map[string]string{}
		for _, channel := range append([]string{notifications}, r.channels...) {
			list, err := readList(ctx, r.admin, channel, 1)
			if err != nil {
				return err
			}
			if len(list) > 0 {
				newest[channel] = list[0].ID
			}
			if newest[channel] != last[channel] {
				since = time.Now()
			}
		}
		last = newest
		if time.Since(since) < quietFor {
			return fmt.Errorf("events are still being stored")
		}
		for _, c := range slices.Concat(r.clients, r.tasks) {
			want := newest
			if c.record.Type != "" {
				want = notes
			}
			if !c.caughtUp(want) {
				return fmt.Errorf("%s has not caught up", c.name)
			}
		}
		return nil
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		r.options.progress("%s: not settled: %v", r.scenario.name, err)
	}
	return nil
}

// collect reads what is stored and puts the record together. Clients and publishers have stopped.
func (r *run) collect(ctx context.Context, seen *witness) (record, error) {
	out := record{
		Rules: r.rules, Publishes: r.ledger.all(), Log: map[string][]stored{},
		Windows: r.windows, Losses: r.losses, Faults: r.faults,
	}
	if seen != nil {
		if seen.err != nil {
			return record{}, seen.err
		}
		out.Kept = map[string][]stored{}
	}
	for _, channel := range append([]string{notifications}, r.channels...) {
		list, err := readList(ctx, r.admin, channel, 0)
		if err != nil {
			return record{}, err
		}
		out.Log[channel] = list
		if seen != nil && channel != notifications {
			out.Kept[channel], out.Log[channel] = list, seen.logs[channel]
		}
		for _, rep := range r.members() {
			events, err := readView(ctx, rep.url(), channel, list)
			if err != nil {
				r.blame("history of %s on %s: %v", channel, rep.name, err)
				continue
			}
			out.Views = append(out.Views, view{Replica: rep.name, Channel: channel, Events: events})
		}
	}
	for _, c := range r.clients {
		out.Clients = append(out.Clients, c.record)
	}
	for _, c := range r.tasks {
		out.Tasks = append(out.Tasks, taskRecord{Name: c.name, States: c.states, Stopped: c.stopped, Died: c.record.Died})
	}
	out.Wrong = r.wrong
	return out, nil
}

func (r *run) newPoster(name string) *poster {
	return &poster{
		targets: r.targets, run: fmt.Sprintf("%s-%d-%d", r.scenario.name, r.options.seed, r.began.UnixNano()), name: name,
		turn: int(hash(name) % 100), now: r.now, odd: func(what string) { r.blame("%s", what) },
		http: &http.Client{Timeout: postTimeout, Transport: &http.Transport{IdleConnTimeout: 5 * time.Second}},
	}
}
