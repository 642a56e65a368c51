package listen

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sluice/store"
)

// Times of watching a session; the package comment has them in a table.
const (
	probeInterval  = time.Second
	probeTimeout   = 4 * time.Second
	pauseTolerance = 10 * time.Second
)

// Why a session ends although its connection seems to be open.
var (
	errDeaf   = errors.New("a published probe did not come back")
	errMoved  = errors.New("the client and the subscription reach different Redis servers")
	errSilent = errors.New("the connection is silent")
	errPaused = errors.New("this process was paused")
)

// watch checks every second that messages arrive. It returns an error when they do not.
func (s *session) watch(ctx context.Context) error {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for {
		if err := s.noteTime(); err != nil {
			return err
		}
		if err := s.conn.send([]string{"PING"}); err != nil {
			return fmt.Errorf("ping: %w", err)
		}
		if err := s.sendProbe(ctx); err != nil {
			return err
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
	if silence := now - s.conn.lastRead(); silence > probeTimeout+probeInterval {
		return fmt.Errorf("%w for %v", errSilent, silence.Round(time.Second))
	}
	return nil
}

// sendProbe sends one probe. If Redis refuses it or does not answer, the subscription may still work, so the session
// goes on; but the replica is not ready.
func (s *session) sendProbe(ctx context.Context) error {
	sent := time.Now()
	err := s.probe(ctx)
	switch {
	case err == nil:
		s.listener.probeTime.Store(int64(time.Since(sent)))
		s.listener.setReady(nil)
	case errors.Is(err, errDeaf), errors.Is(err, errMoved):
		return err
	case ctx.Err() == nil:
		s.listener.setReady(redisProblem(err))
	}
	return nil
}

// probe publishes a message by the ordinary client and returns when it has arrived on the subscribed connection.
// Everything that was published before has arrived then.
func (s *session) probe(parent context.Context) error {
	ctx, cancel := context.WithTimeout(parent, probeTimeout)
	defer cancel()
	// A random text: a late probe of an earlier session must not be taken for this one.
	nonce, back := store.NewNonce().String(), make(chan struct{})
	s.probeMu.Lock()
	s.probed[nonce] = back
	s.probeMu.Unlock()
	defer func() {
		s.probeMu.Lock()
		delete(s.probed, nonce)
		s.probeMu.Unlock()
	}()
	receivers, err := s.listener.cfg.Redis.Publish(ctx, s.probes, nonce).Result()
	switch {
	case err != nil:
		return err
	case receivers == 0:
		return errMoved
	}
	select {
	case <-back:
		return nil
	case <-ctx.Done():
		if parent.Err() == nil {
			return errDeaf
		}
		return parent.Err()
	}
}

// probeCame notes that a probe came back.
func (s *session) probeCame(nonce string) {
	s.probeMu.Lock()
	defer s.probeMu.Unlock()
	if back := s.probed[nonce]; back != nil {
		close(back)
		delete(s.probed, nonce)
	}
}
