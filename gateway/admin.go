package gateway

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/labstack/echo/v4"
)

// operators are the addresses for those who operate the gateway, and for what watches it.
func (s *Server) operators(e *echo.Echo) {
	read := []string{http.MethodGet, http.MethodHead}
	e.Match(read, "/healthz", s.healthz)
	e.Match(read, "/readyz", s.readyz)
	e.Match(read, "/metrics", echo.WrapHandler(s.metrics.handler()))
}

// newAdmin returns the server for Config.AdminAddr. Whoever reaches it may see everything there: it asks for no credential,
// so that a probe needs none.
func (s *Server) newAdmin() *http.Server {
	e := s.bareEcho()
	s.operators(e)
	for path, handler := range map[string]http.HandlerFunc{
		"/debug/pprof/*": pprof.Index, "/debug/pprof/cmdline": pprof.Cmdline, "/debug/pprof/profile": pprof.Profile,
		"/debug/pprof/symbol": pprof.Symbol, "/debug/pprof/trace": pprof.Trace,
	} {
		e.GET(path, echo.WrapHandler(handler))
	}
	return &http.Server{
		Handler: e, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 15 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		// No WriteTimeout: a profile takes as long as was asked for.
	}
}

// ServeAdmin answers operators' requests on l until Shutdown, and returns nil then. It is there for Config.AdminAddr.
func (s *Server) ServeAdmin(l net.Listener) error {
	if err := s.admin.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
