package store

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// DefaultPrefix begins the names of all keys and pub/sub channels of the gateway's own, unless the settings say otherwise.
const DefaultPrefix = "sluice"

// Names are the names of the gateway's own keys and pub/sub channels. All replicas that work together have the same ones.
//
// A key belongs to one database of Redis, but PUBLISH reaches the subscribers of all databases. So the name of a pub/sub
// channel has the number of the database. It also has a brace, and no channel of a user has one (see kind.CheckChannel),
// so nobody can choose a channel's name that is one of these.
type Names struct {
	// Markers is the pub/sub channel on which replicas publish the markers that name raw messages.
	Markers string
	// PatternMarkers is the same for raw messages that arrive by a pattern subscription. Redis keeps the order of all
	// messages of a connection. miniredis keeps it among messages by name and among messages by pattern only, so messages
	// by pattern need markers by pattern.
	PatternMarkers string
	// Adopted is the pub/sub channel on which Redis says which raw messages are stored, where no announcement does. See
	// [ParseNotice].
	Adopted string

	keys, live, probe, session string // what the others begin with
}

// NewNames returns the names for a prefix and the number of a database.
func NewNames(prefix string, database int) Names {
	channels := prefix + ":" + strconv.Itoa(database) + ":"
	return Names{
		Markers: channels + "{markers}", PatternMarkers: channels + "{pattern-markers}", Adopted: channels + "{adopted}",
		keys: prefix + ":", live: channels + "live:{", probe: channels + "{probe}:",
		session: channels + "{session}:",
	}
}

// Live is the pub/sub channel on which a channel's new events are announced.
func (n Names) Live(channel string) string { return n.live + channel + "}" }

// ChannelOfLive returns the channel whose [Names.Live] is name. ok is false if name is another pub/sub channel.
func (n Names) ChannelOfLive(name string) (channel string, ok bool) {
	rest, ok1 := strings.CutPrefix(name, n.live)
	channel, ok2 := strings.CutSuffix(rest, "}")
	return channel, ok1 && ok2
}

// Probe is the pub/sub channel on which a replica expects its own probes back.
func (n Names) Probe(replica string) string { return n.probe + replica }

// Session is a pub/sub channel to which nobody but one connection is subscribed, and on which nothing is published: it shows
// whether the Redis that is asked has that connection. id is random.
func (n Names) Session(id Nonce) string { return n.session + id.String() }

// format is the key that says in which format the other keys are written.
func (n Names) format() string { return n.keys + "format" }

// epoch is the key that names the dataset. It is the only one beside format that never expires.
func (n Names) epoch() string { return n.keys + "epoch" }

// history is the list of a channel's recent events, newest first.
func (n Names) history(channel string) string { return n.keys + "history:{" + channel + "}" }

// meta is the hash of what is known of a channel. An empty field is none.
//
//	offset, nonce  of the newest event
//	base           the nonce of offset 0, with the day on which the channel got its first event
//	final          set if the newest event is a final one
//	progress       the newest progress, if the channel is a task's
func (n Names) meta(channel string) string { return n.keys + "meta:{" + channel + "}" }

// once holds the result of a publish that had an idempotency key. That key is any text of a client's, so its hash is used.
func (n Names) once(channel, idempotencyKey string) string {
	sum := sha256.Sum256([]byte(idempotencyKey))
	return n.keys + "once:{" + channel + "}:" + hex.EncodeToString(sum[:16])
}

// adopted holds the highest number since marker among the raw messages that were stored or rejected.
func (n Names) adopted(channel, marker string) string {
	return n.keys + "adopted:{" + channel + "}:" + marker
}

// rejected is the list of raw messages that were not understood, newest first.
func (n Names) rejected(channel string) string { return n.keys + "rejected:{" + channel + "}" }

// revoked is the sorted set of what was revoked.
func (n Names) revoked() string { return n.keys + "revoked" }

// Bounds of what no kind.Rule bounds.
const (
	onceTTL         = 5 * time.Minute // of a once key
	adoptedTTL      = time.Hour       // of an adopted key; no replica presents a message for longer than a quarter of it
	rejectedCap     = 100             // entries of a rejected key
	rejectedTTL     = 24 * time.Hour  // of a rejected key
	rejectedPayload = 1024            // bytes of a message that an entry of a rejected key has
)
