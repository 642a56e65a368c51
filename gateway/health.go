package gateway

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// healthz answers that the process works. It does not ask Redis, because a restart of the gateway does not repair
// Redis.
func (s *Server) healthz(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]string{"status": "ok"})
}

// refusedPublish is what readyz says of a Redis that takes no events.
type refusedPublish struct {
	Message string    `json:"error"`
	Code    string    `json:"code"`
	At      time.Time `json:"at"`
}

// readyz says whether this replica should get traffic, and if not, why.
//
// A Redis that refuses events, because it is full for example, is no reason: every replica has the same Redis, and streams
// and reads go on. If all replicas were taken out of service, nobody would be served, and publishers would not be told why.
// The answer has the refusal of the newest publish as "refused" then.
func (s *Server) readyz(c echo.Context) error {
	c.Response().Header().Set("Cache-Control", "no-store")
	answer := struct {
		Status  string `json:"status"`
		Reason  string `json:"reason,omitempty"`
		Replica string `json:"replica"`

		Refused *refusedPublish `json:"refused,omitempty"`
	}{Status: "ready", Replica: s.broker.Replica()}
	if r := s.store.Refusal(); r != nil {
		answer.Refused = &refusedPublish{Message: r.Message, Code: r.Code, At: r.At.UTC().Truncate(time.Second)}
	}
	status := http.StatusOK
	if s.draining.Load() {
		answer.Status, answer.Reason, status = "draining", errDraining.Message, http.StatusServiceUnavailable
	} else if err := s.broker.Ready(); err != nil {
		answer.Status, answer.Reason, status = "not ready", err.Error(), http.StatusServiceUnavailable
	}
	return c.JSON(status, answer)
}
