package gateway

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"sluice/gateway/auth"
)

// sessionKey is under which a request's session is kept in its echo.Context.
const sessionKey = "session"

// authenticate finds out who makes a request, before its handler runs. It stands in front of every address that is not for
// everybody. What somebody may do is decided by mayRead, mayPublish and mustBeAdmin.
func (s *Server) authenticate(next echo.HandlerFunc) echo.HandlerFunc {
	if s.cfg.Authenticator == nil {
		return next
	}
	return func(c echo.Context) error {
		proto, host := s.called(c.Request())
		r := auth.Request{HTTP: c.Request(), Address: c.RealIP(), Client: clientOf(c.RealIP()), Proto: proto, Host: host}
		if strings.HasPrefix(c.Path(), streamsPath) {
			r.TicketOf = func(ctx context.Context, ticket string) ([]byte, error) {
				c.Set(ticketKey, ticket)
				return s.tickets.who(ctx, ticket)
			}
		}
		session, err := s.cfg.Authenticator.Identify(c.Request().Context(), r)
		switch {
		case err == nil && c.Request().Method != http.MethodGet && !known(session):
			return errUnknown // before its body is read
		case err == nil:
			c.Set(sessionKey, session)
			return next(c)
		case strings.HasPrefix(c.Path(), streamsPath):
			return s.comeBack(c, refusalOf(err))
		default:
			return err
		}
	}
}

func known(session auth.Session) bool {
	who := session.Value()
	return who.Known()
}

// who returns who makes a request.
func (s *Server) who(c echo.Context) auth.Identity {
	if s.cfg.Authenticator == nil {
		return auth.Everybody
	}
	if session, ok := c.Get(sessionKey).(auth.Session); ok {
		return session.Value()
	}
	return auth.Identity{} // a route without authenticate: nobody may do anything there
}

// mayRead returns the refusal for the first channel that a request may not read. It is decided by the name alone: whether a
// channel exists does not show, neither by the answer nor by the time it takes.
func (s *Server) mayRead(c echo.Context, channels ...string) error {
	who := s.who(c)
	for _, channel := range channels {
		if !who.MayRead(channel) {
			return forbidden(who, "read", channel)
		}
	}
	return nil
}

// mayPublish returns the refusal for a channel on which a request may not publish.
func (s *Server) mayPublish(c echo.Context, channel string) error {
	if who := s.who(c); !who.MayPublish(channel) {
		return forbidden(who, "publish on", channel)
	}
	return nil
}

// mustBeAdmin returns the refusal for what only an admin may do.
func (s *Server) mustBeAdmin(c echo.Context) error {
	switch who := s.who(c); {
	case who.Admin:
		return nil
	case !who.Known():
		return errUnknown
	default:
		return errNoAdmin
	}
}

// expirySpread is the most by which a stream may end before its session does.
const expirySpread = 30 * time.Second

// expires returns when a stream ends whose session ends at until, in seconds since 1970; 0: never. Streams end within the
// last tenth of what is left of their sessions, at random: a thousand clients whose tokens were made in one minute must not
// come back together. They do not outlive their sessions, but for a second.
func expires(until int64, now time.Time) time.Time {
	if until == 0 {
		return time.Time{}
	}
	left := max(0, time.Unix(until, 0).Sub(now))
	return now.Add(left - rand.N(min(left/10, expirySpread)+1))
}

func forbidden(who auth.Identity, deed, channel string) error {
	if !who.Known() {
		return errUnknown
	}
	return refuse(http.StatusForbidden, "forbidden", "You may not "+deed+" the channel "+channel)
}

// called returns the protocol and the host that a client has called. A trusted proxy says what it was called by.
func (s *Server) called(r *http.Request) (proto, host string) {
	proto, host = "http", r.Host
	if r.TLS != nil {
		proto = "https"
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	trusted := func(p netip.Prefix) bool { return p.Contains(peer.Addr().Unmap()) }
	if err != nil || !slices.ContainsFunc(s.cfg.TrustedProxies, trusted) {
		return proto, host
	}
	if p := r.Header.Get("X-Forwarded-Proto"); p == "http" || p == "https" {
		proto = p
	}
	if h := r.Header.Get("X-Forwarded-Host"); h != "" && !strings.Contains(h, ",") {
		host = h
	}
	return proto, host
}
