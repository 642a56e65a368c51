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
	maxUserLength    = 100
)

// NameCharacters says, for people, which characters the name of a channel may have, and the id of a task or a user.
const NameCharacters = "letters, digits and : . _ - @ | + = ~"

// CheckChannel reports, as an *[InvalidError], why name cannot be the name of a channel.
func CheckChannel(name string) error {
	switch {
	case name == "":
		return invalid("invalid_channel", "A channel needs a name")
	case len(name) > MaxChannelLength:
		return invalid("invalid_channel", fmt.Sprintf("A channel's name has at most %d characters", MaxChannelLength))
	case !hasNameCharacters(name):
		return invalid("invalid_channel", "A channel's name consists of "+NameCharacters)
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
	if len(name) > maxTypeLength || !consistsOf(name, isTypeCharacter) {
		return invalid("invalid_type",
			fmt.Sprintf("An event's type consists of at most %d letters, digits and : . _ -", maxTypeLength))
	}
	return nil
}

// CheckUser reports, as an *[InvalidError], why id cannot be the id of a user. An id is taken as it is: it is never
// trimmed or split. So ada@example.com and auth0|123 are ids.
func CheckUser(id string) error {
	if id == "" || len(id) > maxUserLength || !hasNameCharacters(id) {
		return invalid("invalid_user",
			fmt.Sprintf("A user's id consists of 1 to %d %s", maxUserLength, NameCharacters), "user")
	}
	return nil
}

// hasNameCharacters reports whether s consists of [NameCharacters] only. None of them needs escaping in a Redis key, in
// JSON or in a frame of an event stream, and none has a meaning in a Redis pattern.
func hasNameCharacters(s string) bool { return consistsOf(s, isNameCharacter) }

func consistsOf(s string, valid func(byte) bool) bool {
	for i := range len(s) {
		if !valid(s[i]) {
			return false
		}
	}
	return true
}

func isNameCharacter(c byte) bool {
	switch c {
	case '@', '|', '+', '=', '~':
		return true
	default:
		return isTypeCharacter(c)
	}
}

func isTypeCharacter(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	default:
		return c == ':' || c == '.' || c == '_' || c == '-'
	}
}
