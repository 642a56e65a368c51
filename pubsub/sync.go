package pubsub

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"sluice/store"
)

// queue has a channel synchronised.
func (b *Broker) queue(c *Channel) {
	b.staleMu.Lock()
	b.stale = append(b.stale, c)
	b.staleMu.Unlock()
	select {
	case b.signal <- struct{}{}:
	default:
	}
}

// synchronise brings channels that are queued up to what Redis has stored.
func (b *Broker) synchronise(ctx context.Context) {
	retry := retryAtLeast
	var failed []*Channel // wait for the timer; the others must not
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.signal:
		case <-timer.C:
			for _, c := range failed {
				b.queue(c)
			}
			failed = nil
			continue
		}
		b.staleMu.Lock()
		batch := b.stale
		b.stale = nil
		b.staleMu.Unlock()
		if len(batch) == 0 {
			continue
		}
		slices.SortFunc(batch, func(x, y *Channel) int { return cmp.Compare(x.name, y.name) })
		again := b.synchroniseBatch(ctx, slices.Compact(batch))
		switch {
		case len(again) > 0 && len(failed) > 0:
			failed = append(failed, again...) // go with those that wait already
		case len(again) > 0:
			failed = again
			timer.Reset(retry)
			retry = min(2*retry, retryAtMost)
		case len(failed) == 0:
			retry = retryAtLeast
		}
	}
}

// synchroniseBatch returns the channels that Redis did not answer for.
func (b *Broker) synchroniseBatch(ctx context.Context, batch []*Channel) (failed []*Channel) {
	var mu sync.Mutex
	fail := func(c *Channel, err error) {
		mu.Lock()
		defer mu.Unlock()
		if len(failed) == 0 { // one line, not thousands
			b.log.Warn("channels not read", "for example", c.name, "error", err)
		}
		failed = append(failed, c)
	}
	for part := range slices.Chunk(batch, tipsAtOnce) {
		epochs := make([]int, len(part))
		for i, c := range part {
			epochs[i], _ = c.unsynchronised()
		}
		tips, errs := b.tips(ctx, part, false)
		if err := b.listen.fence(ctx); err != nil {
			failed = append(failed, part...)
			continue
		}
		var wg sync.WaitGroup
		next := make(chan int)
		for range min(syncWorkers, len(part)) {
			wg.Go(func() {
				for i := range next {
					if errs[i] != nil {
						fail(part[i], errs[i])
						continue
					}
					if _, stale := part[i].unsynchronised(); !stale {
						continue
					}
					again, err := part[i].synchronise(epochs[i], tips[i], func() (store.History, error) {
						b.stats.Repairs.Add(1)
						h, err := b.history(ctx, part[i].name)
						if err != nil {
							return h, err
						}
						return h, b.listen.fence(ctx)
					})
					switch {
					case err != nil:
						fail(part[i], err)
					case again:
						b.queue(part[i])
					}
				}
			})
		}
		for i := range part {
			next <- i
		}
		close(next)
		wg.Wait()
	}
	return failed
}

const readTimeout = 5 * time.Second

func (b *Broker) tips(ctx context.Context, channels []*Channel, touch bool) ([]store.Tip, []error) {
	names := make([]string, len(channels))
	for i, c := range channels {
		names[i] = c.name
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return b.store.Tips(ctx, names, touch)
}

func (b *Broker) history(ctx context.Context, channel string) (store.History, error) {
	b.stats.Reads.Add(1)
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return b.store.History(ctx, channel)
}

// check compares quiet channels with Redis: a lost announcement that no later one followed is found here, and so is
// a Redis that was emptied.
func (b *Broker) check(ctx context.Context, touch bool) {
	if !b.listen.healthy.Load() {
		return // the next session synchronises everything anyway
	}
	b.mu.Lock()
	var quiet []*Channel
	for _, c := range b.channels {
		c.mu.Lock()
		if c.state == live && (!c.moved || touch) {
			quiet = append(quiet, c)
		}
		c.moved = false
		c.mu.Unlock()
	}
	b.mu.Unlock()
	for part := range slices.Chunk(quiet, tipsAtOnce) {
		tips, errs := b.tips(ctx, part, touch)
		for i, c := range part {
			c.mu.Lock()
			differs := errs[i] == nil && c.state == live && !c.moved &&
				(tips[i].Position != c.history.Tip.Position || tips[i].Base != c.history.Base)
			if differs && !skipRepair {
				c.setState(settled)
				b.queue(c)
			}
			c.mu.Unlock()
		}
	}
}
