package store

import (
	"fmt"
	"strings"
	"time"
)

// Names of the channels whose events have a shape of their own.
const (
	Notifications  = "notifications"
	Activities     = "activity"
	ProgressPrefix = "progress:" // followed by the task's id
)

// MaxNameLength is the greatest length of a channel's name, in bytes.
const MaxNameLength = 128

// CheckChannel reports, as an *InvalidError, why name cannot be a channel's name.
func CheckChannel(name string) error {
	switch {
	case name == "":
		return invalid("invalid_channel", "A channel needs a name")
	case len(name) > MaxNameLength:
		return invalid("invalid_channel", fmt.Sprintf("A channel's name has at most %d characters", MaxNameLength))
	case !isName(name):
		return invalid("invalid_channel", "A channel's name consists of letters, digits and : . _ -")
	case strings.HasPrefix(name, keyPrefix):
		return invalid("invalid_channel", "Channels that start with "+keyPrefix+" are the gateway's own")
	case name == ProgressPrefix:
		return invalid("invalid_channel", "A progress channel needs a task id: progress:<taskId>")
	}
	return nil
}

// reservedTypes would be taken for something else by a client: EventSource's own events, and our gap notice.
var reservedTypes = map[string]bool{"open": true, "error": true, "gap": true}

// CheckType reports, as an *InvalidError, why name cannot be the type of an event. The empty type is fine.
func CheckType(name string) error {
	if !isTypeName(name) {
		return invalid("invalid_type", "An event's type consists of at most 64 letters, digits and : . _ -")
	}
	return nil
}

func isTypeName(name string) bool { return len(name) <= 64 && isName(name) }

// isName reports whether s has only letters, digits and : . _ - in it.
func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == ':', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// ProgressChannel is the channel of a task's states.
func ProgressChannel(taskID string) string { return ProgressPrefix + taskID }

// TaskOf returns the id of the task whose states go over channel; ok is false for any other channel.
func TaskOf(channel string) (taskID string, ok bool) {
	return strings.CutPrefix(channel, ProgressPrefix)
}

// Typed reports whether the events of channel have a shape of their own: notifications, activities, task states.
func Typed(channel string) bool {
	_, task := TaskOf(channel)
	return task || channel == Notifications || channel == Activities
}

// Rule says how much of a channel is kept, and how long.
type Rule struct {
	Capacity int           // events
	TTL      time.Duration // of the history after its newest event
	MetaTTL  time.Duration // of the newest position; longer, so that a client back after days still finds its place
	FinalTTL time.Duration // of everything after a final event
	Latest   bool          // only the newest event matters: the channel is a state, and older events are not missed
}

// Config says how much of the general channels is kept.
type Config struct {
	HistorySize int           // events per channel
	HistoryTTL  time.Duration // after a channel's newest event
}

const (
	typedCapacity  = 50                  // notifications, activities
	typedTTL       = 30 * 24 * time.Hour // so that a quiet month does not empty a notification centre
	taskTTL        = 24 * time.Hour      // of a task that nobody reports on any more
	finishedTTL    = time.Minute         // of a finished task
	metaExtra      = 7 * 24 * time.Hour
	freshTTL       = time.Hour // of a channel without events
	onceTTL        = 5 * time.Minute
	adoptedTTL     = time.Hour // far beyond MaxHold in pubsub: a late presentation must still find it
	rejectedCap    = 100
	rejectedTTL    = 24 * time.Hour
	maxPayloadShow = 1024 // bytes of a rejected payload that are kept
)

// Rule returns the rule of a channel.
func (c Config) Rule(channel string) Rule {
	r := Rule{Capacity: c.HistorySize, TTL: c.HistoryTTL, FinalTTL: finishedTTL}
	if _, task := TaskOf(channel); task {
		r.Capacity, r.TTL, r.Latest = 1, taskTTL, true
		r.MetaTTL = taskTTL
		return r
	}
	if Typed(channel) {
		r.Capacity, r.TTL = typedCapacity, typedTTL
	}
	r.MetaTTL = r.TTL + metaExtra
	return r
}
