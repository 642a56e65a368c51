package writer

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"syscall"
	"time"

	"sluice/pubsub"
)

const (
	writesAtOnce = 64                   // sockets written to before others have a turn; some 500 µs
	partsAtOnce  = 16                   // parts made for streams that are behind, before live streams have a turn
	longTurn     = 2 * time.Millisecond // a turn of others that is longer counts as lost
)

// round is what flusher does between two sleeps. Tens of thousands of writes take a large part of a second, and
// RawSyscall hides them from Go's scheduler. So after some writes everybody else has a turn: goroutines that wait for the
// lock or for a processor (one of them reads the next events from Redis), and other processes (on a small machine nginx
// waits to read what was just written).
//
// A process that gets a turn and has little to do takes half a millisecond. One that never rests takes a slice of the
// kernel's scheduler, which is far longer: beside two of them a round would take six times as long. So a round gives no
// more long turns once they have taken a third of its own time.
//
// "go run ./cmd/loadtest -mode paced" on two cores, divided by the floor's, medians of five or six runs:
//
//	turns                    latency p50   p99    CPU
//	none                     1.60          0.99   1.14
//	after every 16 writes    1.21          1.02   1.17
//	after every 64 writes    1.20          0.87   1.03
type round struct {
	now     time.Time
	flushed int           // sockets since the last turn of others
	own     time.Duration // that the round itself has taken
	lost    time.Duration // to long turns of others
}

// yield is called after each socket. After some of them it gives others a turn and reports that it did. l.mu is held, but not
// during the turn.
func (l *loop) yield(r *round) bool {
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

// flushGroup writes what a feed has got to all its sockets; l.mu is held, but not while others have a turn.
func (l *loop) flushGroup(g *group, r *round) {
	g.queued.Store(false) // before the feed is asked: what it gets from now on queues the group again
	l.answer.Forget()
	// Iterate backwards: end moves the last socket, which was already flushed, into the hole. While others have a turn,
	// sockets that are ended and sockets that are added do the same to the list; add flushes what it adds.
	for i := len(g.socks) - 1; i >= 0; i-- {
		l.flush(g.socks[i].sock, r.now)
		if l.yield(r) {
			i = min(i, len(g.socks))
		}
	}
}

// flush writes what a socket has not got yet, unless the socket is full; l.mu is held. The socket may be ended by it.
func (l *loop) flush(k *socket, now time.Time) {
	for !k.full {
		if k.unsent != nil {
			if !l.write(k, *k.unsent, now) {
				return
			}
			continue
		}
		next, same, err := k.source.Next(&l.answer)
		switch {
		case errors.Is(err, pubsub.ErrBehind):
			l.queueBehind(k)
			return
		case errors.Is(err, pubsub.ErrEnded):
			l.endAt(k, now.Add(endDelay), err)
			return
		case err != nil:
			l.end(k, err)
			return
		case len(next) == 0:
			return
		}
		if !l.write(k, l.chunk.bytes(k, next, same), now) {
			return
		}
	}
}

// write writes b, which is k.unsent if there is some, to a socket that is not full. It keeps what the kernel does not take:
// what was begun is finished byte for byte, or the connection is closed. It returns false if the socket is full or was
// ended. l.mu is held.
func (l *loop) write(k *socket, b []byte, now time.Time) bool {
	n, err := send(int(k.fd), b)
	again := k.unsent != nil
	if n > 0 || !again { // the kernel may call a socket writable that then takes nothing: that is no progress
		k.wrote = now.Sub(l.began)
	}
	switch {
	case errors.Is(err, syscall.EAGAIN):
		if b = b[n:]; !again {
			b = bytes.Clone(b) // b is shared, or the next write's
		}
		k.unsent = &b
		l.becameFull(k)
		return false
	case err != nil:
		l.end(k, err)
		return false
	}
	k.unsent = nil
	return true
}

// writeLine writes a line of the writer's own to a socket that is not full: it is between two frames then. l.mu is held.
func (l *loop) writeLine(k *socket, line []byte, now time.Time) {
	if k.chunked {
		line = appendChunk(nil, line)
	}
	l.write(k, line, now)
}

// flushOne is flush for a socket by itself: in a round of its own; l.mu is held.
func (l *loop) flushOne(k *socket, now time.Time) {
	l.answer.Forget()
	l.flush(k, now)
}

// queueBehind has the next part of a stream made soon; l.mu is held.
func (l *loop) queueBehind(k *socket) {
	if k.behind {
		return
	}
	k.behind = true
	l.behind = append(l.behind, l.placeOf(k))
	l.nudge()
}

// flushBehind makes one part for some of the streams that are behind, and writes it; l.mu is held, but not while others have
// a turn. A part is made just before it is written, and few are made at a time: a herd of clients that come back must
// neither fill the memory with what cannot be written yet, nor keep live streams waiting.
func (l *loop) flushBehind(r *round) {
	for range min(len(l.behind), partsAtOnce) {
		p := l.behind[0]
		l.behind = l.behind[1:]
		k := l.at(p)
		if k == nil {
			continue
		}
		if !k.full { // a full socket is flushed when it is not full any more, and comes back here
			if wait := k.source.Advance(); wait != nil {
				l.work.Go(func() { l.await(p, wait) })
				continue // k stays behind until takeAdvice
			}
		}
		k.behind = false
		l.flushOne(k, r.now)
		l.yield(r)
	}
	if len(l.behind) > 0 {
		l.nudge()
	} else {
		l.behind = nil
	}
}

// advice says that the wait for the next part of a stream is over: the part can be made, or err says why it cannot.
type advice struct {
	place
	err error
}

// await waits until the next part of a stream can be made.
func (l *loop) await(p place, wait func(context.Context) error) {
	err := await(l.ctx, wait)
	l.grownMu.Lock()
	l.advice = append(l.advice, advice{p, err})
	l.grownMu.Unlock()
	l.nudge()
}

// takeAdvice puts streams whose wait is over back into the queue, or ends them; l.mu is held.
func (l *loop) takeAdvice(news []advice) {
	for _, a := range news {
		switch k := l.at(a.place); {
		case k == nil: // it is gone
		case a.err != nil:
			l.end(k, a.err)
		default:
			l.behind = append(l.behind, a.place)
		}
	}
}
