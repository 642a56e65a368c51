package world

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Plan is everything that a seed decides before a world begins. What the seed decides later is the order in which
// things happen at the same time, and how long data travels.
type Plan struct {
	Seed     uint64
	Replicas int
	Load     time.Duration // how long publishers publish and faults happen
	Channels []string      // general ones; all but the last are taken in while nobody watches
	History  int           // events kept per general channel
	Trim     bool          // History is small
	Feed     int           // bytes that a feed keeps
	Check    time.Duration // between comparisons of quiet channels
	Defer    bool          // Redis answers a PUBLISH before it sends the message to its own publisher
	Silent   bool          // nothing is published after the faults: what was lost must come by itself
	Steady   bool          // nothing costs a replica its subscription, and no client is slow
	Task     bool          // a task is reported on and followed

	Publishers []PublisherPlan
	Clients    []ClientPlan
	Actions    []Action // faults in the order of their beginnings
}

// PublisherPlan is one publisher.
type PublisherPlan struct {
	Channel string
	Raw     bool
	Every   time.Duration
	Burst   int // raw messages in one write, now and then
	Padding int // bytes
	Limit   int // payloads at most; 0: no limit
}

// ClientPlan is one client.
type ClientPlan struct {
	Channels []string
	Several  bool // one stream of several channels
	Type     string
	Replay   int
	Late     time.Duration // after the load has begun
	Roam     time.Duration // about so often it loses its connection; 0: never
	Away     time.Duration // for at most so long
	Stall    time.Duration // about so often it stops reading; 0: never
	Lean     bool          // its connection holds little, so that it is felt when it does not read
}

// Action is one fault.
type Action struct {
	At   time.Duration
	Kind Kind
	For  time.Duration // until it is undone
	Pick int           // which replica, or which way of doing it
	Coin bool
}

// Kind names a fault.
type Kind string

// The faults.
const (
	killReplica     Kind = "replica killed"
	losePower       Kind = "replica vanished"
	drainReplica    Kind = "replica drained"
	joinReplica     Kind = "replica joined and left"
	pauseReplica    Kind = "replica's connections stood still"
	partition       Kind = "replica cut off from Redis"
	oneWay          Kind = "one direction to Redis stood still"
	cutConnections  Kind = "connections to Redis reset"
	slowNetwork     Kind = "slow network to Redis"
	redisRestart    Kind = "Redis restarted"
	redisOlder      Kind = "Redis came back older"
	redisEmptied    Kind = "Redis lost everything"
	redisFrozen     Kind = "Redis stood still"
	redisLate       Kind = "Redis answered late"
	lateMessages    Kind = "messages of Redis arrived late"
	lateReplies     Kind = "replies of Redis arrived late"
	redisFull       Kind = "Redis was full"
	redisLoading    Kind = "Redis was loading"
	redisReadOnly   Kind = "Redis was read only"
	killSubscribers Kind = "subscribers killed"
	killCallers     Kind = "other connections killed"
	dropped         Kind = "subscriptions forgotten"
	outputLimit     Kind = "output limit"
	replyLost       Kind = "reply of a script lost"
	herd            Kind = "all clients left at once"
	clockJump       Kind = "clock of Redis jumped"
)

// Kinds are all faults in the order of the report.
var Kinds = []Kind{
	killReplica, losePower, drainReplica, joinReplica, pauseReplica, partition, oneWay, cutConnections, slowNetwork,
	redisRestart, redisOlder, redisEmptied, redisFrozen, redisLate, lateMessages, lateReplies, redisFull, redisLoading,
	redisReadOnly,
	killSubscribers, killCallers, dropped, outputLimit, replyLost, herd, clockJump,
}

// losing are the faults after which Redis lacks what it had acknowledged.
var losing = []Kind{redisOlder, redisEmptied}

// harmless are the faults that cost no replica its subscription.
var harmless = []Kind{redisLate, lateMessages, lateReplies, killCallers, replyLost, herd, clockJump}

// slowing are faults that may keep a replica for more than a second from storing a message that it has.
var slowing = []Kind{redisLate, lateReplies, killCallers, replyLost, clockJump}

// swaps returns the channels on which raw messages may change places. The last general channel is followed by those replicas
// on which somebody watches it. One that begins to follow it waits for a second, in which the others store what they have
// already, and may overtake them if they take longer.
func (p *Plan) swaps() []string {
	if !slices.ContainsFunc(p.Actions, func(a Action) bool { return slices.Contains(slowing, a.Kind) }) {
		return nil
	}
	return p.Channels[len(p.Channels)-1:]
}

// together are faults that are worse together than alone.
var together = [][]Kind{
	{killSubscribers, lateReplies}, {killSubscribers, lateReplies}, {cutConnections, lateReplies}, {lateMessages, herd},
	{lateMessages, lateReplies, herd},
	{redisOlder, killReplica}, {redisOlder, pauseReplica}, {redisOlder, lateMessages}, {redisEmptied, killSubscribers},
	{redisFull, drainReplica}, {redisFull, killSubscribers}, {joinReplica, redisLate}, {joinReplica, lateMessages},
	{replyLost, redisLate}, {losePower, killSubscribers}, {oneWay, killReplica}, {redisFrozen, drainReplica},
}

// dice draws what a seed decides.
type dice struct{ *rand.Rand }

func newDice(seed uint64, stream uint64) dice { return dice{rand.New(rand.NewPCG(seed, stream))} }

// between draws a time.
func (d dice) between(from, to time.Duration) time.Duration {
	return from + time.Duration(d.Int64N(int64(to-from)+1))
}

// chance is true in one of n cases.
func (d dice) chance(n int) bool { return d.IntN(n) == 0 }

const (
	ms            = time.Millisecond
	notifications = "notifications"
	note          = "note" // the type that some events have, and some clients ask for
	noteEvery     = 5      // POSTs, one has the type
	twiceEvery    = 10     // payloads, one is published a second time, byte for byte
)

// NewPlan draws the plan of a seed.
func NewPlan(seed uint64) Plan {
	d := newDice(seed, 1)
	p := Plan{
		Seed: seed, Replicas: 1 + d.IntN(3), Load: d.between(2500*ms, 6000*ms), History: 5000, Feed: 1 << 20,
		Check: d.between(500*ms, 5*time.Second), Defer: d.chance(2),
		Channels: []string{"sim.a", "sim:b", "sim-c"}[:2+d.IntN(2)],
	}
	if p.Replicas == 1 && !d.chance(3) {
		p.Replicas = 2
	}
	kinds := p.kinds(d)
	slow := d.chance(4)
	p.Steady = !slow && !slices.ContainsFunc(kinds, func(k Kind) bool { return !slices.Contains(harmless, k) })
	p.Trim = d.chance(3) || p.Steady && slices.Contains(kinds, lateMessages) // what is late may be trimmed before it arrives
	if p.Trim {
		p.History = 3 + d.IntN(8)
		if d.chance(3) {
			p.History *= 3
		}
	}
	if slow || p.Trim {
		p.Feed = 8 << 10
	}
	if d.chance(2) {
		p.Check = d.between(100*ms, 400*ms)
	}
	// What was missed must not be made up for by the next event, nor by the comparison of quiet channels.
	sparse, silent := d.chance(3), d.chance(4)
	if slices.Contains(kinds, lateReplies) && d.chance(2) { // what is read then may be out of date
		sparse, silent = true, true
	}
	if p.Silent = silent; silent || d.chance(3) {
		p.Check = time.Hour
	}
	p.Task = !slices.ContainsFunc(kinds, func(k Kind) bool { return slices.Contains(losing, k) }) && d.chance(3)
	p.publishers(d, slow, sparse)
	p.clients(d, slow)
	for range 2 + d.IntN(11) {
		a := Action{
			At: d.between(0, p.Load), Kind: kinds[d.IntN(len(kinds))], For: d.between(20*ms, 400*ms), Pick: d.IntN(1000),
			Coin: d.chance(2),
		}
		switch d.IntN(4) {
		case 0:
			a.For = d.between(400*ms, 2*time.Second)
		case 1:
			a.For = d.between(0, 20*ms)
		}
		if a.Kind == lateMessages || a.Kind == lateReplies {
			a.For *= 3 // so that something is late
		}
		if d.chance(12) {
			a.For = d.between(2*time.Second, 9*time.Second)
		}
		p.Actions = append(p.Actions, a)
	}
	slices.SortStableFunc(p.Actions, func(a, b Action) int { return int(a.At - b.At) })
	return p
}

// kinds draws the few kinds of fault that a world has. Few, so that each happens often, and so that not every world has
// a fault that excuses much.
func (p *Plan) kinds(d dice) []Kind {
	var out []Kind
	from, loses := Kinds, d.chance(4)
	switch d.IntN(4) {
	case 0: // so that the strictest rules hold
		from, loses = harmless, false
	case 1:
		return together[d.IntN(len(together))]
	}
	for range 1 + d.IntN(4) {
		k := from[d.IntN(len(from))]
		if !slices.Contains(losing, k) || loses {
			out = append(out, k)
		}
	}
	if loses {
		out = append(out, losing[d.IntN(len(losing))])
	}
	if len(out) == 0 {
		out = append(out, killSubscribers)
	}
	return out
}

func (p *Plan) publishers(d dice, slow, sparse bool) {
	for _, channel := range p.Channels {
		for _, raw := range []bool{false, true} {
			pub := PublisherPlan{Channel: channel, Raw: raw, Every: d.between(60*ms, 250*ms)}
			if sparse {
				pub.Every = d.between(400*ms, 4*time.Second)
			}
			if raw && d.chance(2) {
				pub.Burst = 2 + d.IntN(25)
			}
			if slow {
				pub.Padding = d.IntN(2 << 10)
			}
			p.Publishers = append(p.Publishers, pub)
		}
	}
	// Notifications are capped at 50 by design, and what is trimmed of them cannot be compared.
	for _, raw := range []bool{false, true} {
		p.Publishers = append(p.Publishers, PublisherPlan{Channel: notifications, Raw: raw, Every: p.Load / 9, Limit: 8})
	}
}

func (p *Plan) clients(d dice, slow bool) {
	for i := range 4 + d.IntN(6) {
		c := ClientPlan{Channels: []string{p.Channels[d.IntN(len(p.Channels))]}}
		switch {
		case i == 0:
			c.Channels = []string{notifications}
		case d.chance(3):
			c.Several = true
			c.Channels = slices.Clone(p.Channels)
			d.Shuffle(len(c.Channels), func(i, j int) { c.Channels[i], c.Channels[j] = c.Channels[j], c.Channels[i] })
			c.Channels = c.Channels[:1+d.IntN(len(c.Channels))]
			if d.chance(2) {
				c.Channels = append(c.Channels, fmt.Sprintf("sim.quiet.%d", d.IntN(3)))
			}
		case d.chance(6):
			c.Type = note
		}
		if d.chance(3) {
			c.Roam, c.Away = d.between(300*ms, 2*time.Second), d.between(0, time.Second)
			if p.Trim {
				c.Away = d.between(0, 3*time.Second)
			}
		}
		if i > 1 && d.chance(3) {
			c.Late, c.Replay = d.between(0, p.Load), d.IntN(3)*10
		}
		if slow && d.chance(2) {
			c.Lean, c.Stall = true, d.between(200*ms, 1500*ms)
		}
		p.Clients = append(p.Clients, c)
	}
}

// Has reports whether each of some faults is in the plan.
func (p *Plan) Has(kinds []Kind) bool {
	return !slices.ContainsFunc(kinds, func(k Kind) bool {
		return !slices.ContainsFunc(p.Actions, func(a Action) bool { return a.Kind == k })
	})
}

// Without returns the plan without some of its actions, by index.
func (p *Plan) Without(drop map[int]bool) Plan {
	var kept []Action
	for i, a := range p.Actions {
		if !drop[i] {
			kept = append(kept, a)
		}
	}
	less := *p
	less.Actions = kept
	return less
}
