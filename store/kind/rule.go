package kind

import "time"

// Rule says how much of a channel is kept, and for how long.
type Rule struct {
	Capacity int           // the newest events that are kept
	TTL      time.Duration // how long the events are kept after the newest one
	// MetaTTL is how long the newest position is kept after the newest event. It is longer than TTL, so that a client
	// that comes back after days still finds its place.
	MetaTTL time.Duration
	// FinalTTL is how long everything is kept after a final event. 0 means that the channel has no final event.
	FinalTTL time.Duration
	// Latest is true if only the newest event matters. Such a channel holds a state, and no client misses older events.
	Latest bool
}

// Ends reports whether the kind's channels can have a final event, after which they accept no more events.
func (k Kind) Ends() bool { return k.rule.FinalTTL > 0 }

const (
	day   = 24 * time.Hour
	week  = 7 * day
	month = 30 * day // so that a quiet month does not empty a list of notifications
)

// taskRule is the rule of a task's channel: one state, kept for a day without a report, and a minute after the last one.
var taskRule = Rule{Capacity: 1, TTL: day, MetaTTL: day, FinalTTL: time.Minute, Latest: true}

// Keep returns a rule that keeps so many events for ttl after the newest one, and the position a week longer.
func Keep(events int, ttl time.Duration) Rule {
	return Rule{Capacity: events, TTL: ttl, MetaTTL: ttl + week}
}

// Rule returns the rule of the kind's channels. general is the rule of channels that have none of their own.
func (k Kind) Rule(general Rule) Rule {
	if k.rule == (Rule{}) {
		return general
	}
	return k.rule
}
