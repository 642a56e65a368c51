package dispatch

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Bounds; the package comment has them in a table.
const (
	waitingBytes   = 32 << 20 // all announcements that wait
	noticeOverhead = 128      // bytes that an announcement takes beside its payload
	takenAtOnce    = 64       // notices that a worker takes at a time
)

// Handler does what the notices demand. Its methods are called by several workers at the same time, but for one channel by
// one worker only. They may take their time: only channels with the same worker wait for them.
type Handler interface {
	// Announced handles an announcement. The payload is the handler's to keep.
	Announced(channel string, payload []byte)
	// Dropped handles the notice that announcements of a channel were dropped. What is announced after the call is handed
	// over again.
	Dropped(channel string)
	// Subscribed handles the notice that everything that is published on a channel from now on will come.
	Subscribed(channel string)
	// Lost handles the notice that nothing comes any more on the channels for which mine is true.
	Lost(mine func(channel string) bool)
}

// Queue hands notices to workers. Run must be called once. Announced, Subscribed, Lost, Flush and Fence are called by one
// goroutine at a time, the one that reads Redis, and do not block. Queue is also the prometheus.Collector of what it counts.
type Queue struct {
	handler Handler
	seed    maphash.Seed
	workers []*worker
	toWake  []*worker    // those that Flush must wake; only the reader uses it
	held    atomic.Int64 // bytes of all announcements that wait; only the reader adds to it
	stats   stats
	metrics []prometheus.Collector
}

// New returns a Queue with a number of workers.
func New(h Handler, workers int) *Queue {
	q := &Queue{handler: h, seed: maphash.MakeSeed()}
	for range max(workers, 1) {
		w := &worker{queue: q, lines: make(map[string]line), wake: make(chan struct{}, 1), idle: true}
		q.workers = append(q.workers, w)
	}
	q.metrics = q.collectors()
	return q
}

// Run has notices handled until ctx ends. Notices that wait then are given up.
func (q *Queue) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, w := range q.workers {
		wg.Go(func() { w.run(ctx) })
	}
	wg.Wait()
}

// Announced puts an announcement in. The payload must not be changed afterwards.
func (q *Queue) Announced(channel string, payload []byte) {
	q.workerOf(channel).announced(channel, payload)
}

// Subscribed puts in, for each channel, that everything published from now on will come.
func (q *Queue) Subscribed(channels []string) {
	for _, channel := range channels {
		w := q.workerOf(channel)
		w.mu.Lock()
		w.put(notice{kind: subscribed, channel: channel})
		w.mu.Unlock()
	}
}

// Lost puts in that nothing comes any more on any channel.
func (q *Queue) Lost() {
	for _, w := range q.workers {
		w.mu.Lock()
		w.put(notice{kind: lost})
		w.mu.Unlock()
	}
	q.Flush()
}

// Flush wakes the workers that have something to do. It must be called before the reader waits for more.
func (q *Queue) Flush() {
	for i, w := range q.toWake {
		w.wake <- struct{}{} // does not block: only a worker that was idle is in the list
		q.toWake[i] = nil
	}
	q.toWake = q.toWake[:0]
}

// Fence calls handled once everything that was put in before has been handled. That may be at once. handled must not
// block.
func (q *Queue) Fence(handled func()) {
	f := &fence{handled: handled}
	f.left.Add(1)
	for _, w := range q.workers {
		w.mu.Lock()
		if !w.idle {
			f.left.Add(1)
			w.put(notice{kind: fenced, fence: f})
		}
		w.mu.Unlock()
	}
	f.pass()
}

func (q *Queue) workerOf(channel string) *worker {
	return q.workers[maphash.String(q.seed, channel)%uint64(len(q.workers))]
}

// fence is a fence on its way through the workers.
type fence struct {
	left    atomic.Int32 // workers that have not come to it yet
	handled func()
}

func (f *fence) pass() {
	if f.left.Add(-1) == 0 {
		f.handled()
	}
}
