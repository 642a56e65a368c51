package store

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"sluice/store/kind"
)

// keyPrefix begins every key and pub/sub channel of the gateway's own. No channel of a user begins with it.
const keyPrefix = kind.OwnPrefix

// historyKey is the list of a channel's recent events, newest first.
func historyKey(channel string) string { return keyPrefix + "{" + channel + "}:history" }

// metaKey is the hash with the newest event's offset and nonce, the base nonce, and whether the channel ended.
func metaKey(channel string) string { return keyPrefix + "{" + channel + "}:meta" }

// onceKey holds the result of a publish that had an idempotency key. The key is hashed: it is the client's text.
func onceKey(channel, idempotencyKey string) string {
	sum := sha256.Sum256([]byte(idempotencyKey))
	return keyPrefix + "{" + channel + "}:once:" + hex.EncodeToString(sum[:16])
}

// adoptedKey holds how many of the raw messages named by a marker are stored.
func adoptedKey(channel, marker string) string {
	return keyPrefix + "{" + channel + "}:adopted:" + marker
}

// rejectedKey is the list of raw messages that could not be understood, newest first.
func rejectedKey(channel string) string { return keyPrefix + "{" + channel + "}:rejected" }

// LiveChannel is the pub/sub channel on which a channel's new events are announced.
func LiveChannel(channel string) string { return keyPrefix + "{" + channel + "}:live" }

// ChannelOfLive is the inverse of [LiveChannel]; ok is false for any other pub/sub channel.
func ChannelOfLive(name string) (channel string, ok bool) {
	rest, ok1 := strings.CutPrefix(name, keyPrefix+"{")
	channel, ok2 := strings.CutSuffix(rest, "}:live")
	return channel, ok1 && ok2
}

// MarkerChannel is the pub/sub channel on which replicas publish the markers that name raw messages.
const MarkerChannel = keyPrefix + "markers"

// PatternMarkerChannel is MarkerChannel for sources that are patterns. Real Redis keeps messages of one connection in
// order across all kinds of subscription; miniredis only within a kind, so each kind has its markers of the same kind.
const PatternMarkerChannel = keyPrefix + "pattern-markers"

// ProbeChannel is the pub/sub channel on which a replica expects its own probes back.
func ProbeChannel(replica string) string { return keyPrefix + "probe:" + replica }

// How long is kept what no kind.Rule speaks of.
const (
	freshTTL       = time.Hour // the base of a channel that has had no event
	onceTTL        = 5 * time.Minute
	adoptedTTL     = time.Hour // replicas present a raw message for 15 minutes at most (maxHold in pubsub)
	rejectedCap    = 100
	rejectedTTL    = 24 * time.Hour
	maxPayloadShow = 1024 // bytes of a rejected payload that are kept
)
