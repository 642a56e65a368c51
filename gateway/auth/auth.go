package auth

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
	"unique"
)

// Request is what tells who makes a request.
type Request struct {
	HTTP *http.Request
	// Address is the client's, and Client the network that counts as one client.
	Address string
	Client  netip.Prefix
	// Proto and Host are those of the address that the client has called: http or https, and the Host header.
	Proto, Host string
	// TicketOf returns what Seal returned for the maker of a ticket, or ErrTicket. nil: the request cannot have a ticket.
	TicketOf func(ctx context.Context, ticket string) ([]byte, error)
}

// Authenticator finds out who makes a request. It is safe for concurrent use.
type Authenticator struct {
	cookie    string // that may have a token
	verifier  *verifier
	keys      apiKeys
	callback  *callback
	jwks      *jwks // whose keys verifier uses; nil: it uses others
	anonymous Session

	revocations *Revocations
}

// New returns an Authenticator, or nil if the settings name no method. Its calls go through transport; nil stands for the
// usual one. Run makes it work, and its end is the Authenticator's.
func New(cfg Config, transport http.RoundTripper, log *slog.Logger) (*Authenticator, error) {
	m, err := cfg.methods()
	if err != nil || len(m.names) == 0 {
		return nil, err
	}
	client := newClient(transport)
	a := &Authenticator{cookie: cfg.JWTCookie, keys: m.apiKeys, anonymous: unique.Make(Identity{Subscribe: m.anonymous})}
	a.revocations = newRevocations(cmp.Or(cfg.RevokeFor, revokeFor))
	if m.jwt {
		keys := m.keys
		if keys == nil {
			a.jwks = newJWKS(cfg.JwksURL, client, log)
			keys = a.jwks
		}
		a.verifier = newVerifier(keys, cfg.JWTIssuer, cfg.JWTAudience, m.defaults)
	}
	if m.callback {
		a.callback = newCallback(cfg, m.defaults, a.revocations, client, log)
	}
	return a, nil
}

// sweepEvery is how often answers that are of no use any more are forgotten.
const sweepEvery = 10 * time.Second

// Run fetches keys and forgets old answers until ctx ends. Then it ends the calls that are under way. It may be called once.
func (a *Authenticator) Run(ctx context.Context) {
	var wg sync.WaitGroup
	if a.jwks != nil {
		wg.Go(func() { a.jwks.run(ctx) })
	}
	if a.callback != nil {
		wg.Go(func() {
			tick := time.NewTicker(sweepEvery)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					a.callback.sweep()
				case <-ctx.Done():
					return
				}
			}
		})
	}
	<-ctx.Done()
	wg.Wait()
	if a.callback != nil {
		a.callback.close()
	}
	if a.jwks != nil {
		a.jwks.client.CloseIdleConnections()
	}
}

// Revocations returns what is revoked. Whoever learns of a revocation adds it there.
func (a *Authenticator) Revocations() *Revocations { return a.revocations }

// Identify returns the session of a request. The first of these credentials that the request has decides, even if it is a
// bad one:
//
//	Authorization   a key, a token, or whatever the application knows
//	?ticket=        a ticket, which opens streams only
//	Cookie          the cookie with a token
//	Cookie          the cookies that the application knows
//
// A request without a credential gets the session of those who are not known. The errors are *DeniedError.
func (a *Authenticator) Identify(ctx context.Context, r Request) (Session, error) {
	session, err := a.identify(ctx, r)
	if err != nil {
		return Session{}, err
	}
	if who := session.Value(); a.revocations.Revoked(&who) {
		return Session{}, errRevoked
	}
	return session, nil
}

// identify is Identify but for revocations.
func (a *Authenticator) identify(ctx context.Context, r Request) (Session, error) {
	if hasCredential(r.HTTP.URL.RawQuery) {
		return Session{}, errInURL
	}
	switch headers := r.HTTP.Header["Authorization"]; len(headers) {
	case 0:
	case 1:
		return a.authorization(ctx, r, headers[0])
	default:
		return Session{}, errTwoCredentials
	}
	if ticket, present := TicketIn(r.HTTP.URL.RawQuery); present {
		return a.ticket(ctx, r, ticket)
	}
	if a.verifier != nil {
		token, err := oneCookie(r.HTTP, a.cookie)
		if err != nil {
			return Session{}, err
		}
		if token != "" {
			return a.token(ctx, token)
		}
	}
	if a.callback != nil && a.callback.presented(r.HTTP) {
		return a.callback.identify(ctx, r)
	}
	return a.anonymous, nil
}

// authorization returns the session of an Authorization header. What the credential looks like decides who checks it.
func (a *Authenticator) authorization(ctx context.Context, r Request, header string) (Session, error) {
	scheme, credential, _ := strings.Cut(header, " ")
	credential = strings.Trim(credential, " ")
	bearer := strings.EqualFold(scheme, "Bearer")
	switch {
	case bearer && strings.HasPrefix(credential, keyPrefix):
		if a.keys == nil {
			return Session{}, errScheme
		}
		return a.keys.check(credential)
	case bearer && strings.Count(credential, ".") == 2 && a.verifier != nil:
		return a.token(ctx, credential)
	case a.callback != nil:
		return a.callback.identify(ctx, r)
	default:
		return Session{}, errScheme
	}
}

// token returns the session of a token.
func (a *Authenticator) token(ctx context.Context, text string) (Session, error) {
	who, err := a.verifier.verify(ctx, text)
	if err != nil {
		return Session{}, err
	}
	return unique.Make(who), nil
}

// oneCookie returns the value of a cookie, or nothing if the request does not have it. Whoever can set cookies for a whole
// site could put one of his beside the user's, so two different values are refused.
func oneCookie(r *http.Request, name string) (string, error) {
	value := ""
	for _, c := range r.CookiesNamed(name) {
		if value != "" && c.Value != value {
			return "", errTwoCredentials
		}
		value = c.Value
	}
	return value, nil
}

// credentialInURL matches a token (its header is a JSON object, in base64url) and an API key.
var credentialInURL = regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.|` + keyPrefix + `[A-Za-z0-9.-]{1,40}_[A-Z2-7]{26}`)

// hasCredential reports whether a query holds a token or a key.
func hasCredential(query string) bool {
	if !strings.Contains(query, "eyJ") && !strings.Contains(query, keyPrefix) && !strings.Contains(query, "%") {
		return false // nearly always
	}
	if text, err := url.QueryUnescape(query); err == nil {
		query = text
	}
	return credentialInURL.MatchString(query)
}

// Counts are figures of an Authenticator, since its start.
type Counts struct {
	Calls                   CallCounts
	KeysFetched, KeysFailed int64
}

// Counts returns the figures so far.
func (a *Authenticator) Counts() Counts {
	var all Counts
	if c := a.callback; c != nil {
		c.mu.Lock()
		all.Calls = c.counts
		c.mu.Unlock()
	}
	if j := a.jwks; j != nil {
		j.mu.Lock()
		all.KeysFetched, all.KeysFailed = j.good, j.failed
		j.mu.Unlock()
	}
	return all
}
