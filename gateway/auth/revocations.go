package auth

import (
	"sync"
	"sync/atomic"
	"time"
)

// Revocations are what is revoked: by the subject that it was issued to, or by the id of a token. They are safe for concurrent
// use, and take some 100 bytes each.
type Revocations struct {
	keep  time.Duration
	count atomic.Int64 // of entries: nearly always 0, and then nobody has to look

	mu       sync.RWMutex
	subjects map[string]revoked // guarded by mu
	tokens   map[string]revoked // guarded by mu
}

// revoked is when something was revoked.
type revoked struct {
	at      int64     // by the clock of whoever keeps revocations, in microseconds since 1970
	learned time.Time // by this machine's clock
}

func newRevocations(keep time.Duration) *Revocations {
	return &Revocations{keep: keep, subjects: make(map[string]revoked), tokens: make(map[string]revoked)}
}

// Keep is how long something stays revoked.
func (r *Revocations) Keep() time.Duration { return r.keep }

// Count returns how many there are.
func (r *Revocations) Count() int64 { return r.count.Load() }

// Add notes that what was issued to a subject before a moment, in microseconds since 1970, is revoked; or the token with an
// id. One of the two is empty. It returns false if that was known.
func (r *Revocations) Add(subject, tokenID string, at int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	entries, name := r.subjects, subject
	if tokenID != "" {
		entries, name = r.tokens, tokenID
	}
	known := entries[name].at
	if known == at {
		return false
	}
	entries[name] = revoked{max(known, at), time.Now()} // an earlier one is news too: the clock may be another one now
	r.count.Store(int64(len(r.subjects) + len(r.tokens)))
	return true
}

// Forget removes what was learned so long ago that it is not kept any more.
func (r *Revocations) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, entries := range []map[string]revoked{r.subjects, r.tokens} {
		for name, e := range entries {
			if time.Since(e.learned) > r.keep {
				delete(entries, name)
			}
		}
	}
	r.count.Store(int64(len(r.subjects) + len(r.tokens)))
}

// Revoked reports whether a session is not valid any more. A token is revoked with its subject if it was issued in the second of
// the revocation, or earlier, or does not say when: its iat has no parts of a second. The application's word is revoked if
// it is older than the moment at which this replica learned of the revocation, so it is not a matter of two clocks.
func (r *Revocations) Revoked(who *Identity) bool {
	if r.count.Load() == 0 {
		return false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, ok := r.tokens[who.TokenID]; ok && who.TokenID != "" {
		return true
	}
	e, ok := r.subjects[who.Subject]
	switch {
	case !ok || who.Subject == "":
		return false
	case who.asked != 0:
		return who.asked <= e.learned.UnixMilli()
	default:
		return who.Issued <= e.at/1e6
	}
}

var errRevoked = denied("revoked", "The credential was revoked: sign in again")
