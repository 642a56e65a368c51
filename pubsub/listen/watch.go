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
func (s *session) watch(ctx context.Context) error {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		if err := s.noteTime(); err != nil {
			return err
		}
		// The answer also brings the reader to checkAwaited, on a connection on which nothing else comes.
		if err := s.conn.send([]string{"PING"}); err != nil {
			return fmt.Errorf("ping: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
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
