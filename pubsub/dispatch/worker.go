package dispatch

import (
	"context"
	"sync"
)

// kind tells what a notice is.
type kind uint8

const (
	announced kind = iota
	dropped
	subscribed
	lost
	fenced
)

// notice is something to be handled.
type notice struct {
	kind    kind
	channel string // of announced, dropped and subscribed
	payload []byte // of announced
	fence   *fence // of fenced
}

// bytes is what an announcement takes while it waits.
func (n notice) bytes() int { return len(n.payload) + noticeOverhead }

// line is what waits on one channel. A channel without anything that waits has none.
type line struct {
	bytes    int
	dropping cause // why announcements are dropped, until the worker comes to the notice of that; fits if they are not
}

// worker handles the notices of its channels.
type worker struct {
	queue *Queue
	wake  chan struct{} // capacity 1

	mu    sync.Mutex
	idle  bool            // everything is handled, and the worker waits to be woken; guarded by mu
	next  []notice        // waiting, next[head] is the oldest; guarded by mu
	head  int             // guarded by mu
	lines map[string]line // by channel; guarded by mu
	most  int             // the most entries that lines has had; guarded by mu
}

// put adds a notice at the end; w.mu is held. Only the reader calls it.
func (w *worker) put(n notice) {
	if w.idle {
		w.idle = false
		w.queue.toWake = append(w.queue.toWake, w)
	}
	if w.head > len(w.next)/2 && len(w.next) == cap(w.next) { // there is room at the beginning
		kept := copy(w.next, w.next[w.head:])
		clear(w.next[kept:])
		w.next, w.head = w.next[:kept], 0
	}
	w.next = append(w.next, n)
}

// announced adds an announcement, or drops it.
func (w *worker) announced(channel string, payload []byte) {
	n := notice{kind: announced, channel: channel, payload: payload}
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.lines[channel]
	if l.dropping == fits {
		free := waitingBytes - int(w.queue.held.Load())
		switch {
		case n.bytes() > free:
			l.dropping = allFull
		case l.bytes+n.bytes() > 3*free:
			l.dropping = channelFull
		default:
			l.bytes += n.bytes()
			w.queue.held.Add(int64(n.bytes()))
			w.setLine(channel, l)
			w.put(n)
			return
		}
		w.setLine(channel, l)
		w.put(notice{kind: dropped, channel: channel})
	}
	w.queue.stats.dropped[l.dropping].Add(1)
}

// run handles notices until ctx ends.
func (w *worker) run(ctx context.Context) {
	var batch []notice
	for {
		select {
		case <-w.wake: // sent exactly once after the worker was idle
		case <-ctx.Done():
			return
		}
		for batch = w.take(batch); len(batch) > 0; batch = w.take(batch) {
			for _, n := range batch {
				if ctx.Err() != nil {
					return
				}
				w.handle(n)
			}
		}
	}
}

func (w *worker) handle(n notice) {
	h := w.queue.handler
	switch n.kind {
	case announced:
		h.Announced(n.channel, n.payload)
	case dropped:
		h.Dropped(n.channel)
	case subscribed:
		h.Subscribed(n.channel)
	case lost:
		h.Lost(func(channel string) bool { return w.queue.workerOf(channel) == w })
	case fenced:
		n.fence.pass()
	}
}

// take returns the next notices in the array of the last ones, which have been handled. If there is none, the worker is
// idle.
func (w *worker) take(last []notice) []notice {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.release(last)
	clear(last)
	end := w.head
	for end < len(w.next) && end-w.head < takenAtOnce {
		n := w.next[end]
		end++
		if n.kind == dropped {
			// Here, before the handler is told: what is announced while it is being told must not be dropped.
			l := w.lines[n.channel]
			l.dropping = fits
			w.setLine(n.channel, l)
		}
	}
	batch := last[:0]
	batch = append(batch, w.next[w.head:end]...)
	clear(w.next[w.head:end])
	w.head = end
	if w.head == len(w.next) {
		w.next, w.head = w.next[:0], 0
		if cap(w.next) > 16*takenAtOnce {
			w.next = nil // a rare burst does not keep its memory
		}
	}
	w.idle = len(batch) == 0
	return batch
}

// release subtracts what was handled from what waits; w.mu is held.
func (w *worker) release(handled []notice) {
	all := 0
	for _, n := range handled {
		if n.kind != announced {
			continue
		}
		l := w.lines[n.channel]
		l.bytes -= n.bytes()
		w.setLine(n.channel, l)
		all += n.bytes()
	}
	w.queue.held.Add(int64(-all))
}

// setLine changes the line of a channel; w.mu is held.
func (w *worker) setLine(channel string, l line) {
	if l != (line{}) {
		w.lines[channel] = l
		w.most = max(w.most, len(w.lines))
		return
	}
	delete(w.lines, channel)
	if len(w.lines) == 0 && w.most > 16*takenAtOnce {
		w.lines, w.most = make(map[string]line), 0 // a map that has been large stays so
	}
}
