package rig

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// pollPause is the time between two tries of Until.
const pollPause = 10 * time.Millisecond

// Until calls condition again and again until it returns nil. It gives up after limit, when ctx ends, or when the error
// wraps ErrEnded, and returns the last error of condition. The context that condition gets ends with the limit.
func Until(ctx context.Context, limit time.Duration, condition func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(pollPause)
	defer tick.Stop()
	var why error
	for {
		err := condition(ctx)
		if err == nil || errors.Is(err, ErrEnded) {
			return err
		}
		if why == nil || ctx.Err() == nil { // at the end of the limit the last try may only say that it was cut short
			why = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (waited up to %v)", why, limit)
		case <-tick.C:
		}
	}
}
