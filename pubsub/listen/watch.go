package listen

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Times of watching a session; the package comment has them in a table.
const (
	watchInterval  = time.Second
	silenceAtMost  = 4 * time.Second
	pauseTolerance = 10 * time.Second
)

// Why a session ends although its connection seems to be open.
var (
	errSilent = errors.New("the connection is silent")
	errPaused = errors.New("this process was paused")
)

// watch checks every second that the connection is alive and this process runs. It returns an error when that is not so.
//
// A connection that is silent is given up only when a new one works. If none does, Redis itself stands still, and so does
// the network to it: then what is published meanwhile comes over this connection when Redis goes on.
func (s *session) watch(ctx context.Context) error {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	var r replacement
	defer r.stop()
	for {
		switch err := s.noteTime(); {
		case errors.Is(err, errSilent):
			s.listener.failed(err)
			r.try(ctx, s)
		case err != nil:
			return err
		}
		// The answer also brings the reader to checkAwaited, on a connection on which nothing else comes.
		if err := s.conn.send([]string{"PING"}); err != nil {
			return fmt.Errorf("ping: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case c := <-r.dialled:
			if r.done(); c == nil {
				break // the next tick tries again
			}
			err := s.noteTime()
			if err != nil {
				s.next = c
				return err
			}
			_ = c.Close() // the session has come alive meanwhile
		case <-tick.C:
		}
	}
}

// replacement is the dialling of a connection in place of one that is silent.
type replacement struct {
	dialled chan *conn         // gets the new connection, or nil; nil while nobody dials
	cancel  context.CancelFunc // ends the dialling
}

// try begins to dial, unless that is under way.
func (r *replacement) try(ctx context.Context, s *session) {
	if r.dialled != nil {
		return
	}
	ctx, r.cancel = context.WithCancel(ctx)
	dialled := make(chan *conn, 1)
	r.dialled = dialled
	go func() { // stop waits for it
		c, err := s.listener.dial(ctx)
		if err != nil {
			s.listener.failed(err)
		}
		dialled <- c
	}()
}

// done ends what try began, after its result was received.
func (r *replacement) done() {
	r.cancel()
	*r = replacement{}
}

// stop ends the dialling, if it is under way, and closes the connection that it has made.
func (r *replacement) stop() {
	if r.dialled == nil {
		return
	}
	r.cancel()
	if c := <-r.dialled; c != nil {
		_ = c.Close()
	}
}

// noteTime returns an error if the process was paused, or if nothing was read for too long. After a pause it leaves
// watchedAt as it was, so that the reading goroutine notices the pause as well.
func (s *session) noteTime() error {
	now := s.listener.now()
	if pause := now - time.Duration(s.watchedAt.Load()); pause > pauseTolerance {
		return fmt.Errorf("%w for %v", errPaused, pause.Round(time.Second))
	}
	s.watchedAt.Store(int64(now))
	s.rawRate.note(now, s.raws.Load())
	if silence := now - s.conn.lastRead(); silence > silenceAtMost {
		return fmt.Errorf("%w for %v", errSilent, silence.Round(time.Second))
	}
	return nil
}
