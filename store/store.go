package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/store/kind"
)

// Store keeps events in Redis. It is safe for concurrent use and holds no events of its own.
type Store struct {
	rdb     redis.UniversalClient
	cfg     Config
	scripts *batcher
}

// Config holds the settings of a Store.
type Config struct {
	HistorySize  int           `split_words:"true" default:"100" desc:"events kept per general channel"`
	HistoryTTL   time.Duration `split_words:"true" default:"24h" desc:"how long a general channel's history is kept after its newest event"`
	MaxBodyBytes int           `split_words:"true" default:"65536" desc:"largest body of a publish, and largest PUBLISH payload, in bytes"`
}

// Validate reports, as a *[SettingError], which setting is wrong.
func (c *Config) Validate() error {
	return cmp.Or(
		CheckRange("HistorySize", c.HistorySize, 1, 100_000),
		CheckRange("HistoryTTL", c.HistoryTTL, time.Second, 365*24*time.Hour),
		CheckRange("MaxBodyBytes", c.MaxBodyBytes, 1024, 1<<20),
	)
}

// New returns a Store on rdb, which stays the caller's to close.
func New(rdb redis.UniversalClient, cfg Config) *Store {
	return &Store{rdb: rdb, cfg: cfg, scripts: &batcher{rdb: rdb}}
}

// Rule returns how much of a channel is kept.
func (s *Store) Rule(channel string) kind.Rule {
	return kind.Of(channel).Rule(kind.Keep(s.cfg.HistorySize, s.cfg.HistoryTTL))
}

// MaxBodyBytes returns how large the body of a publish, or the payload of a raw PUBLISH, may be. The store leaves it to
// whoever takes these in to refuse larger ones, before they are in memory as a whole.
func (s *Store) MaxBodyBytes() int { return s.cfg.MaxBodyBytes }

// AppendOptions change what Append does; the zero value changes nothing.
type AppendOptions struct {
	// IdempotencyKey, if not empty, makes a repeated Append within five minutes return the first one's event and do
	// nothing else. It is the publisher's choice, per channel, of any length.
	IdempotencyKey string
	// IfNew refuses the event with ErrExists if the channel has had events.
	IfNew bool
}

// appendTimeout is how long a publisher waits: a Redis that hangs must not collect them.
const appendTimeout = 6 * time.Second

// How long is kept what no kind.Rule speaks of.
const (
	freshTTL       = time.Hour // the base of a channel that has had no event
	onceTTL        = 5 * time.Minute
	adoptedTTL     = time.Hour // replicas present a raw message for 15 minutes at most (maxHold in pubsub)
	rejectedCap    = 100
	rejectedTTL    = 24 * time.Hour
	maxPayloadShow = 1024 // bytes of a rejected payload that are kept
)

// Append stores an event and announces it, atomically. again is true if nothing was done because the idempotency key
// had been used; the event is then the first one.
//
// It returns ErrEnded, ErrExists or ErrUncertain; after any other error nothing was stored.
func (s *Store) Append(ctx context.Context, d kind.Draft, o AppendOptions) (event Event, again bool, err error) {
	keys := []string{historyKey(d.Channel), metaKey(d.Channel)}
	if o.IdempotencyKey != "" {
		keys = append(keys, onceKey(d.Channel, o.IdempotencyKey))
	}
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	args := appendArgs{
		ruleArgs: s.ruleArgs(d.Channel), eventArgs: newEventArgs(d), IfNew: o.IfNew, OnceTTL: seconds(onceTTL),
	}
	reply, err := s.scripts.run(ctx, appendScript, keys, args.argv()).Result()
	if err != nil {
		if wasSent(err) {
			err = fmt.Errorf("%w: %w", ErrUncertain, err)
		}
		return Event{}, false, fmt.Errorf("append to channel %q: %w", d.Channel, err)
	}
	status, text, err := appendReply(reply)
	if err != nil {
		return Event{}, false, err
	}
	switch status {
	case "ok", "again":
		event, err = parseEvent(d.Channel, []byte(text))
		return event, status == "again", err
	case "ended":
		return Event{}, false, ErrEnded
	case "exists":
		return Event{}, false, ErrExists
	default:
		return Event{}, false, fmt.Errorf("append.lua answered status %q", status)
	}
}

// wasSent reports whether a call that ended with err may have reached Redis: not if there was no connection to send it
// over, and not if Redis answered that it did nothing.
func wasSent(err error) bool {
	if _, answered := errors.AsType[redis.Error](err); answered || errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, errNotSent) {
		return false
	}
	connecting, ok := errors.AsType[*net.OpError](err)
	return !ok || connecting.Op != "dial"
}

// RawMessage is a raw PUBLISH on its way into a channel: either understood (Draft) or not (Reason, Payload).
type RawMessage struct {
	Draft   kind.Draft
	Reason  string // why it is rejected; empty if it is not
	Payload []byte // as it came
}

// Adopted says what became of messages presented to Adopt.
type Adopted struct {
	Before   uint64 // how many since the marker were stored before this call
	Stored   int    // by this call
	Rejected int    // by this call
}

// Adopt takes raw messages of one channel in, each exactly once however many replicas present it: they are the
// messages number first, first+1, … since marker. A message of a lower or equal number than one taken in before, by
// anybody, is passed over; so messages must be presented in order, and after an error the same ones again.
func (s *Store) Adopt(ctx context.Context, channel, marker string, first uint64, messages []RawMessage) (Adopted, error) {
	keys := []string{historyKey(channel), metaKey(channel), adoptedKey(channel, marker), rejectedKey(channel)}
	args := adoptArgs{
		ruleArgs: s.ruleArgs(channel), First: first, Marker: marker,
		AdoptedTTL: seconds(adoptedTTL), RejectedCap: rejectedCap, RejectedTTL: seconds(rejectedTTL),
	}.argv()
	for _, m := range messages {
		message := messageArgs{Payload: shown(m.Payload)}
		if m.Reason != "" {
			message.Reason = jsonString(m.Reason)
		} else {
			message.eventArgs = newEventArgs(m.Draft)
		}
		args = append(args, message.argv()...)
	}
	reply, err := s.scripts.run(ctx, adoptScript, keys, args).Int64Slice()
	if err != nil {
		return Adopted{}, fmt.Errorf("adopt into channel %q: %w", channel, err)
	}
	if len(reply) != 3 {
		return Adopted{}, fmt.Errorf("adopt.lua answered %v", reply)
	}
	return Adopted{Before: uint64(reply[0]), Stored: int(reply[1]), Rejected: int(reply[2])}, nil
}

// shown returns the beginning of a payload as JSON. Bytes that are not UTF-8 are replaced.
func shown(payload []byte) string {
	return jsonString(string(payload[:min(len(payload), maxPayloadShow)]))
}

func jsonString(s string) string {
	text, _ := json.Marshal(s) // a string can always be encoded
	return string(text)
}

// Rejected returns the raw messages that were not understood, newest first, each as JSON {"time","reason","payload"}.
func (s *Store) Rejected(ctx context.Context, channel string) ([]json.RawMessage, error) {
	texts, err := s.rdb.LRange(ctx, rejectedKey(channel), 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("read rejected messages of channel %q: %w", channel, err)
	}
	rejected := make([]json.RawMessage, 0, len(texts))
	for _, t := range texts {
		if json.Valid([]byte(t)) { // somebody else may have pushed into the list
			rejected = append(rejected, json.RawMessage(t))
		}
	}
	return rejected, nil
}

// Tip is where a channel stands.
type Tip struct {
	Position Position // of the newest event; (0, Base) if there was none
	Base     Nonce    // the nonce of offset 0: it changes only if the channel was lost and began anew
	Final    bool     // the newest event ended the channel
}

// errNoMeta is what a tip is read as if the channel has never been touched, or everything of it is gone.
var errNoMeta = errors.New("channel is unknown")

// parseTip reads the reply of HMGET meta offset nonce base final.
func parseTip(fields []any) (Tip, error) {
	text := func(i int) string {
		s, _ := fields[i].(string)
		return s
	}
	if len(fields) != 4 || text(2) == "" {
		return Tip{}, errNoMeta
	}
	base, err := parseNonce(text(2))
	if err != nil {
		return Tip{}, fmt.Errorf("%w: base: %w", errUnreadable, err)
	}
	t := Tip{Position: Position{Nonce: base}, Base: base, Final: text(3) != ""}
	if text(0) == "" {
		return t, nil
	}
	if t.Position.Offset, err = strconv.ParseUint(text(0), 10, 64); err != nil {
		return Tip{}, fmt.Errorf("%w: offset: %w", errUnreadable, err)
	}
	if t.Position.Nonce, err = parseNonce(text(1)); err != nil {
		return Tip{}, fmt.Errorf("%w: nonce: %w", errUnreadable, err)
	}
	return t, nil
}

var tipFields = []string{"offset", "nonce", "base", "final"}

// Tips returns where channels stand, in their order, in at most two round trips however many there are. A channel
// that nobody touched before gets its base, so that a position in it means something from now on. With touch, the
// positions are kept for another Rule.MetaTTL: a channel that is watched is not forgotten. One that has never had an
// event is kept for an hour only: whoever reads can name as many channels as he likes.
//
// Each channel has an error of its own: what somebody else wrote into one channel's key, or a Redis too full to begin
// a new channel, must not concern the others.
func (s *Store) Tips(ctx context.Context, channels []string, touch bool) ([]Tip, []error) {
	tips, errs := make([]Tip, len(channels)), make([]error, len(channels))
	replies := make([]*redis.SliceCmd, len(channels))
	p := s.rdb.Pipeline()
	for i, c := range channels {
		replies[i] = p.HMGet(ctx, metaKey(c), tipFields...)
	}
	_, _ = p.Exec(ctx) // its error is the first command's
	var fresh, alive []int
	for i, r := range replies {
		tips[i], errs[i] = tipOf(r, channels[i])
		switch {
		case errors.Is(errs[i], errNoMeta):
			fresh = append(fresh, i)
		case errs[i] == nil && touch && !s.Rule(channels[i]).Latest: // a task's may be about to end
			alive = append(alive, i)
		}
	}
	if len(fresh)+len(alive) == 0 {
		return tips, errs
	}
	p = s.rdb.Pipeline()
	for _, i := range alive {
		ttl := s.Rule(channels[i]).MetaTTL
		if tips[i].Position.Offset == 0 {
			ttl = freshTTL
		}
		p.Expire(ctx, metaKey(channels[i]), ttl)
	}
	for _, i := range fresh {
		p.HSetNX(ctx, metaKey(channels[i]), "base", NewNonce().String()) // the first replica's stays
		p.Expire(ctx, metaKey(channels[i]), freshTTL)
		replies[i] = p.HMGet(ctx, metaKey(channels[i]), tipFields...)
	}
	_, _ = p.Exec(ctx)
	for _, i := range fresh {
		tips[i], errs[i] = tipOf(replies[i], channels[i])
	}
	return tips, errs
}

// tipOf reads one reply of Tips.
func tipOf(r *redis.SliceCmd, channel string) (Tip, error) {
	fields, err := r.Result()
	if err != nil {
		return Tip{}, fmt.Errorf("read position of channel %q: %w", channel, err)
	}
	t, err := parseTip(fields)
	if err != nil {
		return Tip{}, fmt.Errorf("position of channel %q: %w", channel, err)
	}
	return t, nil
}

// History returns what is stored of a channel, list and position of the same moment. A channel that nobody touched has
// the zero History.
//
// A full Redis refuses every transaction, one that only reads too. So the position is read before the list and after
// it; sent together, the three are carried out together but for rare cases, which are read again.
func (s *Store) History(ctx context.Context, channel string) (History, error) {
	for try := 1; ; try++ {
		p := s.rdb.Pipeline()
		before := p.HMGet(ctx, metaKey(channel), tipFields...)
		list := p.LRange(ctx, historyKey(channel), 0, -1)
		after := p.HMGet(ctx, metaKey(channel), tipFields...)
		if _, err := p.Exec(ctx); err != nil {
			return History{}, fmt.Errorf("read history of channel %q: %w", channel, err)
		}
		if !slices.Equal(before.Val(), after.Val()) {
			if try < 100 {
				continue
			}
			return History{}, fmt.Errorf("read history of channel %q: it never stands still", channel)
		}
		tip, err := parseTip(before.Val())
		if errors.Is(err, errNoMeta) {
			return History{}, nil
		}
		if err != nil {
			return History{}, fmt.Errorf("position of channel %q: %w", channel, err)
		}
		return newHistory(channel, tip, list.Val()), nil
	}
}
