package listen

import (
	"errors"
	"sync"
	"time"
)

// state is what is known of Redis, for /readyz and for the log.
type state struct {
	mu      sync.Mutex
	problem error         // why the replica is not ready; nil if it is; guarded by mu
	away    bool          // Redis did not work, and the log says so; guarded by mu
	since   time.Duration // when it began to be away; guarded by mu
}

func (st *state) get() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.problem
}

func (st *state) set(problem error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.problem = problem
}

// redisProblem returns an error as /readyz shows it to an operator.
func redisProblem(err error) error { return errors.New("Redis: " + err.Error()) }

// failed notes that a session ended, or that Redis did not take a probe. The log has one line for each outage.
func (l *Listener) failed(err error) {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	l.state.problem = redisProblem(err)
	address := l.cfg.Redis.Options().Addr
	if l.state.away {
		l.cfg.Log.Debug("still waiting for Redis", "address", address, "error", err)
		return
	}
	l.state.away, l.state.since = true, l.now()
	l.cfg.Log.Warn("waiting for Redis", "address", address, "error", err)
}

// worked notes that a probe of a session came back.
func (l *Listener) worked(s *session) {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	if l.running.Load() != s {
		return // the session is over, and that was noted
	}
	l.state.problem = nil
	if l.state.away {
		l.state.away = false
		l.cfg.Log.Info("Redis is back", "after", (l.now() - l.state.since).Round(time.Millisecond))
	}
}
