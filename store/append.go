package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/store/kind"
)

// AppendOptions change what Append does. The zero value changes nothing.
type AppendOptions struct {
	// IdempotencyKey makes a second Append with the same key, on the same channel and within five minutes, return the
	// event of the first one and do nothing else. The publisher chooses it; it may have any length. Empty: no key.
	IdempotencyKey string
	// IfNew refuses the event with ErrExists if the channel has had events.
	IfNew bool
}

// appendTimeout is how long a publisher waits for Redis. Without it, a Redis that does not answer would collect more
// and more waiting publishers.
const appendTimeout = 6 * time.Second

// Append stores an event and announces it, in one atomic step. again is true if nothing was done because the
// idempotency key was used before; then event is the event of the first call.
//
// It waits for six seconds at most. Its errors wrap [ErrEnded], [ErrExists], [ErrUncertain] or an error of Redis (see
// [TroubleOf]). All of them except ErrUncertain mean that nothing was stored.
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

// wasSent reports whether a call that ended with err may have had an effect in Redis. It had none if there was no
// connection to send it over, or if Redis answered with an error.
func wasSent(err error) bool {
	_, answered := errors.AsType[redis.Error](err)
	if answered || errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, errNotSent) {
		return false
	}
	connecting, ok := errors.AsType[*net.OpError](err)
	return !ok || connecting.Op != "dial"
}
