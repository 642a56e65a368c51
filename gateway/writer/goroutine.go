package writer

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"sluice/gateway/wire"
	"sluice/pubsub"
)

// Conn is a connection that Carry writes to. An http.ResponseWriter with its http.ResponseController is one.
type Conn interface {
	Write(b []byte) (int, error)
	Flush() error
	SetWriteDeadline(t time.Time) error
}

// pieceBytes is the most that is written under one deadline. A slow client that takes a piece in time goes on.
const pieceBytes = 16 << 10

// Drain says when streams are ended because the server stops.
type Drain struct {
	Begin context.Context // ends when the drain begins: that is all it is for, so a struct may hold it
	Time  time.Duration   // within which all streams are over
}

// Carry writes a stream to a connection until it is over, and returns the reason. ctx ends when the client has left. It does
// not call Done.
//
// If the reason is pubsub.ErrEnded or ErrRevoked, the caller ends the response cleanly, and otherwise breaks it off (see doc.go).
func Carry(ctx context.Context, to Conn, st Stream, cfg Config, drain Drain) error {
	w := carrier{ctx: ctx, conn: to, stream: st, cfg: cfg.withDefaults()}
	w.deadline = deadline{conn: to, stall: w.cfg.Stall}
	defer w.deadline.watch(drain)()
	w.silence = time.NewTimer(w.quiet())
	defer w.silence.Stop()
	w.first = wire.AppendRetry(nil, w.cfg.Retry())
	ctx, cancel := context.WithCancel(ctx)
	defer w.work.Wait()
	defer cancel()
	woken := make(chan struct{}, 1) // holds a token if a feed has grown
	for _, f := range st.Feeds {
		defer f.Notify(func() {
			select {
			case woken <- struct{}{}:
			default:
			}
		})()
	}
	draining := drain.Begin.Done()
	var end <-chan time.Time // set once the drain has begun
	swept := w.cfg.swept()   // before Revoked is asked, so that no sweep is missed
	if w.cfg.revoked(st.Source) {
		return w.revoke()
	}
	for {
		select { // without this look, a stream that always has something due would never notice the drain
		case <-draining:
			draining = nil
			end = time.After(drainDelay(drain.Time))
		case <-end:
			return w.leave()
		case <-swept:
			if swept = w.cfg.swept(); w.cfg.revoked(st.Source) {
				return w.revoke()
			}
		default:
		}
		if w.expired() {
			return errors.Join(ErrExpired, w.send([]byte(wire.Expired)))
		}
		again, err := w.write(ctx)
		switch {
		case err != nil:
			return err
		case again:
			continue
		}
		select {
		case <-woken: // also if that was before the source was asked: then it has nothing, and is asked once more
		case err := <-w.waiting:
			if w.waiting = nil; err != nil {
				return cmp.Or(w.ctx.Err(), err)
			}
		case <-w.silence.C:
			if w.expired() {
				continue
			}
			if err := w.send(idle(st.Source)); err != nil {
				return err
			}
		case <-draining: // handled above
		case <-swept:
		case <-end:
			return w.leave()
		case <-w.ctx.Done():
			return w.ctx.Err()
		}
	}
}

// carrier is one call of Carry.
type carrier struct {
	ctx     context.Context // the client's; a carrier lives no longer than the call that got it
	conn    Conn
	stream  Stream
	cfg     Config
	silence *time.Timer // fires when a heartbeat is due
	answer  pubsub.Answer
	first   []byte     // is written in front of what comes first
	waiting chan error // gets the end of the wait for the next part; nil: nothing waits
	work    sync.WaitGroup

	deadline deadline
}

// write writes what comes next, once. It reports whether more may come right away.
func (w *carrier) write(ctx context.Context) (again bool, err error) {
	w.answer.Forget()
	next, _, err := w.stream.Source.Next(&w.answer)
	switch {
	case errors.Is(err, pubsub.ErrBehind):
		if w.waiting != nil {
			return false, nil
		}
		wait := w.stream.Source.Advance()
		if wait == nil {
			return true, nil
		}
		result := make(chan error, 1)
		w.work.Go(func() { result <- await(ctx, wait) })
		w.waiting = result
		return false, nil
	case errors.Is(err, pubsub.ErrEnded):
		select {
		case <-time.After(endDelay):
		case <-w.ctx.Done():
		}
		return false, err
	case err != nil:
		return false, err
	case len(next) == 0:
		return false, nil
	}
	if w.first != nil {
		next, w.first = append(w.first, next...), nil
	}
	return true, w.send(next)
}

// send writes b in pieces and flushes them.
func (w *carrier) send(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), pieceBytes)
		if err := w.sendPiece(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	w.silence.Reset(w.quiet())
	return nil
}

// quiet is for how long the stream may have nothing: until its heartbeat, or until it expires.
func (w *carrier) quiet() time.Duration {
	if at := w.stream.Expires; !at.IsZero() {
		return max(0, min(w.cfg.Heartbeat, time.Until(at)))
	}
	return w.cfg.Heartbeat
}

func (w *carrier) expired() bool {
	at := w.stream.Expires
	return !at.IsZero() && !time.Now().Before(at)
}

// sendPiece writes b and flushes it, within Config.Stall. A client that does not take it by then is too slow, whatever the
// connection calls that: net, TLS and HTTP/2 have different errors for a deadline.
func (w *carrier) sendPiece(b []byte) error {
	began := time.Now()
	if err := w.deadline.begin(); err != nil {
		return err
	}
	_, err := w.conn.Write(b)
	if err == nil {
		err = w.conn.Flush()
	}
	switch {
	case err == nil:
	case w.deadline.draining():
		err = errors.Join(ErrDraining, err)
	case time.Since(began) >= w.cfg.Stall:
		err = errors.Join(pubsub.ErrTooSlow, err)
	}
	return err
}

// revoke tells the client that its stream has ended for good.
func (w *carrier) revoke() error { return errors.Join(ErrRevoked, w.send([]byte(wire.Revoked))) }

// leave tells the client when to come back.
func (w *carrier) leave() error {
	return errors.Join(ErrDraining, w.send(wire.AppendRetry(nil, w.cfg.Retry())))
}
