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
	c := &call{channel: d.Channel, event: appendArgs{eventArgs: newEventArgs(d), IfNew: o.IfNew}}
	if o.IdempotencyKey != "" {
		c.event.Once, c.once = true, s.names.once(d.Channel, o.IdempotencyKey)
	}
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	if err := s.scripts.do(ctx, c); err != nil {
		s.noteOutcome(err)
		if wasSent(err) {
			err = fmt.Errorf("%w: %w", ErrUncertain, err)
		}
		return Event{}, false, fmt.Errorf("append to channel %q: %w", d.Channel, err)
	}
	r := c.result
	switch r.status {
	case "ok":
		s.noteOutcome(nil)
	case "refused", "unknown":
		s.noteOutcome(refusalError(r.text))
	}
	switch r.status {
	case "ok", "again":
		event, err = parseEvent(d.Channel, []byte(r.text))
		return event, r.status == "again", err
	case "ended":
		return Event{}, false, ErrEnded
	case "exists":
		return Event{}, false, ErrExists
	case "refused":
		return Event{}, false, fmt.Errorf("append to channel %q: %w", d.Channel, refusalError(r.text))
	case "unknown":
		return Event{}, false, fmt.Errorf("append to channel %q: %w: %w", d.Channel, ErrUncertain, refusalError(r.text))
	default:
		return Event{}, false, fmt.Errorf("append.lua answered status %q", r.status)
	}
}

// appendStep makes one call of append.lua for events of one channel.
func (s *Store) appendStep(channel string, calls []*call) step {
	st := step{script: appendScript, keys: []string{s.names.history(channel), s.names.meta(channel)}, calls: calls}
	st.args = make([]any, 0, 7+9*len(calls))
	st.args = append(st.args, channelArgs{ruleArgs: s.ruleArgs(channel), OnceTTL: seconds(onceTTL)}.argv()...)
	for _, c := range calls {
		if c.once != "" {
			st.keys = append(st.keys, c.once)
		}
		st.args = append(st.args, c.event.argv()...)
	}
	return st
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
