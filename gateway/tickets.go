package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"sluice/gateway/auth"
	"sluice/store"
)

// Bounds of tickets. One that no stream uses takes some 300 bytes of Redis for 30 s.
const (
	ticketsAtOnce  = 20          // that one subject may make in a row
	ticketEvery    = time.Second // after these, one each
	maxTicketUsers = 10_000      // subjects that are told apart
	keepAtOnce     = 64          // calls to Redis that keep tickets, at the same time
)

// ticketStore is where tickets are kept. *store.Store is one.
type ticketStore interface {
	MakeTicket(ctx context.Context, ticket string, who []byte) error
	TicketOf(ctx context.Context, ticket string) ([]byte, error)
	UseTicket(ctx context.Context, ticket, params, holder string) error
	KeepTicket(ctx context.Context, ticket, holder string) error
	TakenTickets(ctx context.Context, after int64) (holders []string, last int64, err error)
}

// lease is a ticket in the hands of a stream of this replica.
type lease struct {
	ticket, holder string
	lost           atomic.Bool // a newer stream has the ticket
}

// tickets keeps the tickets of this replica's streams, and finds out which of them newer streams have taken. It is safe for
// concurrent use.
type tickets struct {
	store ticketStore
	sweep func() // has every stream asked whether it must end

	mu     sync.Mutex
	leases map[string]*lease        // by holder; guarded by mu
	paces  map[string]*rate.Limiter // by who makes tickets; guarded by mu
}

func newTickets(s ticketStore, sweep func()) *tickets {
	return &tickets{store: s, sweep: sweep, leases: make(map[string]*lease), paces: make(map[string]*rate.Limiter)}
}

// run works until stop is called, which returns when nothing runs any more.
func (t *tickets) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { t.every(ctx, store.TicketBeat, t.keepAll) })
	work.Go(func() { t.every(ctx, ticketsAtOnce*ticketEvery, t.forgetPaces) })
	work.Go(func() {
		after := int64(0)
		t.every(ctx, lookEvery, func(ctx context.Context) { after = t.look(ctx, after) })
	})
	return func() {
		cancel()
		work.Wait()
	}
}

func (t *tickets) every(ctx context.Context, pause time.Duration, do func(context.Context)) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			do(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// all returns the leases of now.
func (t *tickets) all() []*lease {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*lease, 0, len(t.leases))
	for _, l := range t.leases {
		all = append(all, l)
	}
	return all
}

// look ends the streams that have lost their tickets after a moment.
func (t *tickets) look(ctx context.Context, after int64) (last int64) {
	if len(t.all()) == 0 {
		return after
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	holders, last, err := t.store.TakenTickets(ctx, after)
	if err != nil {
		return after
	}
	t.mu.Lock()
	lost := false
	for _, h := range holders {
		if l := t.leases[h]; l != nil {
			l.lost.Store(true)
			lost = true
		}
	}
	t.mu.Unlock()
	if lost {
		t.sweep()
	}
	return last
}

// keepAll keeps the tickets of all streams, and ends the streams that have lost theirs while Redis was away.
func (t *tickets) keepAll(ctx context.Context) {
	var lost atomic.Bool
	var calls sync.WaitGroup
	slots := make(chan struct{}, keepAtOnce)
	for _, l := range t.all() {
		slots <- struct{}{}
		calls.Go(func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(ctx, lookTimeout)
			defer cancel()
			if errors.Is(t.store.KeepTicket(ctx, l.ticket, l.holder), store.ErrOtherTicket) {
				l.lost.Store(true)
				lost.Store(true)
			}
		})
	}
	calls.Wait()
	if lost.Load() {
		t.sweep()
	}
}

// who returns who has made a ticket.
func (t *tickets) who(ctx context.Context, ticket string) ([]byte, error) {
	text, err := t.store.TicketOf(ctx, ticket)
	if errors.Is(err, store.ErrNoTicket) {
		return nil, auth.ErrTicket
	}
	return text, err
}

// use gives the ticket of a request to a stream. It returns nil if the request has none. release is to be called at the
// end of the stream.
func (t *tickets) use(c echo.Context) (l *lease, err error) {
	ticket, _ := c.Get(ticketKey).(string)
	if ticket == "" {
		return nil, nil
	}
	l = &lease{ticket: ticket, holder: store.NewNonce().String() + store.NewNonce().String()}
	t.mu.Lock()
	t.leases[l.holder] = l // before it is used, so that it is not lost unseen
	t.mu.Unlock()
	err = t.store.UseTicket(c.Request().Context(), ticket, parametersOf(c), l.holder)
	if err != nil {
		t.release(l)
		if errors.Is(err, store.ErrNoTicket) || errors.Is(err, store.ErrOtherTicket) {
			err = auth.ErrTicket
		}
		return nil, err
	}
	return l, nil
}

// release forgets the lease of a stream that is over.
func (t *tickets) release(l *lease) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.leases, l.holder)
}

// ticketKey is under which a request's ticket is kept in its echo.Context, if it decided who makes the request.
const ticketKey = "ticket"

// parametersOf returns a digest of what a stream carries: its address and its parameters, but for where it goes on.
func parametersOf(c echo.Context) string {
	query := c.Request().URL.Query()
	query.Del("ticket")
	query.Del("lastEventId")
	sum := sha256.Sum256([]byte(c.Request().URL.Path + "?" + query.Encode()))
	return hex.EncodeToString(sum[:16])
}

// mayMake reports whether somebody may make another ticket now.
func (t *tickets) mayMake(who string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.paces[who] == nil && len(t.paces) >= maxTicketUsers {
		who = "" // those that come later share one
	}
	p := t.paces[who]
	if p == nil {
		p = rate.NewLimiter(rate.Every(ticketEvery), ticketsAtOnce)
		t.paces[who] = p
	}
	return p.Allow()
}

// forgetPaces removes the paces that are as good as new.
func (t *tickets) forgetPaces(context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for who, p := range t.paces {
		if p.Tokens() >= ticketsAtOnce {
			delete(t.paces, who)
		}
	}
}

// createTicket makes a ticket, with which a client that cannot send headers opens a stream.
func (s *Server) createTicket(c echo.Context) error {
	who := s.who(c)
	if !s.tickets.mayMake(who.Subject + "\n" + who.Key) {
		return errManyTickets
	}
	text, err := who.Seal()
	if err != nil {
		return err
	}
	ticket := auth.NewTicket()
	if err := s.store.MakeTicket(c.Request().Context(), ticket, text); err != nil {
		return err
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.JSON(http.StatusCreated, struct {
		Ticket    string `json:"ticket"`
		ExpiresIn int    `json:"expiresIn"`
	}{ticket, int(store.TicketFresh.Seconds())})
}

// useTicket gives the ticket of a request to its stream, once nothing else can go wrong: a proxy repeats a request that was
// refused on another replica, with the same ticket.
func (s *Server) useTicket(c echo.Context) (*lease, error) {
	if s.tickets == nil {
		return nil, nil
	}
	return s.tickets.use(c)
}

func (s *Server) releaseTicket(l *lease) {
	if l != nil {
		s.tickets.release(l)
	}
}
