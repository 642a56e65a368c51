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
