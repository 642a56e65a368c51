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
	syncRetryAtLeast = 50 * time.Millisecond // until a channel that could not be read is tried again; doubled at each try
	syncRetryAtMost  = 2 * time.Second
	syncParts        = 4                      // pipelines of tips that are read at the same time
	syncReaders      = 16                     // histories that are read at the same time
	tipsAtOnce       = 1000                   // channels in one pipeline
	readTimeout      = 5 * time.Second        // one reading of Redis
	verifyEvery      = 100 * time.Millisecond // between two comparisons of a channel for clients with unknown positions
)

// synchroniser is the part of a broker that compares channels with Redis after they have missed something. Each channel is on
// its own: one whose history cannot be read, or is slow to read, holds up no other. Its mu is taken after that of a channel.
type synchroniser struct {
	broker *Broker
	wake   chan struct{} // capacity 1: something is queued

	mu      sync.Mutex
	queue   []*channel            // to be synchronised; guarded by mu
	work    map[*channel]*syncJob // channels that are being synchronised, or failed and wait; guarded by mu
	failed  []*syncJob            // that wait for the next try; guarded by mu
	next    time.Time             // when the first of these is due, as run knows it; guarded by mu
	toRead  []*syncJob            // whose histories must be read; guarded by mu
	readers int                   // goroutines that read them; guarded by mu
	logged  time.Time             // when a failure was logged; guarded by mu
}

// syncJob is a channel that is being synchronised.
type syncJob struct {
	channel  *channel
	epoch    int       // of the channel, in which tip was read
	tip      store.Tip // of the channel in Redis
	again    bool      // it was queued meanwhile; guarded by synchroniser.mu
	failures int       // in a row; guarded by synchroniser.mu
	due      time.Time // of the next try, if it has failed; guarded by synchroniser.mu
}

func newSynchroniser(b *Broker) *synchroniser {
	return &synchroniser{broker: b, wake: make(chan struct{}, 1), work: make(map[*channel]*syncJob)}
}

// synchroniseLater puts a channel into the queue of those to be compared with Redis. It does not wait.
func (b *Broker) synchroniseLater(c *channel) {
	b.sync.mu.Lock()
	b.sync.queue = append(b.sync.queue, c)
	b.sync.mu.Unlock()
	b.sync.wakeUp()
}

func (y *synchroniser) wakeUp() {
	select {
	case y.wake <- struct{}{}:
	default: // it has been woken already
	}
}

// take returns the jobs that are to be begun, in the order of their names, and when the next one is due that has failed.
func (y *synchroniser) take(now time.Time) (jobs []*syncJob, next time.Time) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, c := range y.queue {
		switch job := y.work[c]; {
		case job == nil:
			job = &syncJob{channel: c}
			y.work[c] = job
			jobs = append(jobs, job)
		case job.due.IsZero():
			job.again = true // one goroutine at a time synchronises a channel
		default:
			job.due, job.failures = now, 0 // it has failed for another reason
		}
	}
	y.queue = nil
	waiting := y.failed[:0]
	for _, job := range y.failed {
		if job.due.After(now) {
			waiting = append(waiting, job)
			if next.IsZero() || job.due.Before(next) {
				next = job.due
			}
			continue
		}
		job.due = time.Time{}
		jobs = append(jobs, job)
	}
	clear(y.failed[len(waiting):])
	y.failed, y.next = waiting, next
	slices.SortFunc(jobs, func(x, y *syncJob) int { return cmp.Compare(x.channel.name, y.channel.name) })
	return jobs, next
}

// done ends a job, or has it tried again: after a while if err is not nil.
func (y *synchroniser) done(job *syncJob, again bool, err error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if err != nil {
		job.due = time.Now().Add(min(syncRetryAtLeast<<min(job.failures, 10), syncRetryAtMost))
		job.failures++
		y.failed = append(y.failed, job)
		if y.next.IsZero() || job.due.Before(y.next) {
			y.next = job.due
			y.wakeUp()
		}
		return
	}
	delete(y.work, job.channel)
	if again || job.again {
		y.queue = append(y.queue, job.channel)
		y.wakeUp()
	}
}

// run synchronises the queued channels until ctx ends.
func (y *synchroniser) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	parts := make(chan struct{}, syncParts)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-y.wake:
		case <-timer.C:
		}
		now := time.Now()
		jobs, next := y.take(now)
		if !next.IsZero() {
			timer.Reset(next.Sub(now))
		}
		for part := range slices.Chunk(jobs, tipsAtOnce) {
			select {
			case <-ctx.Done():
				return
			case parts <- struct{}{}:
			}
			wg.Go(func() {
				y.part(ctx, &wg, part)
				<-parts
			})
		}
	}
}

// part synchronises as many channels as fit in one pipeline. It reads all of their tips at once. Channels that must read their
// history are left to the readers.
func (y *synchroniser) part(ctx context.Context, wg *sync.WaitGroup, part []*syncJob) {
	b := y.broker
	part = slices.DeleteFunc(part, func(job *syncJob) bool {
		epoch, stale := job.channel.staleEpoch()
		if !stale || job.failures > 0 && b.channel(job.channel.name) != job.channel { // nobody uses the channel any more
			y.done(job, false, nil)
			return true
		}
		job.epoch = epoch
		return false
	})
	if len(part) == 0 {
		return
	}
	channels := make([]*channel, len(part))
	for i, job := range part {
		channels[i] = job.channel
	}
	tips, errs := b.tips(ctx, channels, true)
	if err := b.listener.Fence(ctx); err != nil { // the connection was lost: the listener has logged that
		for _, job := range part {
			y.done(job, false, err)
		}
		return
	}
	for i, job := range part {
		job.tip = tips[i]
		err := errs[i]
		if errors.Is(err, store.ErrNoEpoch) {
			b.doubtDataset() // it makes one
		}
		again := false
		if err == nil {
			again, err = job.channel.synchronise(job.epoch, job.tip, nil)
		}
		if errors.Is(err, errUnread) {
			y.readLater(ctx, wg, job)
			continue
		}
		y.note(job, err)
		y.done(job, again, err)
	}
}

// readLater has a history read.
func (y *synchroniser) readLater(ctx context.Context, wg *sync.WaitGroup, job *syncJob) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.toRead = append(y.toRead, job)
	if y.readers < syncReaders {
		y.readers++
		wg.Go(func() { y.read(ctx) })
	}
}

// read reads histories until none is to be read.
func (y *synchroniser) read(ctx context.Context) {
	b := y.broker
	for {
		y.mu.Lock()
		if len(y.toRead) == 0 {
			y.toRead = nil
			y.readers--
			y.mu.Unlock()
			return
		}
		job := y.toRead[0]
		y.toRead = y.toRead[1:]
		y.mu.Unlock()
		again, err := job.channel.synchronise(job.epoch, job.tip, func() (store.History, error) {
			b.stats.repairs.Add(1)
			h, err := b.history(ctx, job.channel.name)
			if err != nil {
				return h, err
			}
			return h, b.listener.Fence(ctx)
		})
		y.note(job, err)
		y.done(job, again, err)
	}
}

// note logs that a channel could not be read: once for each channel, and one line for all channels that fail together.
func (y *synchroniser) note(job *syncJob, err error) {
	if err == nil || y.broker.listener.Ready() != nil { // while it is not ready, the listener has logged why
		return
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	if now := time.Now(); job.failures == 0 && now.Sub(y.logged) > time.Second {
		y.logged = now
		y.broker.log.Warn("channels not read", "for example", job.channel.name, "error", err)
	}
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
