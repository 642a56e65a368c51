package gateway

import (
	"errors"
	"runtime"
	"syscall"
	"time"

	"sluice/pubsub"
)

const (
	writesAtOnce = 64 // then others have a turn; some 500 µs
	partsAtOnce  = 16 // of streams that are behind, between two looks at what is live
)

// round is what flusher does between two sleeps. Tens of thousands of writes take a large part of a second, and
// RawSyscall hides them from Go's scheduler. So every now and then everybody else has a turn: whoever waits for the lock,
// goroutines that wait for a processor (one reads the next events from Redis), and other processes (on a small machine
// nginx waits to read what was just written).
//
// "go run ./cmd/loadtest -mode paced" on two cores, over the floor's, medians of five or six runs: latency p50 1.20, p99 0.87,
// CPU 1.03; without turns for others 1.60, 0.99 and 1.14; after every 16 writes 1.21, 1.02 and 1.17. Who has something to
// do with what was written takes half a millisecond. A process that never rests takes a slice of the scheduler, which is
// far longer: beside two of them a flush would take six times as long. So a round has no more long turns for others when
// they have taken a third of its own time.
type round struct {
	now     time.Time
	flushed int           // sockets since the last turn of others
	own     time.Duration // that the round itself has taken
	lost    time.Duration // to long turns
}

const longTurn = 2 * time.Millisecond

// breathe is called after each socket; l.mu is held, but not while others have their turn: true if they had.
func (l *loop) breathe(r *round) bool {
	if r.flushed++; r.flushed < writesAtOnce {
		return false
	}
	r.flushed = 0
	began := time.Now()
	r.own += began.Sub(r.now)
	l.mu.Unlock()
	runtime.Gosched()
	if r.lost <= r.own/3 {
		yieldThread()
		if took := time.Since(began); took > longTurn {
			r.lost += took
		}
	}
	l.mu.Lock()
	r.now = time.Now()
	return true
}

// flushGroup writes what a feed has got to all its sockets; l.mu is held, see breathe.
func (l *loop) flushGroup(g *group, r *round) {
	g.queued.Store(false) // before the feed is read: what comes from now on queues the group again
	due := nothingDue
	// Backwards, as flush may take the socket out. Then, or while others have the lock, the last socket takes its place:
	// one that was flushed already, or has just come, flushed as well.
	for i := len(g.socks) - 1; i >= 0; i-- {
		l.flush(g.socks[i], r.now, &due)
		if l.breathe(r) {
			i = min(i, len(g.socks)) // the next is the one before
		}
	}
}

// ready is what was due to the last socket that was flushed. Most sockets of a group stand at the same place, and the
// feed is asked once for all of them.
type ready struct {
	cursor int64  // of frames
	frames []byte // due at cursor
	none   int64  // a cursor with nothing due
}

var nothingDue = ready{cursor: -1, none: -1} // nor asked for

func (r *ready) after(feed *pubsub.Feed, cursor int64) ([]byte, error) {
	switch cursor {
	case r.cursor:
		return r.frames, nil
	case r.none:
		return nil, nil
	}
	frames, err := feed.After(cursor)
	switch {
	case len(frames) > 0:
		r.cursor, r.frames = cursor, frames
	case err == nil:
		r.none = cursor
	}
	return frames, err
}

// flush writes everything that is due to a socket, unless it is full; l.mu is held. The socket may be ended by it.
func (l *loop) flush(k *socket, now time.Time, due *ready) {
	for !k.full {
		frames, err := k.first, error(nil)
		switch {
		case len(frames) > 0:
		case k.stream != nil:
			l.isBehind(k)
			return
		default:
			frames, err = due.after(k.group.feed, k.cursor)
		}
		switch {
		case errors.Is(err, pubsub.ErrEnded):
			l.endAt(k, now.Add(endDelay), err)
			return
		case err != nil:
			l.end(k, err)
			return
		case len(frames) == 0:
			return
		}
		n, err := write1(int(k.fd), frames)
		if n > 0 || !k.full {
			k.lastWrite = now.UnixNano()
		}
		if len(k.first) > 0 {
			if k.first = k.first[n:]; len(k.first) == 0 {
				k.first = nil
			}
		} else {
			k.cursor += int64(n)
		}
		switch {
		case err == syscall.EAGAIN:
			k.full = true
		case err != nil:
			l.end(k, err)
			return
		}
	}
}

// flushOne is flush for a socket by itself; l.mu is held.
func (l *loop) flushOne(k *socket, now time.Time) {
	due := nothingDue
	l.flush(k, now, &due)
}

// isBehind has the next part of a stream's start made soon; l.mu is held.
func (l *loop) isBehind(k *socket) {
	if k.behind {
		return
	}
	k.behind = true
	l.behind = append(l.behind, l.placeOf(k))
	l.nudge()
}

// leadOn writes to some of the streams that are behind, each one part, and takes in what await has waited for; l.mu is
// held, see breathe. A part is made just before it is written: a herd must not fill the memory with what cannot be
// written yet, nor keep from the lock those who are live.
func (l *loop) leadOn(news []waited, r *round) {
	for _, w := range news {
		switch k := l.at(w.place); {
		case k == nil: // it is gone
		case w.err != nil:
			l.end(k, w.err)
		default:
			l.behind = append(l.behind, w.place)
		}
	}
	for range min(len(l.behind), partsAtOnce) {
		p := l.behind[0]
		l.behind = l.behind[1:]
		k := l.at(p)
		switch {
		case k == nil:
			continue
		case k.full: // of a heartbeat; when it is through, flush comes here again
			k.behind = false
			continue
		case !k.stream.Next():
			go l.await(k.stream, p) // ends soon after the loop
			continue
		}
		k.behind = false
		k.first, k.stream.Start, k.cursor = k.stream.Start, nil, k.stream.Cursor
		if !k.stream.More {
			k.stream = nil
		}
		l.flushOne(k, r.now)
		l.breathe(r)
	}
	if len(l.behind) > 0 {
		l.nudge()
	} else {
		l.behind = nil
	}
}

// waited says that a stream that is behind can go on, or not.
type waited struct {
	place
	err error
}

// await waits until what a stream's next part is made of was read, or cannot be.
func (l *loop) await(stream *pubsub.Stream, p place) {
	err := waitForNext(l.ctx, stream)
	l.grownMu.Lock()
	l.waited = append(l.waited, waited{p, err})
	l.grownMu.Unlock()
	l.nudge()
}
