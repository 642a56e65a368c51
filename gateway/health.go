package gateway

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// healthz answers that the process works. It does not ask Redis, because a restart of the gateway does not repair
// Redis.
func (s *Server) healthz(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]string{"status": "ok"})
}

// readyz says whether this replica should get traffic, and if not, why.
func (s *Server) readyz(c echo.Context) error {
	c.Response().Header().Set("Cache-Control", "no-store")
	answer := struct {
		Status  string `json:"status"`
		Reason  string `json:"reason,omitempty"`
		Replica string `json:"replica"`
	}{Status: "ready", Replica: s.broker.Replica()}
	status := http.StatusOK
	if s.draining.Load() {
		answer.Status, answer.Reason, status = "draining", errDraining.Message, http.StatusServiceUnavailable
	} else if err := s.broker.Ready(); err != nil {
		answer.Status, answer.Reason, status = "not ready", err.Error(), http.StatusServiceUnavailable
	}
	return c.JSON(status, answer)
}
