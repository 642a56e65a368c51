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
func Carry(ctx context.Context, to Conn, st Stream, cfg Config, drain Drain) error {
	w := carrier{ctx: ctx, conn: to, stream: st, cfg: cfg.withDefaults()}
	w.deadline = deadline{conn: to, stall: w.cfg.Stall}
	defer w.deadline.watch(drain)()
	w.silence = time.NewTimer(w.cfg.Heartbeat)
	defer w.silence.Stop()
	ctx, cancel := context.WithCancel(ctx)
	defer w.work.Wait()
	defer cancel()
	draining := drain.Begin.Done()
	var end <-chan time.Time // set once the drain has begun
	for {
		select { // without this look, a stream that always has something due would never notice the drain
		case <-draining:
			draining = nil
			end = time.After(drainDelay(drain.Time))
		case <-end:
			return w.leave()
		default:
		}
		changed := st.Feed.Changed() // before the source is asked: what comes after the answer is not missed
		again, err := w.write(ctx)
		switch {
		case err != nil:
			return err
		case again:
			continue
		}
		select {
		case <-changed:
		case err := <-w.waiting:
			if w.waiting = nil; err != nil {
				return cmp.Or(w.ctx.Err(), err)
			}
		case <-w.silence.C:
			st.Source.Prepend(heartbeat)
		case <-draining: // handled above
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
	waiting chan error  // gets the end of the wait for the next part; nil: nothing waits
	work    sync.WaitGroup

	deadline deadline
}

// write writes what is due once. It reports whether more may be due right away.
func (w *carrier) write(ctx context.Context) (again bool, err error) {
	due, err := w.stream.Source.Due(&pubsub.Answer{})
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
	case len(due) == 0:
		return false, nil
	}
	n, err := w.send(due)
	w.stream.Source.Took(n)
	w.silence.Reset(w.cfg.Heartbeat)
	return true, err
}

// send writes b in pieces and flushes them. It stops between two frames, as b ends with one.
func (w *carrier) send(b []byte) (sent int, err error) {
	for sent < len(b) && err == nil {
		var n int
		n, err = w.sendPiece(b[sent:min(sent+pieceBytes, len(b))])
		sent += n
	}
	return sent, err
}

// sendPiece writes b and flushes it, within Config.Stall. A client that does not take it by then is too slow, whatever the
// connection calls that: net, TLS and HTTP/2 have different errors for a deadline.
func (w *carrier) sendPiece(b []byte) (n int, err error) {
	began := time.Now()
	if err := w.deadline.begin(); err != nil {
		return 0, err
	}
	n, err = w.conn.Write(b)
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
	return n, err
}

// leave tells the client when to come back, and ends the stream.
func (w *carrier) leave() error {
	w.stream.Source.Prepend(wire.AppendRetryFrame(nil, w.cfg.Retry()))
	_, err := w.write(w.ctx)
	return errors.Join(ErrDraining, err)
}
