package pubsub

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"sluice/store"
)

// Bounds and times of comparing channels with Redis.
const (
	syncRetryAtLeast = 50 * time.Millisecond // between two tries while Redis does not answer
	syncRetryAtMost  = 2 * time.Second
	syncWorkers      = 8                      // histories that are read at the same time
	tipsAtOnce       = 1000                   // channels in one pipeline
	readTimeout      = 5 * time.Second        // one reading of Redis
	verifyEvery      = 100 * time.Millisecond // between two comparisons of a channel for clients with unknown positions
)

// synchroniseLater puts a channel into the queue of those to be compared with Redis. It does not wait.
func (b *Broker) synchroniseLater(c *channel) {
	b.staleMu.Lock()
	b.stale = append(b.stale, c)
	b.staleMu.Unlock()
	select {
	case b.staleAdded <- struct{}{}:
	default: // synchronise has been woken already
	}
}

// takeStale returns the channels that are queued, each once, in the order of their names.
func (b *Broker) takeStale() []*channel {
	b.staleMu.Lock()
	stale := b.stale
	b.stale = nil
	b.staleMu.Unlock()
	slices.SortFunc(stale, func(x, y *channel) int { return cmp.Compare(x.name, y.name) })
	return slices.Compact(stale)
}

// synchronise compares the queued channels with Redis and delivers what they have missed, until ctx ends. If Redis does
// not answer for a channel, that channel is tried again later; the others do not wait for it.
func (b *Broker) synchronise(ctx context.Context) {
	retry := syncRetryAtLeast
	var failed []*channel // until the timer fires
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.staleAdded:
		case <-timer.C:
			for _, c := range failed {
				b.synchroniseLater(c)
			}
			failed = nil
			continue
		}
		batch := b.takeStale()
		if len(batch) == 0 {
			continue
		}
		again := b.synchroniseBatch(ctx, batch)
		switch {
		case len(again) > 0 && len(failed) > 0:
			failed = append(failed, again...) // the timer is running already
		case len(again) > 0:
			failed = again
			timer.Reset(retry)
			retry = min(2*retry, syncRetryAtMost)
		case len(failed) == 0:
			retry = syncRetryAtLeast
		}
	}
}

// synchroniseBatch synchronises channels. It returns those for which Redis did not answer.
func (b *Broker) synchroniseBatch(ctx context.Context, batch []*channel) (failed []*channel) {
	logged := false
	for part := range slices.Chunk(batch, tipsAtOnce) {
		more, err := b.synchronisePart(ctx, part)
		if err != nil && !logged { // one line for all channels, not thousands
			logged = true
			b.log.Warn("channels not read", "for example", more[0].name, "error", err)
		}
		failed = append(failed, more...)
	}
	return failed
}

// synchronisePart is synchroniseBatch for as many channels as fit in one pipeline. It reads all of their tips at once,
// and then, at the same time, the histories of the channels that are not at their tips. err is the error of the first
// channel that failed. It is nil if all of them failed because the connection was lost: the listener has logged that.
func (b *Broker) synchronisePart(ctx context.Context, part []*channel) (failed []*channel, err error) {
	epochs := make([]int, len(part))
	for i, c := range part {
		epochs[i], _ = c.staleEpoch()
	}
	tips, errs := b.tips(ctx, part, true)
	if err := b.listener.Fence(ctx); err != nil {
		return part, nil
	}
	var mu sync.Mutex // guards failed and err
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(syncWorkers, len(part)) {
		wg.Go(func() {
			for i := range next {
				problem := errs[i]
				if errors.Is(problem, store.ErrNoEpoch) {
					b.doubtDataset() // it makes one
				}
				if problem == nil {
					problem = b.synchroniseOne(ctx, part[i], epochs[i], tips[i])
				}
				if problem != nil {
					mu.Lock()
					failed, err = append(failed, part[i]), cmp.Or(err, problem)
					mu.Unlock()
				}
			}
		})
	}
	for i := range part {
		next <- i
	}
	close(next)
	wg.Wait()
	return failed, err
}

// synchroniseOne delivers what a channel has missed up to its tip in Redis. The tip was read in the given epoch of the
// channel.
func (b *Broker) synchroniseOne(ctx context.Context, c *channel, epoch int, tip store.Tip) error {
	if _, stale := c.staleEpoch(); !stale {
		return nil
	}
	again, err := c.synchronise(epoch, tip, func() (store.History, error) {
		b.stats.repairs.Add(1)
		h, err := b.history(ctx, c.name)
		if err != nil {
			return h, err
		}
		return h, b.listener.Fence(ctx)
	})
	if err == nil && again {
		b.synchroniseLater(c)
	}
	return err
}

// tips reads the tips of channels from Redis; with left also how long Redis keeps them.
func (b *Broker) tips(ctx context.Context, channels []*channel, left bool) ([]store.Tip, []error) {
	names := make([]string, len(channels))
	for i, c := range channels {
		names[i] = c.name
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return b.store.Tips(ctx, names, left)
}

// history reads what Redis has stored of a channel.
func (b *Broker) history(ctx context.Context, channel string) (store.History, error) {
	b.stats.reads.Add(1)
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return b.store.History(ctx, channel)
}
