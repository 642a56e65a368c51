package store

import (
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// Refusal is why Redis did not take what a replica published last.
type Refusal struct {
	Trouble
	At time.Time // when the newest publish was refused
}

// Refusal returns why Redis refused the newest event that this Store had for it, or nil if Redis took it. It asks nobody:
// when nothing is published, nothing new is known. A channel's own trouble, such as a key of another type, is no refusal,
// and neither is a message that came from another Redis.
func (s *Store) Refusal() *Refusal { return s.refusal.Load() }

// noteOutcome remembers whether Redis takes events. err is the outcome of one publish that was sent.
func (s *Store) noteOutcome(err error) {
	if err == nil {
		if s.refusal.Load() != nil { // mostly there is none, and a load is cheaper than a store
			s.refusal.Store(nil)
		}
		return
	}
	if _, answered := errors.AsType[redis.Error](err); !answered {
		return
	}
	switch trouble := TroubleOf(err); trouble.Code {
	case unreadable.Code, wrongType.Code, elsewhere.Code:
	default:
		s.refusal.Store(&Refusal{Trouble: trouble, At: time.Now()})
	}
}
