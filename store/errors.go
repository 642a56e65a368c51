package store

import (
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"
)

var (
	// ErrEnded is the error of an event after a channel's final one: a finished task accepts no more reports.
	ErrEnded = errors.New("channel has ended")
	// ErrUncertain is the error of an event that Redis may have stored or not: it was sent, and no answer came; or Redis
	// refused a part of storing it and refused to undo the rest. The publisher may repeat it with the same idempotency key.
	ErrUncertain = errors.New("it is not known whether the event is stored")
	// ErrExists is the error of an event that was to begin a channel, on a channel that has had events already.
	ErrExists = errors.New("channel exists")

	// errUnreadable is the error of something in Redis that this package has not written.
	errUnreadable = errors.New("not readable")
)

// Temporary reports whether an Append that failed with err may succeed later, although nobody changes anything about
// the event, the channel or the settings.
func Temporary(err error) bool {
	if err == nil || errors.Is(err, ErrEnded) || errors.Is(err, ErrExists) {
		return false
	}
	return TroubleOf(err).Temporary
}

// Trouble is the reason why Redis did not carry out a command. It can be shown to clients, because it contains no text
// of a Redis reply. Such a text could disclose keys and addresses.
type Trouble struct {
	Code      string // for programs; it never changes
	Message   string // for people
	Temporary bool   // the same command may succeed later although nobody changes anything
}

var (
	noAnswer   = Trouble{"unavailable", "Redis does not answer", true}
	unreadable = Trouble{"redis_unreadable", "Redis has data for this channel that the gateway did not write", false}
	wrongType  = Trouble{"redis_wrong_type", "Redis has a key of this channel that the gateway did not write", false}
	elsewhere  = Trouble{"redis_elsewhere", "This is not the Redis on which the replica is subscribed", true}
	otherData  = Trouble{"redis_format", "Redis has data of another version of the gateway", false}
	refused    = Trouble{"redis_error", "Redis refused the command", true}
)

// troubles are the reasons that Redis gives, by the first word of its reply.
var troubles = map[string]Trouble{
	"OOM":         {"redis_full", "Redis is full", true},
	"MISCONF":     {"redis_disk", "Redis cannot write to its disk, so it accepts no events", true},
	"LOADING":     {"redis_loading", "Redis is still loading its data", true},
	"BUSY":        {"redis_busy", "Redis is busy with a script", true},
	"READONLY":    {"redis_read_only", "This Redis is a replica, so it accepts no events", true},
	"MASTERDOWN":  {"redis_read_only", "This Redis is a replica that has lost its primary", true},
	"NOREPLICAS":  {"redis_replicas", "Redis has too few replicas, so it accepts no events", true},
	"CLUSTERDOWN": {"redis_cluster_down", "The Redis Cluster is not complete", true},
	"TRYAGAIN":    {"redis_cluster_down", "The Redis Cluster is moving this channel", true},
	"UNREADABLE":  unreadable, // a script of ours said so
	"ELSEWHERE":   elsewhere,  // this too
	"MOVED":       {"redis_cluster", "Another node of the Redis Cluster has this channel", false},
	"ASK":         {"redis_cluster", "Another node of the Redis Cluster has this channel", false},
	"CROSSSLOT":   {"redis_cluster", "Several nodes of the Redis Cluster hold the keys of this request", false},
	"WRONGTYPE":   wrongType,
	"NOPERM":      {"redis_forbidden", "Redis does not permit this to the gateway", false},
	"NOAUTH":      {"redis_login", "Redis does not accept the gateway's user or password", false},
	"WRONGPASS":   {"redis_login", "Redis does not accept the gateway's user or password", false},
}

// TroubleOf returns why a call to Redis failed with err. An error that is not a reply of Redis means that Redis does
// not answer: connections break in many ways, and each has another error.
func TroubleOf(err error) Trouble {
	if errors.Is(err, errUnreadable) {
		return unreadable
	}
	if _, other := errors.AsType[*FormatError](err); other {
		return otherData
	}
	reply, ok := errors.AsType[redis.Error](err)
	if !ok {
		return noAnswer
	}
	text := reply.Error()
	word, _, _ := strings.Cut(text, " ")
	if t, ok := troubles[word]; ok {
		return t
	}
	// Redis before 7, and miniredis, put the reply to a script's command behind words of their own.
	if strings.HasPrefix(text, "ERR Error ") || strings.HasPrefix(text, "@user_script") {
		for word := range strings.FieldsSeq(text) {
			if t, ok := troubles[strings.TrimPrefix(word, "-")]; ok {
				return t
			}
		}
	}
	if strings.Contains(text, "user executing the script can't") { // since Redis 7; this reply does not begin with NOPERM
		return troubles["NOPERM"]
	}
	return refused
}
