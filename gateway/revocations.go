package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"sluice/gateway/auth"
	"sluice/gateway/writer"
	"sluice/pubsub"
	"sluice/store"
	"sluice/store/kind"
)

// Times of revocations. A revocation takes effect everywhere within a second.
const (
	lookEvery   = 400 * time.Millisecond // a replica looks for new revocations
	lookTimeout = 2 * time.Second
	knownFor    = time.Second     // a replica that looked so long ago takes new streams
	lookWait    = 2 * time.Second // how long a new stream waits for the next look
	maxTokenID  = 256             // bytes of the id of a token that can be revoked
)

// revocationStore is where revocations are kept. *store.Store is one.
type revocationStore interface {
	Revoke(ctx context.Context, r store.Revocation, keep time.Duration) (store.Revocation, error)
	Revocations(ctx context.Context, after int64) ([]store.Revocation, error)
}

// revocations keep up with what is revoked, and end the streams that it concerns. They are safe for concurrent use.
//
// A replica looks into Redis 2.5 times a second. An announcement by pub/sub would come sooner, but it can be lost with a
// connection, so a replica would have to look all the same; and a look that fails tells that the replica does not know.
type revocations struct {
	store revocationStore
	known *auth.Revocations
	sweep func() // has the loops ask ends about each stream
	log   *slog.Logger

	looking sync.Mutex // held while one looks
	after   int64      // the newest revocation that is known; guarded by looking

	mu     sync.Mutex
	asOf   time.Time     // everything that was revoked before is known; guarded by mu
	looked chan struct{} // closed by the next look; guarded by mu
	news   chan struct{} // closed by the next revocation; guarded by mu
}

func newRevocations(s revocationStore, known *auth.Revocations, log *slog.Logger, sweep func()) *revocations {
	return &revocations{
		store: s, known: known, sweep: sweep, log: log, looked: make(chan struct{}), news: make(chan struct{}),
	}
}

// run looks for revocations until stop is called, which returns when nothing runs any more.
func (r *revocations) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		forget := time.NewTicker(time.Minute)
		defer forget.Stop()
		for {
			select {
			case <-tick.C:
				if err := r.look(ctx, false); err != nil && ctx.Err() == nil {
					r.log.Debug("revocations not read", "error", err)
				}
			case <-forget.C:
				r.known.Forget()
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		work.Wait()
	}
}

// readAll reads all revocations. A Redis that comes back may have an older state, or be another one with another clock.
func (r *revocations) readAll(ctx context.Context) error { return r.look(ctx, true) }

// look learns what is revoked, and ends the streams that it concerns before it returns.
func (r *revocations) look(ctx context.Context, all bool) error {
	r.looking.Lock()
	defer r.looking.Unlock()
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	began := time.Now()
	if all {
		r.after = 0
	}
	list, err := r.store.Revocations(ctx, r.after)
	if err != nil {
		return err
	}
	r.apply(list)
	if len(list) > 0 {
		r.after = list[len(list)-1].At
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asOf = began
	close(r.looked)
	r.looked = make(chan struct{})
	return nil
}

// apply ends what was revoked.
func (r *revocations) apply(list []store.Revocation) {
	added := false
	for _, one := range list {
		added = r.known.Add(one.Subject, one.TokenID, one.At) || added
	}
	if added {
		r.sweepAll()
	}
}

// sweepAll has every stream asked whether it must end.
func (r *revocations) sweepAll() {
	r.mu.Lock()
	close(r.news)
	r.news = make(chan struct{})
	r.mu.Unlock()
	r.sweep()
}

// wait returns when the replica knows what is revoked.
func (r *revocations) wait(ctx context.Context) error {
	if r.upToDate() {
		return nil // nearly always
	}
	timer := time.NewTimer(lookWait)
	defer timer.Stop()
	for {
		r.mu.Lock()
		looked := r.looked
		r.mu.Unlock()
		if r.upToDate() {
			return nil
		}
		select {
		case <-looked:
		case <-timer.C:
			return errBlind
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// upToDate reports whether the replica has looked just now.
func (r *revocations) upToDate() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Since(r.asOf) <= knownFor
}

// swept returns a channel that is closed by the next revocation.
func (r *revocations) swept() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.news
}

// ends reports whether a stream must end because its client's session is revoked, or its ticket was used again.
func (r *revocations) ends(src writer.Source) bool {
	var session auth.Session
	switch st := src.(type) {
	case *ownedStream:
		session = st.session
	case *ticketStream:
		if st.lease.lost.Load() {
			return true
		}
		session = st.session
	default:
		return false
	}
	if r.known.Count() == 0 {
		return false
	}
	who := session.Value()
	return r.known.Revoked(&who)
}

// ticketStream is a stream that was opened with a ticket.
type ticketStream struct {
	ownedStream
	lease *lease
}

// ownedStream is a stream with the session it belongs to. It takes 16 bytes.
type ownedStream struct {
	*pubsub.Stream
	session auth.Session
}

// owned returns a stream as the writers get it.
func (s *Server) owned(c echo.Context, st *pubsub.Stream, l *lease) writer.Source {
	session, ok := c.Get(sessionKey).(auth.Session)
	switch {
	case !ok:
		return st // there is no authentication
	case l != nil:
		return &ticketStream{ownedStream{st, session}, l}
	default:
		return &ownedStream{st, session}
	}
}

// revoke ends the sessions of a subject, or that of a token.
func (s *Server) revoke(c echo.Context) error {
	if who := s.who(c); !who.Revoke {
		if err := s.mustBeAdmin(c); err != nil {
			return err
		}
	}
	var what struct {
		Subject string `json:"sub"`
		TokenID string `json:"jti"`
	}
	if err := s.decode(c, &what); err != nil {
		return err
	}
	switch {
	case (what.Subject == "") == (what.TokenID == ""):
		return badRequest(kind.MissingFields, "Either sub or jti is required", "sub", "jti")
	case what.Subject != "" && kind.CheckUser(what.Subject) != nil:
		return badRequest("invalid_sub", "sub must be the id of a user: 1 to 100 "+kind.NameCharacters, "sub")
	case len(what.TokenID) > maxTokenID || !utf8.ValidString(what.TokenID) || strings.ContainsFunc(what.TokenID, unicode.IsControl):
		return badRequest("invalid_jti", "jti must have 1 to 256 bytes and no control characters", "jti")
	}
	r := store.Revocation{Subject: what.Subject, TokenID: what.TokenID}
	r, err := s.store.Revoke(c.Request().Context(), r, s.revocations.known.Keep())
	if err != nil {
		return err
	}
	s.revocations.apply([]store.Revocation{r})
	if what.Subject != "" {
		// A token says in which second it was issued. The answer comes when the second of the revocation is over: so who signs in
		// after it gets a token that is later.
		select {
		case <-time.After(time.Second - time.Duration(r.At%1e6)*time.Microsecond):
		case <-c.Request().Context().Done():
		}
	}
	return c.NoContent(http.StatusNoContent)
}
