package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/cmd/internal/judge"
)

// scenario is one named schedule of faults with the cluster and the rules that belong to it.
//
// The schedule returns when the load is over and everything that it broke works again. Its error means that the run
// could not be carried out. Whether the gateway has failed is for the judge to say.
type scenario struct {
	name     string
	about    string
	plan     plan
	rules    judge.Rules
	loses    bool // Redis loses acknowledged writes
	trims    bool // histories are short
	slow     bool // some clients stop reading now and then
	sets     bool // clients of several channels have one of their own and the shared one
	floods   bool // raw messages may be dropped, if the replicas count them
	padding  int  // bytes added to each payload
	schedule func(ctx context.Context, r *run) error
}

// scenarios returns all scenarios in the order in which they are run.
func scenarios() []scenario { return slices.Concat(faulty(), crowded()) }

// faulty returns the scenarios in which something breaks.
func faulty() []scenario {
	return []scenario{
		{
			name: "baseline", about: "no faults, except that clients lose their own connections",
			rules: judge.Rules{RawOrder: true, MinReconnects: 1}, schedule: nothing,
		},
		{
			name: "replica-kill", about: "replicas are killed (SIGKILL) and start again",
			rules: judge.Rules{MinFaults: 1, MinReconnects: 1}, schedule: replicaKill,
		},
		{
			name: "replica-pause", about: "a replica is paused for up to 20 s (SIGSTOP) and goes on",
			rules: judge.Rules{MinFaults: 1}, schedule: replicaPause,
		},
		{
			name: "rolling-restart", about: "each replica in turn is drained (SIGTERM) and replaced",
			rules: judge.Rules{MinFaults: 1, MinReconnects: 1}, schedule: rollingRestart,
		},
		{
			name: "redis-restart", about: "Redis with appendfsync always is killed or terminated, and starts again",
			plan: plan{persist: everyTime}, rules: judge.Rules{MinFaults: 1}, schedule: redisRestart,
		},
		{
			name:  "redis-everysec",
			about: "Redis with appendfsync everysec is killed and starts again, perhaps without its last writes",
			plan:  plan{persist: everySec}, loses: true, rules: judge.Rules{MinFaults: 1}, schedule: redisEverySec,
		},
		{
			name: "redis-restore", about: "Redis is killed and starts again from an older snapshot",
			loses: true, rules: judge.Rules{MinFaults: 1}, schedule: redisRestore,
		},
		{
			name: "flushall", about: "Redis is emptied (FLUSHALL) while clients are connected",
			loses: true, rules: judge.Rules{MinFaults: 1}, schedule: flushAll,
		},
		{
			name: "redis-freeze", about: "Redis is paused for a while (SIGSTOP)",
			rules: judge.Rules{MinFaults: 1}, schedule: redisFreeze,
		},
		{
			name: "redis-full", about: "Redis is out of memory for a while: it delivers messages but stores nothing",
			rules: judge.Rules{MinFaults: 1}, schedule: redisFull,
		},
		{
			name: "pubsub-kill", about: "CLIENT KILL TYPE pubsub, again and again",
			rules: judge.Rules{MinFaults: 3}, schedule: pubsubKill,
		},
		{
			name: "black-hole", about: "the network between a replica and Redis loses bytes, stops, is slow, or is cut",
			plan: plan{proxied: true}, rules: judge.Rules{MinFaults: 1}, schedule: blackHole,
		},
		{
			name: "slow-clients", about: "clients stop reading, are disconnected by the gateway, and resume",
			plan:  plan{settings: []string{"GATEWAY_FEED_BYTES=131072"}},
			rules: judge.Rules{RawOrder: true, MinFaults: 1}, slow: true, padding: 8 << 10, schedule: nothing,
		},
		{
			name: "herd", about: "all clients reconnect at once; the gateway admits only a few at a time",
			plan:  plan{settings: []string{"GATEWAY_ADMIT_RATE=5"}},
			rules: judge.Rules{RawOrder: true, MinFaults: 1, MinReconnects: 24}, schedule: herd,
		},
		{
			name: "trim", about: "clients stay away until what they missed is trimmed",
			plan:  plan{settings: []string{"GATEWAY_FEED_BYTES=65536"}},
			rules: judge.Rules{RawOrder: true, MinGaps: 1}, trims: true, padding: 2 << 10, schedule: nothing,
		},
		{
			name: "nginx-reload", about: "clients connect through nginx, which is reloaded again and again; a replica is killed",
			plan: plan{nginx: true}, rules: judge.Rules{MinFaults: 1, MinReconnects: 1}, schedule: nginxReload,
		},
		{
			name: "replica-join", about: "replicas join and leave",
			rules: judge.Rules{MinFaults: 1, MinReconnects: 1}, schedule: replicaJoin,
		},
		{
			name: "everything-at-once", about: "a random mix of all faults after which Redis has lost nothing",
			plan: plan{persist: everyTime, proxied: true}, rules: judge.Rules{MinFaults: 3, MinReconnects: 1}, schedule: everything,
		},
	}
}

// crowded returns the scenarios in which nothing breaks, but somebody asks for much.
func crowded() []scenario {
	return []scenario{
		{
			name:  "flood-sets",
			about: "raw messages flood a channel that users read together with a channel of their own",
			rules: judge.Rules{MinFaults: 1, MinReconnects: 1}, sets: true, floods: true, schedule: floodSets,
		},
		{
			name:  "many-readers",
			about: "readers make up names of channels and ids while others read and publish; Redis is 10 ms away",
			plan:  plan{away: 5 * time.Millisecond},
			rules: judge.Rules{RawOrder: true, Steady: true, Calm: true, MinFaults: 1, MinReconnects: 1}, schedule: manyReaders,
		},
	}
}

// choose returns the scenarios named in a comma list, or all, without those named in another comma list.
func choose(names, except string) ([]scenario, error) {
	all := scenarios()
	if except != "" {
		without, err := choose(except, "")
		if err != nil {
			return nil, err
		}
		all = slices.DeleteFunc(all, func(s scenario) bool {
			return slices.ContainsFunc(without, func(other scenario) bool { return other.name == s.name })
		})
	}
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
			return nil, fmt.Errorf("unknown scenario %q; the scenarios are: %s", name, strings.Join(known, ", "))
		}
		out = append(out, all[i])
	}
	return out, nil
}
