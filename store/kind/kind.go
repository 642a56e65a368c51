package kind

import "strings"

// Names of the channels whose events have a shape of their own. The channel of a task is [TaskChannel].
const (
	Notifications = "notifications"
	Activities    = "activity"
)

// Kind is what the channels of one pattern have in common.
type Kind struct {
	// pattern is the name of a channel, or a prefix and a star: progress:* matches every channel whose name begins with
	// progress:, and a lone star matches all channels.
	pattern string
	// always is true if raw messages are stored even while no stream follows the channel.
	always bool
	// EventByType is true if, on a stream of one channel, the SSE event is named after the event's type. Otherwise
	// there is no name, and a browser hands the event to onmessage.
	EventByType bool
	// Replay is how many stored events a client gets when it connects for the first time and does not ask for another
	// number. It applies to the kind's own stream address only, such as /api/sse/notifications.
	Replay int

	// rule is how much of a channel is kept; the zero rule stands for that of general channels.
	rule Rule
	// draft makes an event of JSON data; typ is the type that the publisher gave, if any.
	draft func(channel, typ string, data []byte) (Draft, error)
	// fromText makes data of a raw message that draft has refused, because a PUBLISH may be plain text. It returns nil
	// if the message is rejected. A kind whose fromText is nil rejects all messages that draft refuses.
	fromText func(payload []byte) []byte
}

// table has a line for each kind. The first one that matches a channel counts; the last one matches every channel.
var table = []Kind{
	{
		pattern: Notifications, always: true, Replay: 50, rule: Keep(50, month),
		draft:    shaped(func(n Notification, _ string) (Draft, error) { return n.Draft() }),
		fromText: textNotification,
	},
	{
		pattern: Activities, always: true, Replay: 10, rule: Keep(50, month),
		draft: shaped(func(a Activity, _ string) (Draft, error) { return a.Draft() }),
	},
	{
		pattern: taskPrefix + "*", always: true, Replay: 1, rule: taskRule,
		draft: shaped(func(r Report, channel string) (Draft, error) {
			return r.Draft(strings.TrimPrefix(channel, taskPrefix))
		}),
	},
	{
		pattern: "*", EventByType: true,
		draft: generalDraft, fromText: jsonText,
	},
}

// Of returns the kind of a channel.
func Of(channel string) Kind {
	last := len(table) - 1
	for i := range last {
		if matches(table[i].pattern, channel) {
			return table[i]
		}
	}
	return table[last]
}

// Always returns what every replica follows from its start to its end: channels by name, and channels by pattern.
func Always() (channels, patterns []string) {
	for _, k := range table {
		switch {
		case !k.always:
		case k.ByPattern():
			patterns = append(patterns, k.pattern)
		default:
			channels = append(channels, k.pattern)
		}
	}
	return channels, patterns
}

// ByPattern reports whether the raw messages of the kind's channels arrive by a subscription to its pattern. There may
// be new channels of such a kind at any time, and nothing tells when one is no longer used.
func (k Kind) ByPattern() bool { return k.always && strings.HasSuffix(k.pattern, "*") }

func matches(pattern, channel string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(channel, prefix)
	}
	return channel == pattern
}
