//go:build linux

package main

import "fmt"

// The units of ratios.
const (
	ofFloor   = " × floor"
	ofNaive   = " × naive"
	ofAgainst = " × the other build"
	ofWork    = " ×"
)

// targetsOf judges the targets of each mode that has some. A target that compares with the other build is not measured
// without -against.
var targetsOf = map[string]func(j *judging){
	"idle": func(j *judging) {
		j.most("15,000 idle streams: at most 0.65 KiB of user memory each", j.clients("", 15_000),
			j.median("", figMemory), 0.65, " KiB")
		j.add("goroutines do not grow with streams", j.clients("", 1_000), j.median("", figGoroutines) < 0.01,
			number(j.median("", figGoroutines))+" per stream", j.median("", figGoroutines))
	},
	"paced": func(j *judging) {
		j.most("5,000 streams, one event at a time: CPU per delivery at most 1.1 × floor", j.clients("", 5_000),
			j.over(floorServer, "", figCPU), 1.1, ofFloor)
		j.most("5,000 streams, one event at a time: p99 latency at most the floor's", j.clients("", 5_000),
			j.over(floorServer, "", figP99), 1, ofFloor)
	},
	"burst": func(j *judging) {
		j.most("5,000 streams, 64 events in flight: CPU per delivery at most 0.07 × floor, nothing lost", j.clients("", 5_000),
			j.over(floorServer, "", figCPU), 0.07, ofFloor)
	},
	"channels": func(j *judging) {
		j.most("15,000 channels with a stream each: at most 4 KiB of user memory per stream", j.clients("", 15_000),
			j.median("", figMemory), 4, " KiB")
	},
	"sets":    judgeSets,
	"filters": judgeFilters,
	"resume":  judgeResume,
	"connect": func(j *judging) {
		j.most("CPU per connect: at most the naive server's", j.clients("", 5_000),
			j.over(naiveServer, "", figCPUConnect), 1, ofNaive)
	},
	"publish": judgePublish,
	"raw":     judgeRaw,
	"flood":   judgeFlood,
	"watch":   judgeWatch,
	"scale":   judgeScale,
}

func judgeSets(j *judging) {
	j.most("5,000 streams with a channel of their own each: CPU per delivery at most 1.25 × floor", j.clients(setsPaced, 5_000),
		j.over(floorServer, setsPaced, figCPU), 1.25, ofFloor)
	j.most("the same: at most 1.15 × that of streams of the shared channel alone", j.clients(setsPaced, 5_000),
		j.rs.growth(j.mode, setsPaced, setsAlone, gatewayServer, figCPU), 1.15, ofWork)
	j.most("the same, 64 events in flight: CPU per delivery at most 0.15 × floor, nothing lost", j.clients(setsBurst, 5_000),
		j.over(floorServer, setsBurst, figCPU), 0.15, ofFloor)
	j.most("the same: at most 3 KiB of user memory per stream and its channel", j.clients(setsPaced, 5_000),
		j.median(setsPaced, figMemory), 3, " KiB")
}

func judgeFilters(j *judging) {
	j.most("5,000 streams with 1,000 different filters: CPU per delivery at most 1.3 × that with one filter",
		j.clients(filtersMany, 5_000), j.rs.growth(j.mode, filtersMany, filtersOne, gatewayServer, figCPU), 1.3, ofWork)
}

func judgeResume(j *judging) {
	// The number of commands per channel must not depend on how many clients share it. Most of the commands are those of
	// appending the trial's own 50 events, about ten each.
	const most = 1000
	ok, text := true, ""
	var values []float64
	for _, t := range j.kinds {
		if t.Server != gatewayServer {
			continue
		}
		perChannel := j.median(t.Label, figRedisPerChannel)
		ok = ok && perChannel <= most
		text += number(perChannel) + " (" + t.Label + "), "
		values = append(values, perChannel)
	}
	j.add("15,000 clients resume: Redis commands grow with channels, not with clients (at most 1,000 per channel); "+
		"no repeat, no hole", j.clients("", 15_000), ok,
		fmt.Sprintf("%s%d events published to each among them", text, eventsAway+eventsDuring), values...)
	for _, t := range j.kinds {
		if t.Server == gatewayServer {
			j.most("resume, "+t.Label+": CPU per client not worse than the other build's, within 5 %", j.clients("", 15_000),
				j.over(againstServer, t.Label, figCPUResume), 1.05, ofAgainst)
		}
	}
}

func judgePublish(j *judging) {
	j.most("POST, 1 caller: CPU at most 0.7 × the other build's", j.events(post1, 5_000),
		j.over(againstServer, post1, figCPUPublish), 0.7, ofAgainst)
	j.most("POST, 32 callers, one channel: Redis at most 20 µs a call", j.events(post32, 20_000),
		j.median(post32, figRedisPublish), 20, " µs")
	j.least("the same: at least 1.6 × the other build's calls a second", j.events(post32, 20_000),
		j.over(againstServer, post32, figPublishes), 1.6, ofAgainst)
	j.most("the same: CPU at most 0.55 × the other build's", j.events(post32, 20_000),
		j.over(againstServer, post32, figCPUPublish), 0.55, ofAgainst)
	j.least("raw messages: at least 2 × the other build's rate through one replica", j.events(raw1, 20_000),
		j.over(againstServer, raw1, figPublishes), 2, ofAgainst)
}

func judgeRaw(j *judging) {
	for _, to := range []string{rawChannel, rawTasks} {
		for _, n := range rawReplicas[1:] {
			j.most(fmt.Sprintf("raw messages to %s, %d replicas: script calls at most 1.2 × those with one replica", to, n),
				j.events(rawLabel(to, n), 300),
				j.rs.growth(j.mode, rawLabel(to, n), rawLabel(to, 1), gatewayServer, figScripts), 1.2, ofWork)
		}
	}
}

func judgeFlood(j *judging) {
	for _, f := range []struct {
		label string
		size  size
		text  string
	}{
		{floodAlone, j.events(floodAlone, 200_000), "no streams"},
		{floodSets, j.clients(floodSets, 5_000), "5,000 streams with a channel of their own each"},
	} {
		uncounted := j.worst(f.label, figUncounted)
		j.add("PUBLISH as fast as Redis takes them, "+f.text+": nothing lost that is not counted", f.size, uncounted == 0,
			fmt.Sprintf("%s not counted, of %s; %s counted as lost", whole(uncounted),
				whole(j.median(f.label, figReceived)), whole(j.median(f.label, figLost))), uncounted)
	}
	// Here a message that no replica received is lost as well: Redis works, and so does the network.
	w := j.work(floodStated)
	deaf := j.worst(floodStated, figUnheard)
	lost, uncounted := j.worst(floodStated, figLost), j.worst(floodStated, figUncounted)
	j.add(fmt.Sprintf("PUBLISH, %s a second, 5,000 such streams: nothing lost at all", thousands(w.Rate)),
		j.clients(floodStated, 5_000), lost == 0 && uncounted == 0 && deaf == 0,
		fmt.Sprintf("%s without a receiver, %s counted as lost, %s not counted, of %s",
			whole(deaf), whole(lost), whole(uncounted), thousands(w.Events)), deaf, lost, uncounted)
}

func judgeWatch(j *judging) {
	label := j.work("").Label
	keys := j.worst(label, figKeys)
	j.add("100,000 watched channels without events: no key in Redis", j.clients(label, 2_000), keys <= 0, whole(keys)+" keys", keys)
	// A probe a second, and what comes with it: nothing is asked for a channel without events.
	j.most("the same: at most 20 Redis commands a second while nothing happens", j.clients(label, 2_000),
		j.median(label, figRedisRate), 20, " a second")
}

// flatGrows is the largest growth that still counts as flat.
const flatGrows = 1.15

func judgeScale(j *judging) {
	small, large := smallestAndLargest(j.kinds)
	grows := j.rs.growth(j.mode, large.Label, small.Label, gatewayServer, figCPU)
	floors := j.rs.growth(j.mode, large.Label, small.Label, floorServer, figCPU)
	// The kernel's part grows by itself, because more sockets do not fit into the processor's caches. So the growth of
	// the floor in the same run is divided out. What remains is the growth of the gateway's own work.
	beyond := grows / max(1, floors)
	j.add("CPU per delivery is flat from 1,000 to 15,000 streams: at most 1.15 ×, beyond the floor's own growth",
		size{large.Clients, 15_000, "clients"}, beyond <= flatGrows,
		fmt.Sprintf("%s × (gateway %s ×, floor %s ×)", number(beyond), number(grows), number(floors)), beyond)
}

// smallestAndLargest returns the trials with the fewest and with the most clients, of those with one replica.
func smallestAndLargest(kinds []trial) (small, large trial) {
	for _, t := range kinds {
		if t.Replicas > 1 {
			continue
		}
		if small.Clients == 0 || t.Clients < small.Clients {
			small = t
		}
		if t.Clients > large.Clients {
			large = t
		}
	}
	return small, large
}
