package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Tip says where a channel ends: its newest event, and how that event can be verified.
type Tip struct {
	Position Position // of the newest event; (0, Base) if there was none
	Base     Nonce    // the nonce of offset 0; if it is another one, the channel began anew
	Final    bool     // the newest event ended the channel
	Epoch    *Epoch   // of the dataset and the day when the tip was read; nil if it is not known
	// Left is how long Redis keeps the position from then on; 0 if the channel has had no event, or nobody asked.
	Left time.Duration
}

// Resolve returns the place that p stands for. It is p, unless p was told to a client while the channel had no event, in this
// epoch and so lately that no event of that time can have been forgotten: then it is the place before the first event. keep
// is how long Redis keeps the channel's position after the newest event.
func (t Tip) Resolve(channel string, keep time.Duration, p Position) Position {
	if p.Offset != 0 || t.Epoch == nil || !t.Epoch.told(channel, p.Nonce, keep) {
		return p
	}
	// After the channel was born nobody was told that it is empty, unless Redis had lost it for a time.
	if t.Position.Offset > 0 && int16(bornOn(p.Nonce)-bornOn(t.Base)) > 1 {
		return p
	}
	return Position{Nonce: t.Base}
}

// errNoMeta is the error of a tip that Redis does not have: the channel never had an event, or all its keys expired.
var errNoMeta = errors.New("channel has no events")

var tipFields = []string{"offset", "nonce", "base", "final"}

// parseTip reads the reply of HMGET for tipFields.
func parseTip(fields []any) (Tip, error) {
	text := func(i int) string {
		s, _ := fields[i].(string)
		return s
	}
	if len(fields) != len(tipFields) || text(0) == "" {
		return Tip{}, errNoMeta
	}
	t := Tip{Final: text(3) != ""}
	var err error
	if t.Base, err = parseNonce(text(2)); err != nil {
		return Tip{}, fmt.Errorf("%w: base: %w", errUnreadable, err)
	}
	if t.Position.Offset, err = strconv.ParseUint(text(0), 10, 64); err != nil {
		return Tip{}, fmt.Errorf("%w: offset: %w", errUnreadable, err)
	}
	if t.Position.Nonce, err = parseNonce(text(1)); err != nil {
		return Tip{}, fmt.Errorf("%w: nonce: %w", errUnreadable, err)
	}
	return t, nil
}

// Empty returns the tip of a channel without events.
func (e *Epoch) Empty(channel string) Tip {
	base := e.origin(channel)
	return Tip{Position: Position{Nonce: base}, Base: base, Epoch: e}
}

// Tips returns the tips of channels, in their order. It needs one round trip, however many channels there are, and writes
// nothing. With left it also asks how long Redis keeps each of them.
//
// Each channel has an error of its own: a key that another program wrote must not disturb the other channels. Those without
// events have [ErrNoEpoch] while Redis has no epoch.
func (s *Store) Tips(ctx context.Context, channels []string, left bool) ([]Tip, []error) {
	tips, errs := make([]Tip, len(channels)), make([]error, len(channels))
	if err := s.CheckFormat(ctx); err != nil { // whoever follows a channel asks for its tip first
		for i := range errs {
			errs[i] = err
		}
		return tips, errs
	}
	replies, times := make([]*redis.SliceCmd, len(channels)), make([]*redis.DurationCmd, len(channels))
	p := s.rdb.Pipeline()
	for i, c := range channels {
		replies[i] = p.HMGet(ctx, s.names.meta(c), tipFields...)
		if left {
			times[i] = p.PTTL(ctx, s.names.meta(c))
		}
	}
	asked := s.epochOf(ctx, p, "")
	_, _ = p.Exec(ctx) // each command has its own error
	epoch := s.epochFrom(asked)
	for i, c := range channels {
		fields, err := replies[i].Result()
		if err != nil {
			errs[i] = fmt.Errorf("read position of channel %q: %w", c, err)
			continue
		}
		switch tips[i], err = parseTip(fields); {
		case err == nil:
			tips[i].Epoch, tips[i].Left = epoch, leftOf(times[i])
		case !errors.Is(err, errNoMeta):
			errs[i] = fmt.Errorf("position of channel %q: %w", c, err)
		case epoch == nil:
			errs[i] = fmt.Errorf("position of channel %q: %w", c, noEpoch(asked))
		default:
			tips[i] = epoch.Empty(c)
		}
	}
	return tips, errs
}

// noEpoch returns why no epoch could be read.
func noEpoch(reply *redis.StringCmd) error {
	if err := reply.Err(); err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	return ErrNoEpoch
}
