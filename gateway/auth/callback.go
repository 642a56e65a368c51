package auth

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"
	"unique"
)

const (
	// callTimeout is how long the application may take to answer.
	callTimeout = 5 * time.Second
	// callPatience is how long a request waits for its turn to ask.
	callPatience = 2 * time.Second
	maxAnswer    = 64 << 10 // bytes of the application's answer

	freshTime  = time.Minute     // for which an answer is used
	denialTime = 5 * time.Second // the same if the application denies

	maxCalls          = 32 // to the application at the same time
	maxCallsPerClient = 8  // the same for one client's address
)

// callback asks the application who somebody is, and remembers the answers. It is safe for concurrent use.
//
// A cookie is not kept, only a digest of it: so a session that goes on is asked about when its client comes back.
type callback struct {
	url      string
	client   *http.Client
	cookies  cookieFilter
	maxAge   time.Duration // after which a stream asks again
	defaults defaults
	log      *slog.Logger

	revocations *Revocations

	ctx   context.Context // of the calls, which may outlive the requests that began them; close cancels it
	stop  context.CancelFunc
	calls sync.WaitGroup
	slots chan struct{} // holds a token for each call under way

	mu      sync.Mutex
	answers map[credential]*answer // guarded by mu
	clients paces                  // guarded by mu
	said    time.Time              // when a failure was last logged; guarded by mu
	counts  CallCounts             // guarded by mu
}

// CallCounts count what became of the questions to the application, since the start.
type CallCounts struct {
	Known, Denied, Failed int64 // by the application's answer; Failed: none, or one that cannot be read
	Crowded               int64 // not asked, because there were too many calls
	Stale                 int64 // requests that were let in by an old answer, because the application did not answer
}

// credential is a digest of everything that the application's answer may depend on.
type credential [sha256.Size]byte

// answer is what the application said about a credential.
type answer struct {
	asking  chan struct{} // not nil while the application is asked; closed when it has answered
	session Session
	denial  *DeniedError // not nil: the application does not know the credential, or could not be asked
	known   bool         // session is an answer
	fresh   time.Time
	usable  time.Time // until when session is used while the application does not answer
}

func newCallback(cfg Config, d defaults, r *Revocations, client *http.Client, log *slog.Logger) *callback {
	ctx, stop := context.WithCancel(context.Background())
	return &callback{
		url: cfg.AuthURL, client: client, cookies: cfg.AuthCookies, maxAge: cfg.AuthMaxAge, defaults: d, log: log, revocations: r,
		ctx: ctx, stop: stop, slots: make(chan struct{}, maxCalls),
		answers: make(map[credential]*answer), clients: make(paces),
	}
}

// close ends the calls that are under way and returns when they have ended.
func (c *callback) close() {
	c.stop()
	c.calls.Wait()
	c.client.CloseIdleConnections()
}

// presented reports whether a request has something that the application may know.
func (c *callback) presented(r *http.Request) bool { return c.cookies.of(r.Header["Cookie"]) != "" }

// question makes the request for the application. It has only these headers of the client's.
func (c *callback) question(ctx context.Context, r Request) (*http.Request, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		return nil, withoutURL(err)
	}
	q.Header.Set("Accept", "application/json") // a page to log in at would not help
	set := func(name, value string) {
		if value != "" {
			q.Header.Set(name, value)
		}
	}
	set("Cookie", c.cookies.of(r.HTTP.Header["Cookie"]))
	for _, name := range []string{"Authorization", "Origin", "Referer"} {
		set(name, r.HTTP.Header.Get(name))
	}
	set("X-Forwarded-For", r.Address)
	set("X-Forwarded-Proto", r.Proto)
	set("X-Forwarded-Host", r.Host)
	return q, nil
}

// credentialOf returns the digest of everything in a question but the client's address and the page that it came from: a
// client that moves, and one that opens another page, is still the same. Of the page its origin counts.
func credentialOf(q *http.Request) credential {
	h := sha256.New()
	origin := ""
	if u, err := url.Parse(q.Header.Get("Referer")); err == nil {
		origin = u.Scheme + "://" + u.Host
	}
	for _, part := range []string{
		q.Header.Get("Cookie"), q.Header.Get("Authorization"), q.Header.Get("Origin"), origin,
		q.Header.Get("X-Forwarded-Proto"), q.Header.Get("X-Forwarded-Host"),
	} {
		var length [8]byte // so that no two lists of parts have the same digest
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write([]byte(part))
	}
	return credential(h.Sum(nil))
}

// identify returns the session of a request. Its errors are *DeniedError.
func (c *callback) identify(ctx context.Context, r Request) (Session, error) {
	q, err := c.question(c.ctx, r)
	if err != nil {
		return Session{}, errAway
	}
	key := credentialOf(q)
	c.mu.Lock()
	a := c.answers[key]
	if a == nil {
		a = &answer{}
		c.remember(key, a)
	}
	if a.asking == nil {
		if time.Now().Before(a.fresh) && !c.revokedAnswer(a) {
			defer c.mu.Unlock()
			return a.result()
		}
		c.begin(a, q, r.Client)
	}
	asking := a.asking
	c.mu.Unlock()
	select {
	case <-asking:
	case <-ctx.Done():
		return Session{}, errAway // the client has left
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return a.result()
}

// revokedAnswer reports whether an answer does not count any more, so that the application is asked again; c.mu is held.
func (c *callback) revokedAnswer(a *answer) bool {
	if !a.known {
		return false
	}
	who := a.session.Value()
	return c.revocations.Revoked(&who)
}

// result returns what is known; callback.mu is held.
func (a *answer) result() (Session, error) {
	if a.denial != nil {
		return Session{}, a.denial
	}
	return a.session, nil
}

// begin asks the application about a credential, on a goroutine of its own; c.mu is held.
func (c *callback) begin(a *answer, q *http.Request, from netip.Prefix) {
	done := make(chan struct{})
	a.asking = done
	began := time.Now() // the application's word is as old as the question
	c.calls.Go(func() {
		who, err := c.take(q, from)
		who.Issued, who.asked = began.Unix(), began.UnixMilli()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.settle(a, who, err, time.Now())
		a.asking = nil
		close(done)
	})
}

// take asks once there is room for another call.
func (c *callback) take(q *http.Request, from netip.Prefix) (who Identity, err error) {
	c.mu.Lock()
	p := c.clients.of(from)
	ok := p.spend(time.Now())
	c.mu.Unlock()
	if !ok {
		return Identity{}, errCrowded
	}
	defer func() {
		if !refused(err) {
			c.mu.Lock()
			p.denials++
			c.mu.Unlock()
		}
	}()
	patience, cancel := context.WithTimeout(c.ctx, callPatience)
	defer cancel()
	for _, slots := range []chan struct{}{p.slots, c.slots} {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-patience.Done():
			return Identity{}, errCrowded
		}
	}
	return c.ask(q)
}

// refused reports whether an error is the application's word that a credential is bad.
func refused(err error) bool {
	d := asDenied(err)
	return d != nil && d.Status != http.StatusServiceUnavailable
}

var (
	errAway    = unknownNow("auth_unavailable", "The application does not say who this is")
	errCrowded = unknownNow("auth_busy", "Too many sessions are being checked at once")
)

// settle notes what the application said; c.mu is held.
func (c *callback) settle(a *answer, who Identity, err error, now time.Time) {
	d := asDenied(err)
	switch {
	case err == nil:
		c.counts.Known++
		a.denial, a.known = nil, true
		a.fresh, a.usable = now.Add(freshTime), now.Add(2*c.maxAge)
		if end := time.Unix(who.Until, 0); who.Until != 0 {
			a.fresh, a.usable = earlier(a.fresh, end), earlier(a.usable, end)
		}
		who.Until = earlier(a.usable, now.Add(c.maxAge)).Unix()
		a.session = unique.Make(who)
	case refused(err):
		c.counts.Denied++
		a.denial, a.known, a.fresh = d, false, now.Add(denialTime)
	case a.known && now.Before(a.usable) && !c.revokedAnswer(a): // the application is away: who is known goes on for a while
		c.counts.Stale++
		a.denial, a.fresh = nil, now.Add(denialTime)
		old := a.session.Value()
		old.Until = a.usable.Unix()
		a.session = unique.Make(old)
	default:
		if d == nil {
			d = errAway
		}
		a.denial, a.known, a.fresh = d, false, now // the next request asks again
	}
	switch {
	case errors.Is(err, errCrowded):
		c.counts.Crowded++
	case err != nil && !refused(err):
		c.counts.Failed++
		c.complain(err, now)
	}
}

// complain logs that the application does not answer, every 10 s at most; c.mu is held.
func (c *callback) complain(err error, now time.Time) {
	if c.ctx.Err() != nil || now.Sub(c.said) < 10*time.Second {
		return
	}
	c.said = now
	c.log.Warn("application does not say who somebody is; see GATEWAY_AUTH_URL", "error", err)
}

// ask asks the application. An error that is not a *DeniedError means that it did not answer, or nothing that can be read.
func (c *callback) ask(q *http.Request) (Identity, error) {
	ctx, cancel := context.WithTimeout(c.ctx, callTimeout)
	defer cancel()
	status, text, err := ask(c.client, q.WithContext(ctx), maxAnswer)
	switch {
	case err != nil:
		return Identity{}, err
	case status == http.StatusUnauthorized:
		return Identity{}, denied("session_refused", "The application does not know this session: sign in")
	case status == http.StatusForbidden:
		return Identity{}, &DeniedError{
			Status: status, Code: "session_refused", Message: "The application does not let this session in",
		}
	case status != http.StatusOK:
		return Identity{}, fmt.Errorf("the answer's status is %d, not 200, 401 or 403", status)
	}
	return readAnswer(text, c.defaults, time.Now())
}

// readAnswer reads the application's word on who somebody is.
func readAnswer(text []byte, d defaults, now time.Time) (Identity, error) {
	var m members
	if err := json.Unmarshal(text, &m); err != nil || m == nil {
		return Identity{}, errors.New("the answer is not a JSON object")
	}
	who, err := m.rights(d)
	if err != nil {
		if d := asDenied(err); d.Code == errSubject.Code {
			return Identity{}, d
		}
		return Identity{}, fmt.Errorf("the answer cannot be used: %s", err) //nolint:errorlint // it is no word on a session
	}
	if text, ok := m.of("expires"); ok {
		if who.Until, err = moment(text); err != nil {
			return Identity{}, fmt.Errorf("expires in the answer: %w", err)
		}
		if who.ended(now) {
			return Identity{}, denied("session_refused", "The session is over: sign in")
		}
	}
	return who, nil
}

// maxAnswers bounds the answers that are remembered.
const maxAnswers = 50_000

// remember adds an answer, and forgets one if there are too many; c.mu is held.
func (c *callback) remember(key credential, a *answer) {
	if len(c.answers) >= maxAnswers {
		c.forget(time.Now())
	}
	for old, one := range c.answers {
		if len(c.answers) < maxAnswers {
			break
		}
		if one.asking == nil { // any: who comes back is asked about again
			delete(c.answers, old)
		}
	}
	c.answers[key] = a
}

// sweep forgets what is of no use any more.
func (c *callback) sweep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(time.Now())
}

// forget removes the answers that are of no use any more; c.mu is held.
func (c *callback) forget(now time.Time) {
	for key, a := range c.answers {
		if a.asking == nil && now.After(a.fresh) && (!a.known || now.After(a.usable)) {
			delete(c.answers, key)
		}
	}
	c.clients.forget(now)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
