package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice/cmd/internal/judge"
	"sluice/cmd/internal/rig"
)

// run is one scenario while it happens.
type run struct {
	*cluster
	*dice
	scenario scenario
	rules    judge.Rules
	options  options
	began    time.Time
	deadline time.Time // when the load ends
	channels []string
	own      []string // channels of one client each, beside those that it shares
	madeUp   string   // begins the names of channels that only readers name; empty: there are none

	perReplica int64 // how many receivers of a PUBLISH one replica counts for

	ledger  ledger
	clients []*client
	tasks   []*client

	mu      sync.Mutex
	windows []judge.Window    // guarded by mu
	losses  []judge.Span      // guarded by mu
	faults  []judge.Fault     // guarded by mu
	wrong   []judge.Violation // guarded by mu
	refused []judge.Refusal   // guarded by mu
}

// checked returns the channels whose events are judged.
func (r *run) checked() []string { return slices.Concat([]string{notifications}, r.channels, r.own) }

// refuse records an answer to a publisher that said to try again later.
func (r *run) refuse(who, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused = append(r.refused, judge.Refusal{At: r.now(), Who: who, Why: why})
}

// now returns the time since the scenario began.
func (r *run) now() time.Duration { return time.Since(r.began) }

// loadTime is how long the load lasts.
func (r *run) loadTime() time.Duration {
	return time.Duration(r.options.seconds * float64(time.Second))
}

// wait waits for d, or until the load ends. It reports whether the load goes on.
func (r *run) wait(ctx context.Context, d time.Duration) bool {
	left := time.Until(r.deadline)
	select {
	case <-ctx.Done():
		return false
	case <-time.After(max(0, min(d, left))):
		return left > d
	}
}

// recordFault records a fault that has been undone.
func (r *run) recordFault(name string, from, to time.Duration, hits int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, judge.Fault{Span: judge.Span{From: from, To: to}, Name: name, Hits: hits})
	r.options.progress("%s: %s at %.1f s for %.1f s (hit %d)",
		r.scenario.name, name, from.Seconds(), (to - from).Seconds(), hits)
}

// mayCost declares a window: so many receivers may have been cut off in this span.
func (r *run) mayCost(from, to time.Duration, receivers int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.windows = append(r.windows, judge.Window{Span: judge.Span{From: from, To: to}, Receivers: receivers})
}

// redisLost declares that Redis may have lost the writes of a span.
func (r *run) redisLost(from, to time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.losses = append(r.losses, judge.Span{From: from, To: to})
}

// blame records something wrong that the schedule itself has noticed.
func (r *run) blame(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrong = append(r.wrong, judge.Violation{Kind: judge.Process, At: r.now(), Detail: fmt.Sprintf(format, args...)})
}

// channelNames returns the general channels of every scenario.
func channelNames() []string { return []string{"chaos.a", "chaos.b", "chaos:c", "chaos-d"} }

// runScenario does everything up to the verdict. It returns an error if there can be none.
func runScenario(ctx context.Context, s scenario, o options, gateway, dir string) (judge.Record, error) {
	r := &run{
		scenario: s, rules: s.rules, options: o, channels: channelNames(),
		dice: newDice(o.seed, s.name),
		cluster: &cluster{
			group: rig.NewGroup(dir), plan: s.plan, gateway: gateway, targets: &targets{},
			ingest: strings.Join(channelNames(), ","),
		},
	}
	defer r.close()
	r.plan.settings = slices.Concat(o.settings, r.plan.settings) // the last value of a setting wins
	if s.trims {                                                 // about a tenth of the events is kept
		r.rules.Trim = max(20, int(o.rate*o.seconds/10)/len(r.channels))
		r.plan.settings = append(r.plan.settings, fmt.Sprintf("GATEWAY_HISTORY_SIZE=%d", r.rules.Trim))
	}
	if err := startCluster(ctx, r.cluster, o.replicas); err != nil {
		return judge.Record{}, err
	}
	if err := r.countReceivers(ctx); err != nil {
		return judge.Record{}, err
	}
	r.began = time.Now()
	seen, err := r.load(ctx)
	if err != nil {
		return judge.Record{}, err
	}
	return r.collect(ctx, seen)
}

// countReceivers asks Redis how many receivers it counts for each replica. The checker does not assume that a replica
// has one connection.
func (r *run) countReceivers(ctx context.Context) error {
	subscribers, err := r.admin.PubSubNumSub(ctx, r.channels[0]).Result()
	if err != nil {
		return err
	}
	r.perReplica = max(1, subscribers[r.channels[0]]/int64(r.options.replicas))
	return nil
}

// load starts clients and publishers, runs the schedule, and waits until everything is quiet again. It returns the
// witness, if there is one.
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

	r.deadline = time.Now().Add(r.loadTime())
	writeCtx, stopWriting := context.WithCancel(ctx)
	defer writing.Wait()
	defer stopWriting()
	for _, p := range r.makePublishers() {
		writing.Go(func() { p.run(ctx, writeCtx.Done()) })
	}
	if worker != nil {
		writing.Go(func() { worker.run(ctx, writeCtx.Done(), r.loadTime()/20) })
	}
	for _, c := range r.clients[len(r.clients)-late:] {
		pause := r.between(r.loadTime()/5, r.loadTime()*4/5)
		reading.Go(func() {
			r.wait(readCtx, pause)
			r.goOnFrom(c)
			c.run(readCtx)
		})
	}
	r.disturbClients(writeCtx, &writing)
	if err := r.scenario.schedule(ctx, r); err != nil {
		return nil, err
	}
	r.wait(ctx, time.Hour) // to the end of the load
	if err := r.allReady(ctx); err != nil {
		r.blame("not ready after the faults were over: %v", err)
	}
	stopWriting()
	writing.Wait()
	r.allBound(ctx, r.clients)
	if worker != nil {
		worker.finish(ctx)
	}
	return seen, r.settle(ctx, r.publishLast(ctx))
}

// allBound waits until clients have seen a stream with a position. The judge finds those that never do.
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
	w := &witness{redis: newRedis(r.redis.Addr), trim: r.rules.Trim, logs: map[string][]judge.Event{}}
	wg.Go(func() {
		defer w.redis.Close()
		w.run(ctx, r.channels)
	})
	return w
}

// publishLast publishes one more event to each channel: a client that missed the end of the load sees the hole only
// when something comes behind it. It returns the ids. These events have a type, so they are also the last ones for
// clients that asked for one type.
func (r *run) publishLast(ctx context.Context) map[string]string {
	ids := map[string]string{}
	for _, channel := range r.checked() {
		p := &publisher{name: "last", channel: channel, ledger: &r.ledger, now: r.now}
		p.sender = r.newPoster("last-" + channel)
		ids[channel] = p.one(ctx, noteEvery).ID
	}
	return ids
}

// quietFor is for how long nothing new must be stored. It is longer than a replica that has just subscribed waits
// before it stores its first raw messages.
const quietFor = 2500 * time.Millisecond

// settle waits until nothing new is stored and every client has the newest events, or until the time for that is over.
// notes are the ids that publishLast has returned.
func (r *run) settle(ctx context.Context, notes map[string]string) error {
	last, since := map[string]string{}, time.Now()
	err := rig.Until(ctx, r.options.settle, func(ctx context.Context) error {
		newest := map[string]string{}
		for _, channel := range r.checked() {
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
			return errors.New("events are still being stored")
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

// collect reads what is stored and makes the record. Clients and publishers must have stopped.
func (r *run) collect(ctx context.Context, seen *witness) (judge.Record, error) {
	out := judge.Record{
		Rules: r.rules, Publishes: r.ledger.all(), Log: map[string][]judge.Event{},
		Windows: r.windows, Losses: r.losses, Faults: r.faults,
	}
	if seen != nil {
		if seen.err != nil {
			return judge.Record{}, seen.err
		}
		out.Kept = map[string][]judge.Event{}
	}
	for _, channel := range r.checked() {
		list, err := readList(ctx, r.admin, channel, 0)
		if err != nil {
			return judge.Record{}, err
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
			out.Views = append(out.Views, judge.View{Replica: rep.name, Channel: channel, Events: events})
		}
	}
	for _, c := range r.clients {
		out.Clients = append(out.Clients, c.record)
	}
	for _, c := range r.tasks {
		out.Tasks = append(out.Tasks, judge.Task{Name: c.name, States: c.states, Stopped: c.stopped, Died: c.record.Died})
	}
	out.Wrong, out.Refusals = r.wrong, r.refused
	if r.scenario.floods {
		for _, rep := range r.members() {
			n, err := rig.MetricSum(ctx, rep.url(), "sluice_raw_lost_total")
			if err != nil {
				return judge.Record{}, err
			}
			out.CountedLost += int64(n)
		}
	}
	var err error
	out.Written, err = r.keysOfReaders(ctx)
	return out, err
}

// newPoster returns a publisher by POST whose keys no other publisher and no other run has.
func (r *run) newPoster(name string) *poster {
	return &poster{
		targets: r.targets, run: fmt.Sprintf("%s-%d-%d", r.scenario.name, r.options.seed, r.began.UnixNano()), name: name,
		turn: int(hash(name) % 100), now: r.now, unexpected: func(what string) { r.blame("%s", what) },
		refused: func(why string) { r.refuse(name, why) },
		http:    &http.Client{Timeout: postTimeout, Transport: &http.Transport{IdleConnTimeout: 5 * time.Second}},
	}
}
