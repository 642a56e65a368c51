package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
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
	trims    bool // histories are short
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
			name: "redis-full", about: "Redis is out of memory for a while: it passes messages on but stores nothing",
			rules: rules{MinFaults: 1}, schedule: redisFull,
		},
		{
			name: "pubsub-kill", about: "CLIENT KILL TYPE pubsub, again and again",
			rules: rules{MinFaults: 3}, schedule: pubsubKill,
		},
		{
			name: "black-hole", about: "bytes between a replica and Redis vanish, stand still or come late, or it is cut off",
			plan: plan{proxied: true}, rules: rules{MinFaults: 1}, schedule: blackHole,
		},
		{
			name: "slow-clients", about: "clients stop reading, are evicted, and resume",
			plan:  plan{settings: []string{"GATEWAY_FEED_BYTES=131072"}},
			rules: rules{RawOrder: true, MinFaults: 1}, slow: true, padding: 8 << 10, schedule: nothing,
		},
		{
			name: "herd", about: "all clients come back at once; only a few are admitted at a time",
			plan:  plan{settings: []string{"GATEWAY_ADMIT_RATE=5"}},
			rules: rules{RawOrder: true, MinFaults: 1, MinReconnects: 24}, schedule: herd,
		},
		{
			name: "trim", about: "clients stay away until what they missed is trimmed",
			plan:  plan{settings: []string{"GATEWAY_FEED_BYTES=65536"}},
			rules: rules{RawOrder: true, MinGaps: 1}, trims: true, padding: 2 << 10, schedule: nothing,
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
