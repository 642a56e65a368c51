package gateway

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"sluice/pubsub"
	"sluice/store"
	"sluice/store/kind"
)

// refusal is an answer that is not what was asked for.
type refusal struct {
	status  int
	Message string   `json:"error"`
	Code    string   `json:"code"`
	Fields  []string `json:"fields,omitempty"`
	// retryAfter is the value of Retry-After in seconds; 0: no such header.
	retryAfter int
	cause      error
}

func (r *refusal) Error() string { return r.Message }
func (r *refusal) Unwrap() error { return r.cause }

// refuse makes a refusal.
func refuse(status int, code, message string) *refusal {
	return &refusal{status: status, Message: message, Code: code}
}

var (
	errNotFound = refuse(http.StatusNotFound, "not_found", "There is nothing at this address")
	errNoTask   = refuse(http.StatusNotFound, "task_not_found", "There is no such task, or it finished more than a minute ago")
	errTooLarge = refuse(http.StatusRequestEntityTooLarge, "too_large", "The body is too large")
	errDraining = &refusal{
		status: http.StatusServiceUnavailable, Code: "draining", Message: "This replica is stopping", retryAfter: 1,
	}
	errCrowded = &refusal{
		status: http.StatusServiceUnavailable, Code: "busy", Message: "Too many clients at once", retryAfter: 2,
	}
	errTooMany = &refusal{
		status: http.StatusTooManyRequests, Code: "too_many_streams", Message: "Too many connections", retryAfter: 10,
	}
)

// refusalOf is the one table from errors to answers. What it does not know is Redis's: the text of such an error is
// for our log, never for a client.
func refusalOf(err error) *refusal {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r
	}
	if i, ok := errors.AsType[*kind.InvalidError](err); ok {
		status := http.StatusBadRequest
		if i.Code == "too_large" {
			status = http.StatusRequestEntityTooLarge
		}
		return &refusal{status: status, Code: i.Code, Message: i.Message, Fields: i.Fields}
	}
	if h, ok := errors.AsType[*echo.HTTPError](err); ok {
		switch h.Code {
		case http.StatusNotFound:
			return errNotFound
		case http.StatusMethodNotAllowed:
			return refuse(h.Code, "method_not_allowed", "This method is not possible here")
		case http.StatusRequestEntityTooLarge:
			return errTooLarge
		case http.StatusInternalServerError:
			return refuse(h.Code, "internal", "Something went wrong in the gateway")
		default:
			return refuse(h.Code, "refused", http.StatusText(h.Code))
		}
	}
	switch {
	case errors.Is(err, pubsub.ErrTooMany):
		return errCrowded
	case errors.Is(err, store.ErrEnded):
		return refuse(http.StatusConflict, "task_ended", "The task has already ended")
	case errors.Is(err, store.ErrExists):
		return refuse(http.StatusConflict, "task_exists", "There is already a task with this id")
	case errors.Is(err, store.ErrUncertain):
		return &refusal{
			status: http.StatusServiceUnavailable, Code: "outcome_unknown", retryAfter: 1, cause: err,
			Message: "Redis did not answer in time. Repeat the request with the same Idempotency-Key",
		}
	default:
		return &refusal{
			status: http.StatusServiceUnavailable, Code: "unavailable", Message: "Redis does not answer", retryAfter: 1,
			cause: err,
		}
	}
}

// writeRefusal answers with a refusal as JSON.
func writeRefusal(c echo.Context, r *refusal) error {
	if r.retryAfter > 0 {
		c.Response().Header().Set("Retry-After", itoa(r.retryAfter))
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	if c.Request().Method == http.MethodHead {
		return c.NoContent(r.status)
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return c.JSONBlob(r.status, append(text, '\n'))
}
