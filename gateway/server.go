package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"golang.org/x/time/rate"

	"sluice/gateway/console"
	"sluice/gateway/demo"
	"sluice/gateway/writer"
	"sluice/pubsub"
	"sluice/store"
)

// Server answers HTTP. It is safe for concurrent use.
type Server struct {
	cfg     Config
	broker  *pubsub.Broker
	store   *store.Store
	log     *slog.Logger
	echo    *echo.Echo
	http    *http.Server
	admin   *http.Server // for Config.AdminAddr
	metrics *metrics

	streamsPerAddress *addressLimit
	admit             *rate.Limiter // of new streams; nil: no limit
	clock             *demo.Clock
	tasks             *demo.Tasks

	draining atomic.Bool
	// drain ends when the streams are to end. It is held here because Shutdown ends all of them at once, while each request
	// has a context of its own.
	drain       context.Context
	endAll      context.CancelFunc
	streams     openStreams
	revocations *revocations                 // nil: there is no authentication
	tickets     *tickets                     // likewise
	loops       atomic.Pointer[writer.Loops] // nil: a goroutine for every stream
}

// New returns a Server on a broker and a store. The caller closes both, after Shutdown has returned.
func New(b *pubsub.Broker, s *store.Store, cfg Config, log *slog.Logger) *Server {
	srv := &Server{
		cfg: cfg, broker: b, store: s, log: log, clock: demo.NewClock(), tasks: demo.NewTasks(s, log),
		streamsPerAddress: newAddressLimit(cfg.MaxStreamsPerIP),
	}
	if cfg.AdmitRate > 0 {
		srv.admit = rate.NewLimiter(rate.Limit(cfg.AdmitRate), max(1, cfg.AdmitRate/10))
	}
	if a := cfg.Authenticator; a != nil {
		srv.revocations = newRevocations(s, a.Revocations(), log, func() { srv.loops.Load().Sweep() })
		srv.tickets = newTickets(s, srv.revocations.sweepAll)
		b.Before(srv.revocations.readAll)
	}
	srv.drain, srv.endAll = context.WithCancel(context.Background())
	srv.metrics = newMetrics(srv)
	srv.echo = srv.newEcho()
	srv.admin = srv.newAdmin()
	srv.http = &http.Server{
		Handler:           leaveTaken(srv.echo),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       15 * time.Second, // of a request with its body; streams lift it
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		// No WriteTimeout: it would cut every stream. Streams have a deadline per write.
	}
	return srv
}

// newEcho sets echo up: what every request passes through, and the routes.
func (s *Server) newEcho() *echo.Echo {
	e := s.bareEcho()
	if len(s.cfg.CORSOrigins) > 0 {
		e.Use(middleware.CORSWithConfig(middleware.CORSConfig{
			AllowOrigins:     s.cfg.CORSOrigins,
			AllowCredentials: true,
			AllowHeaders:     []string{"Content-Type", "Authorization", "Last-Event-ID", "Idempotency-Key", "Cache-Control"},
			ExposeHeaders:    []string{"Sluice-Replica", "Retry-After", "Idempotent-Replayed"},
			MaxAge:           3600,
		}))
	}
	e.Use(crossOrigin(s.cfg.CORSOrigins))
	s.routes(e)
	return e
}

// bareEcho returns echo without routes.
func (s *Server) bareEcho() *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.Logger.SetOutput(slog.NewLogLogger(s.log.Handler(), slog.LevelDebug).Writer())
	e.HTTPErrorHandler = s.handleError
	e.JSONSerializer = plainJSON{}
	e.IPExtractor = ipExtractor(s.cfg.TrustedProxies)
	e.Use(
		middleware.RecoverWithConfig(middleware.RecoverConfig{LogErrorFunc: func(_ echo.Context, err error, stack []byte) error {
			s.log.Error("panic in a handler", "error", err, "stack", string(stack))
			return echo.ErrInternalServerError
		}}),
		func(next echo.HandlerFunc) echo.HandlerFunc {
			return func(c echo.Context) error {
				c.Response().Header().Set("Sluice-Replica", s.broker.Replica())
				return next(c)
			}
		},
	)
	return e
}

// streamsPath begins the address of every stream.
const streamsPath = "/api/sse"

// routes are all addresses of the gateway. Everything under /api/ knows who asks.
func (s *Server) routes(e *echo.Echo) {
	get := func(path string, h echo.HandlerFunc) { e.GET(path, h, s.authenticate) }
	post := func(path string, h echo.HandlerFunc) { e.POST(path, h, s.authenticate) }

	get(streamsPath+"/time", s.streamTime)
	get(streamsPath+"/notifications", s.streamNotifications)
	get(streamsPath+"/activity", s.streamActivity)
	get(streamsPath+"/progress/:taskId", s.streamProgress)
	get(streamsPath+"/channels/:channel", s.streamChannel)
	get(streamsPath, s.streamChannels)

	get("/api/notifications", s.listNotifications)
	post("/api/notifications/create", s.createNotification)
	get("/api/activity", s.listActivity)
	post("/api/activity", s.createActivity)
	post("/api/tasks", s.createTask)
	get("/api/tasks/:taskId", s.getTask)
	e.PUT("/api/tasks/:taskId/progress", s.reportProgress, s.authenticate)
	get("/api/channels/:channel/events", s.listEvents)
	post("/api/channels/:channel/events", s.createEvent)
	get("/api/channels/:channel/rejected", s.listRejected)
	if s.revocations != nil {
		post("/api/revocations", s.revoke)
		post("/api/tickets", s.createTicket)
	}
	if s.cfg.Demo != off {
		post("/api/activity/simulate", s.simulateActivity)
		post("/api/tasks/start", s.startTask)
	}

	if s.cfg.AdminAddr == "" {
		s.operators(e)
	}
	if s.cfg.Console != off {
		pages, err := console.Handlers()
		if err != nil {
			panic("gateway: " + err.Error()) // the build is broken: every test of the console finds that
		}
		for address, page := range pages {
			e.Match([]string{http.MethodGet, http.MethodHead}, address, echo.WrapHandler(page))
		}
	}
}

// ServeHTTP answers one request; it is there for tests.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.echo.ServeHTTP(w, r) }

// Serve answers requests on l until Shutdown, and returns nil then.
func (s *Server) Serve(l net.Listener) error {
	stop := s.clock.Run()
	defer stop()
	if s.revocations != nil {
		defer s.revocations.run()()
		defer s.tickets.run()()
	}
	loops, err := s.startLoops()
	if err != nil {
		return err
	}
	s.http.ConnContext = withConnection
	s.loops.Store(loops)
	if s.draining.Load() { // Shutdown was called before there were loops, so it could not close them
		loops.Close()
	}
	if err := s.http.Serve(writer.Bound(l)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown ends the server without cutting anything off. The server immediately stops being ready and opens no more
// streams. It closes the open streams one after the other over the drain time. Shutdown returns when the last handler has
// returned, or when ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	began := time.Now()
	s.draining.Store(true)
	ended := s.streams.end() // no stream may open after this
	s.endAll()
	s.loops.Load().Drain(s.cfg.DrainTime)
	select {
	case <-ended:
	case <-ctx.Done():
	}
	s.loops.Load().Close()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	patience, cancel := context.WithTimeout(ctx, time.Until(began.Add(s.cfg.DrainTime)))
	defer cancel()
	s.tasks.Wait(patience)                   // after the handlers have returned, because a handler may start a task
	return errors.Join(err, s.admin.Close()) // last: until now operators may look on
}

// handleError answers for a handler that returned an error.
func (s *Server) handleError(err error, c echo.Context) {
	r := refusalOf(err)
	if r.cause != nil && c.Request().Context().Err() == nil {
		s.log.Warn("request failed", "method", c.Request().Method, "path", c.Path(), "error", r.cause)
	}
	if c.Response().Committed {
		return // a stream that has begun just ends
	}
	s.metrics.refused.WithLabelValues(r.Code).Inc()
	if err := writeRefusal(c, r); err != nil {
		s.log.Debug("refusal not written", "error", err)
	}
}

// ipExtractor finds the address of a client. It is the address at the other end of the connection, or, if a trusted proxy
// is there, the one that the proxy names in X-Forwarded-For.
func ipExtractor(trusted []netip.Prefix) echo.IPExtractor {
	if len(trusted) == 0 {
		return echo.ExtractIPDirect()
	}
	// echo trusts every private network unless told otherwise. Then whoever is in one could claim any address.
	options := []echo.TrustOption{
		echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false),
	}
	for _, p := range trusted {
		options = append(options, echo.TrustIPRange(&net.IPNet{
			IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
		}))
	}
	return echo.ExtractIPFromXFFHeader(options...)
}

// crossOrigin refuses requests with which a page of another origin makes a browser publish. It does not affect programs,
// because they send neither Origin nor Sec-Fetch-Site.
func crossOrigin(origins []string) echo.MiddlewareFunc {
	protection := http.NewCrossOriginProtection()
	for _, o := range origins {
		if err := protection.AddTrustedOrigin(o); err != nil {
			panic("gateway: " + err.Error()) // the settings are checked before (Config.Validate)
		}
	}
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if err := protection.Check(c.Request()); err != nil {
				return refuse(http.StatusForbidden, "cross_origin",
					"A page of another origin may not publish here; see GATEWAY_CORS_ORIGINS")
			}
			return next(c)
		}
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
