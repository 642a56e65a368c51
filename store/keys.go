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

// metaKey is the hash of what is known of a channel:
//
//	offset, nonce  of the newest event
//	base           the nonce of offset 0
//	final          set if the newest event is a final one
//	progress       the newest progress, if the channel is a task's
func metaKey(channel string) string { return keyPrefix + "{" + channel + "}:meta" }

// onceKey holds the result of a publish that had an idempotency key. That key is any text of a client's, so its hash is
// used.
func onceKey(channel, idempotencyKey string) string {
	sum := sha256.Sum256([]byte(idempotencyKey))
	return keyPrefix + "{" + channel + "}:once:" + hex.EncodeToString(sum[:16])
}

// adoptedKey holds the highest number since marker among the raw messages that were stored or rejected.
func adoptedKey(channel, marker string) string {
	return keyPrefix + "{" + channel + "}:adopted:" + marker
}

// rejectedKey is the list of raw messages that were not understood, newest first.
func rejectedKey(channel string) string { return keyPrefix + "{" + channel + "}:rejected" }

// LiveChannel is the pub/sub channel on which a channel's new events are announced.
func LiveChannel(channel string) string { return keyPrefix + "{" + channel + "}:live" }

// ChannelOfLive returns the channel whose [LiveChannel] is name. ok is false if name is another pub/sub channel.
func ChannelOfLive(name string) (channel string, ok bool) {
	rest, ok1 := strings.CutPrefix(name, keyPrefix+"{")
	channel, ok2 := strings.CutSuffix(rest, "}:live")
	return channel, ok1 && ok2
}

// MarkerChannel is the pub/sub channel on which replicas publish the markers that name raw messages.
const MarkerChannel = keyPrefix + "markers"

// PatternMarkerChannel is the MarkerChannel for raw messages that arrive by a pattern subscription. Redis keeps the order
// of all messages of a connection. miniredis keeps it among messages by name and among messages by pattern only, so
// messages by pattern need markers by pattern.
const PatternMarkerChannel = keyPrefix + "pattern-markers"

// AdoptedChannel is the pub/sub channel on which Redis says which raw messages are stored, where no announcement does. See
// [ParseNotice].
const AdoptedChannel = keyPrefix + "adopted"

// ProbeChannel is the pub/sub channel on which a replica expects its own probes back.
func ProbeChannel(replica string) string { return keyPrefix + "probe:" + replica }

// Bounds of what no kind.Rule bounds.
const (
	freshTTL        = time.Hour       // of the meta key of a channel that has had no event
	onceTTL         = 5 * time.Minute // of a once key
	adoptedTTL      = time.Hour       // of an adopted key; no replica presents a message for longer than a quarter of it
	rejectedCap     = 100             // entries of a rejected key
	rejectedTTL     = 24 * time.Hour  // of a rejected key
	rejectedPayload = 1024            // bytes of a message that an entry of a rejected key has
)
