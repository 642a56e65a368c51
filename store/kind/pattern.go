package kind

import (
	"fmt"
	"strings"
)

// userPrefix begins the name of the channel that has the notifications of one user; the user's id follows.
const userPrefix = Notifications + ":"

// UserChannel returns the channel of the notifications that are for one user only.
func UserChannel(user string) string { return userPrefix + user }

// CheckPattern reports, as an *[InvalidError], why pattern cannot stand for channels. A pattern is the name of a channel,
// or the beginning of names and a star: orders.* stands for every channel whose name begins with "orders.", and a lone
// star for all channels. See [Reaches] for the exception.
func CheckPattern(pattern string) error {
	prefix, star := strings.CutSuffix(pattern, "*")
	switch {
	case !star:
		return CheckChannel(pattern)
	case len(prefix) >= MaxChannelLength:
		return invalid("invalid_pattern", fmt.Sprintf("A pattern has at most %d characters", MaxChannelLength))
	case !hasNameCharacters(prefix):
		return invalid("invalid_pattern", "A pattern consists of "+NameCharacters+", with a star at its end or none")
	}
	return nil
}

// Reaches reports whether a pattern stands for a channel. The channel with the notifications of one user is reached by its
// name, and by a pattern that begins with "notifications:", but not by a wider one: somebody who may read everything that
// is public must not read what is private by the same word.
func Reaches(pattern, channel string) bool {
	if !matches(pattern, channel) {
		return false
	}
	return pattern == channel || !strings.HasPrefix(channel, userPrefix) || strings.HasPrefix(pattern, userPrefix)
}
