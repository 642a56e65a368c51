package listen

import (
	"context"
	"errors"
	"time"

	"sluice/store"
)

// Times of probes; the package comment has them in a table.
const (
	probeInterval = time.Second
	probeTimeout  = 4 * time.Second
	// publishTimeout leaves time for a new connection of the ordinary client to a Redis that is far away.
	publishTimeout = 15 * time.Second
)

// Why a session ends although its connection is alive.
var (
	errDeaf  = errors.New("a published probe did not come back")
	errMoved = errors.New("the client and the subscription reach different Redis servers")
)

var (
	errOver = errors.New("the connection to Redis was lost")
	errLate = errors.New("a probe through Redis is on its way for too long")
)

// probe is a message of this replica to itself.
type probe struct {
	sent    time.Duration
	watched bool          // its absence ends the session
	arrived chan struct{} // closed when the reader has it
	handled chan struct{} // closed when everything that was handed over before it has been handled

	overdueAt time.Duration // set once Redis has taken it, before it becomes session.awaited
}

// publish publishes a probe by the ordinary client and returns when Redis has taken it. Whoever calls it must forget it.
func (s *session) publish(ctx context.Context, watched bool) (p *probe, forget func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	// A random text: a late probe of an earlier session must not be taken for this one.
	nonce := store.NewNonce().String()
	p = &probe{sent: s.listener.now(), watched: watched, arrived: make(chan struct{}), handled: make(chan struct{})}
	s.probeMu.Lock()
	s.probed[nonce] = p
	s.probeMu.Unlock()
	forget = func() {
		s.probeMu.Lock()
		defer s.probeMu.Unlock()
		delete(s.probed, nonce)
	}
	receivers, err := s.listener.cfg.Redis.Publish(ctx, s.probes, nonce).Result()
	switch {
	case err != nil:
		return p, forget, err
	case receivers == 0:
		return p, forget, errMoved
	case watched:
		s.await(nonce, p)
	}
	return p, forget, nil
}

// await makes the absence of a probe end the session, unless it has come back already.
func (s *session) await(nonce string, p *probe) {
	s.probeMu.Lock()
	defer s.probeMu.Unlock()
	if s.probed[nonce] == p {
		p.overdueAt = s.listener.now() + probeTimeout
		s.awaited.Store(p)
	}
}

// checkAwaited ends the session if a probe is overdue. The reader calls it when it has handled everything it has read. A
// reader that is behind is not deaf: only an empty socket proves that the probe has not arrived. Other messages prove
// nothing: a Redis that was demoted goes on sending them.
func (s *session) checkAwaited() {
	if p := s.awaited.Load(); p != nil && s.listener.now() >= p.overdueAt && s.conn.empty() {
		s.end(errDeaf)
	}
}

// probeCame notes that a probe came back, and sends it on through the workers.
func (s *session) probeCame(nonce string) {
	s.probeMu.Lock()
	p := s.probed[nonce]
	delete(s.probed, nonce)
	s.awaited.CompareAndSwap(p, nil) // a probe that is not watched never is awaited
	s.probeMu.Unlock()
	if p == nil {
		return
	}
	if p.watched {
		s.unheard.Store(0)
	}
	close(p.arrived)
	s.listener.cfg.Queue.Fence(func() {
		s.listener.fenceTime.Store(int64(s.listener.now() - p.sent))
		close(p.handled)
	})
}

// fence returns when everything that was published before the call has been handled.
func (s *session) fence(ctx context.Context) error {
	p, forget, err := s.publish(ctx, false)
	defer forget()
	if err != nil {
		return err
	}
	select {
	case <-p.handled:
		return nil
	case <-s.over:
		return errOver
	case <-ctx.Done():
		return ctx.Err()
	}
}

// probeEverySecond proves again and again that what is published arrives, until ctx ends.
func (s *session) probeEverySecond(ctx context.Context) {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for {
		s.probeOnce(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// probeOnce sends one probe, and returns when it has come back. If Redis does not take it, that says nothing about the
// session, so the session goes on; but the replica is not ready then.
func (s *session) probeOnce(ctx context.Context) {
	s.unheard.CompareAndSwap(0, int64(max(s.listener.now(), 1)))
	p, forget, err := s.publish(ctx, true)
	defer forget()
	switch {
	case errors.Is(err, errMoved):
		s.end(err)
		return
	case err != nil:
		if ctx.Err() == nil {
			s.listener.failed(err)
		}
		return
	}
	select {
	case <-p.arrived:
		s.listener.probeTime.Store(int64(s.listener.now() - p.sent))
		s.listener.worked(s)
	case <-ctx.Done():
	}
}

// late reports whether no probe has come back for so long that messages may not be arriving.
func (s *session) late() bool {
	since := s.unheard.Load()
	return since != 0 && s.listener.now()-time.Duration(since) > probeTimeout
}
