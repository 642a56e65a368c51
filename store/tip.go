package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
)

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
