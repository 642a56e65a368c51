package pubsub

import (
	"context"
	"errors"
	"slices"
	"time"

	"sluice/store"
)

// Times of watching which dataset Redis has.
const (
	datasetEvery = time.Second
	// evidenceAtMost is how many channels are read at most to find out whether Redis has lost everything or only its epoch.
	evidenceAtMost = tipsAtOnce
	// patience is how many readings without an epoch a replica that knows nothing waits for one that knows more.
	patience = 3
)

// watcher watches which dataset Redis has. Its fields are for one goroutine.
type watcher struct {
	broker *Broker
	seen   store.Dataset // with which all channels were compared; its epoch is known
	seenAt time.Time     // when the newest reading of it began
	missed int           // readings in a row in which the epoch was missing
}

// watchDataset asks Redis every second which dataset it has, until ctx ends. If that is another one than before, all channels
// are compared with Redis. It makes the epoch anew when it is missing. b.doubt makes it ask at once.
func (b *Broker) watchDataset(ctx context.Context) {
	w := watcher{broker: b}
	tick := time.NewTicker(min(datasetEvery, b.cfg.CheckEvery))
	defer tick.Stop()
	for {
		if err := w.look(ctx); err != nil && ctx.Err() == nil && b.listener.Ready() == nil {
			b.log.Warn("it is not known whether Redis has another dataset", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-b.doubt:
		}
	}
}

// doubtDataset has watchDataset ask Redis at once. It does not wait.
func (b *Broker) doubtDataset() {
	select {
	case b.doubt <- struct{}{}:
	default: // it is going to ask anyway
	}
}

// look asks Redis which dataset it has, and does what follows from that.
func (w *watcher) look(parent context.Context) error {
	ctx, cancel := context.WithTimeout(parent, readTimeout)
	defer cancel()
	began := time.Now()
	b := w.broker
	now, err := b.store.Dataset(ctx)
	if err == nil && now.Epoch == nil {
		w.missed++
		if err = w.renew(ctx, now.Emptied); err == nil {
			now, err = b.store.Dataset(ctx)
		}
	}
	if err != nil || now.Epoch == nil {
		return err
	}
	w.missed = 0
	if !w.seen.Same(now) && w.seen.Epoch != nil {
		if err := b.compareAll(parent); err != nil {
			return err // seen stays as it is, so all are compared again
		}
	}
	if !w.seen.Epoch.Equal(now.Epoch) {
		b.epoch.Store(now.Epoch)
	}
	w.seen, w.seenAt = now, began
	b.looks.Add(1)
	return nil
}

// renew makes the epoch anew. Redis has lost the key alone if it still has an event that this replica knew when it last saw
// the key: then the epoch is put back. Otherwise Redis has lost everything, or nobody can know, and gets a new one.
func (w *watcher) renew(ctx context.Context, emptied bool) error {
	b := w.broker
	known := slices.DeleteFunc(b.rounds.take(evidenceAtMost), func(c *channel) bool { return !c.unchangedSince(w.seenAt) })
	switch {
	case len(known) == 0 && w.seen.Epoch != nil && !emptied && w.missed < patience:
		return nil
	case len(known) == 0:
		return b.store.RenewEpoch(ctx, nil)
	}
	tips, errs := b.tips(ctx, known, false)
	for i, c := range known {
		if errs[i] == nil && c.standsAt(tips[i].Position) {
			b.log.Warn("Redis has lost its epoch, but not its data: the epoch is put back", "for example", c.name)
			return b.store.RenewEpoch(ctx, w.seen.Epoch)
		}
	}
	for _, err := range errs {
		if err != nil && !errors.Is(err, store.ErrNoEpoch) {
			return err // it may stand
		}
	}
	b.log.Warn("Redis has lost everything")
	return b.store.RenewEpoch(ctx, nil)
}

// compareAll compares all channels with Redis.
func (b *Broker) compareAll(ctx context.Context) error {
	var failed error
	for all := range b.chunks(tipsAtOnce) {
		if err := b.compareSome(ctx, all, true); err != nil {
			failed = err
		}
	}
	return failed
}

// unchangedSince reports whether the newest event that the channel knows has been the newest since t.
func (c *channel) unchangedSince(t time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.history.Tip.Position.Offset > 0 && c.tipAt.Before(t)
}

// standsAt reports whether the newest event that the channel knows is at p.
func (c *channel) standsAt(p store.Position) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.history.Tip.Position == p
}

// outdated reports whether the channel is live, and was not compared with the dataset that Redis has now. If it has no events,
// and only the day is another one, it gets today's origin.
func (c *channel) outdated(now *store.Epoch) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	tip := c.history.Tip
	if c.state != live || tip.Epoch.Equal(now) {
		return false
	}
	if tip.Epoch.Same(now) {
		// A place before the first event counts for some days only: connected clients are told the new one.
		if tip.Position.Offset == 0 && !c.rule.Latest {
			c.moveOrigin(now.Empty(c.name))
		}
		return false
	}
	return true
}
