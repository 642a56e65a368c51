package kind

import (
	"fmt"
	"strings"
)

// OwnPrefix begins every Redis key and pub/sub channel of the gateway's own. No channel of a user may begin with it.
const OwnPrefix = "sluice:"

// Greatest lengths of names, in bytes.
const (
	MaxChannelLength = 128
	maxTypeLength    = 64
)

// CheckChannel reports, as an *[InvalidError], why name cannot be the name of a channel.
func CheckChannel(name string) error {
	switch {
	case name == "":
		return invalid("invalid_channel", "A channel needs a name")
	case len(name) > MaxChannelLength:
		return invalid("invalid_channel", fmt.Sprintf("A channel's name has at most %d characters", MaxChannelLength))
	case !hasNameCharacters(name):
		return invalid("invalid_channel", "A channel's name consists of letters, digits and : . _ -")
	case strings.HasPrefix(name, OwnPrefix):
		return invalid("invalid_channel", "Channels that start with "+OwnPrefix+" are the gateway's own")
	case name == taskPrefix:
		return invalid("invalid_channel", "A progress channel needs a task id: progress:<taskId>")
	}
	return nil
}

// reservedTypes are names of SSE events that no publisher can use as a type, since a page would mistake the event for
// something else: open and error are events of EventSource itself, and the others are the gateway's own, some of them later.
// The gateway never sends error: a page's onerror would hear it.
var reservedTypes = map[string]bool{
	"open": true, "error": true, "gap": true, "position": true,
	"expired": true, "revoked": true, "inbox": true, "removed": true, "cancel": true,
}

// CheckType reports, as an *[InvalidError], why name cannot be the type of an event. The empty type is valid.
func CheckType(name string) error {
	if len(name) > maxTypeLength || !hasNameCharacters(name) {
		return invalid("invalid_type",
			fmt.Sprintf("An event's type consists of at most %d letters, digits and : . _ -", maxTypeLength))
	}
	return nil
}

// hasNameCharacters reports whether s consists of letters, digits and : . _ - only. None of them needs escaping in a
// Redis key, in JSON, in a URL's path or in a frame of an event stream.
func hasNameCharacters(s string) bool {
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
