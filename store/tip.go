package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// Tip says where a channel ends: its newest event, and how that event can be verified.
type Tip struct {
	Position Position // of the newest event; (0, Base) if there was none
	Base     Nonce    // the nonce of offset 0; when it changes, Redis has lost the channel and the channel began anew
	Final    bool     // the newest event ended the channel
}

// errNoMeta is the error of a tip that Redis does not have: nobody ever asked for the channel, or all its keys expired.
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

// Tips returns the tips of channels, in their order. It needs at most two round trips, however many channels there are.
//
// A channel that Redis does not have gets a base, so that from then on a position in it can be verified.
//
// With touch, Redis keeps the positions for another MetaTTL of the channel's rule, so that a channel that is watched is
// not forgotten. The position of a channel that has had no event is kept for an hour only, because anybody who reads can
// invent channels.
//
// Each channel has an error of its own. A key that another program wrote, or a Redis that is too full for a new channel,
// must not disturb the other channels.
func (s *Store) Tips(ctx context.Context, channels []string, touch bool) ([]Tip, []error) {
	tips, errs := make([]Tip, len(channels)), make([]error, len(channels))
	if err := s.CheckFormat(ctx); err != nil { // whoever follows a channel asks for its tip first
		for i := range errs {
			errs[i] = err
		}
		return tips, errs
	}
	replies := make([]*redis.SliceCmd, len(channels))
	p := s.rdb.Pipeline()
	for i, c := range channels {
		replies[i] = p.HMGet(ctx, s.names.meta(c), tipFields...)
	}
	_, _ = p.Exec(ctx) // each command has its own error
	var fresh, alive []int
	for i, r := range replies {
		tips[i], errs[i] = tipOf(r, channels[i])
		switch {
		case errors.Is(errs[i], errNoMeta):
			fresh = append(fresh, i)
		// Not a task: it may end at this moment, and then its keys must expire soon.
		case errs[i] == nil && touch && !s.Rule(channels[i]).Latest:
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
		p.Expire(ctx, s.names.meta(channels[i]), ttl)
	}
	for _, i := range fresh {
		p.HSetNX(ctx, s.names.meta(channels[i]), "base", NewNonce().String()) // if several replicas try, the first base stays
		p.Expire(ctx, s.names.meta(channels[i]), freshTTL)
		replies[i] = p.HMGet(ctx, s.names.meta(channels[i]), tipFields...)
	}
	_, _ = p.Exec(ctx)
	for _, i := range fresh {
		tips[i], errs[i] = tipOf(replies[i], channels[i])
	}
	return tips, errs
}

// tipOf reads the reply to HMGET for one channel.
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
