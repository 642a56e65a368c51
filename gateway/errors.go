package gateway

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"sluice/gateway/auth"
	"sluice/pubsub"
	"sluice/store"
	"sluice/store/kind"
)

// refusal is the answer to a request that the gateway does not carry out. A client gets its exported fields as JSON.
type refusal struct {
	status     int
	Message    string   `json:"error"`
	Code       string   `json:"code"`
	Fields     []string `json:"fields,omitempty"` // of the request: those that are missing or wrong
	retryAfter int      // seconds for the Retry-After header; 0: no such header
	cause      error    // for the gateway's log, never for a client
}

func (r *refusal) Error() string { return r.Message }
func (r *refusal) Unwrap() error { return r.cause }

// refuse makes a refusal for which there is no constructor below.
func refuse(status int, code, message string) *refusal {
	return &refusal{status: status, Message: message, Code: code}
}

// badRequest makes the refusal of a request that is wrong in itself. fields are the parts of it in question, if any.
func badRequest(code, message string, fields ...string) *refusal {
	return &refusal{status: http.StatusBadRequest, Message: message, Code: code, Fields: fields}
}

// missing makes the refusal of a request that lacks a query parameter. For fields of the body there is kind.Missing.
func missing(parameter string) *refusal {
	return badRequest(kind.MissingFields, "The query parameter "+parameter+" is required", parameter)
}

// unavailable makes the refusal of a request that may be repeated after so many seconds.
func unavailable(code, message string, retryAfter int, cause error) *refusal {
	return &refusal{
		status: http.StatusServiceUnavailable, Code: code, Message: message, retryAfter: retryAfter, cause: cause,
	}
}

var (
	errNotFound    = refuse(http.StatusNotFound, "not_found", "This address does not exist")
	errNoTask      = refuse(http.StatusNotFound, "task_not_found", "There is no such task, or it finished more than a minute ago")
	errDraining    = unavailable("draining", "This replica is stopping", 1, nil)
	errCrowded     = unavailable("busy", "Too many clients at once", 2, nil)
	errUnknown     = refuse(http.StatusUnauthorized, "unauthenticated", "A credential is needed: a token, an API key or a session")
	errNoAdmin     = refuse(http.StatusForbidden, "forbidden", "Only an admin may do this")
	errRevoked     = refuse(http.StatusUnauthorized, "revoked", "The credential was revoked: sign in again")
	errBlind       = unavailable("revocations_unknown", "This replica does not know at the moment what is revoked", 1, nil)
	errManyTickets = &refusal{
		status: http.StatusTooManyRequests, Code: "too_many_tickets", Message: "Too many tickets", retryAfter: 1,
	}
	errTooMany = &refusal{
		status: http.StatusTooManyRequests, Code: "too_many_streams", Message: "Too many connections", retryAfter: 10,
	}
)

// refusalOf is the one table from errors to answers. An error that is not in the table counts as an error of Redis.
func refusalOf(err error) *refusal {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r
	}
	if d, ok := errors.AsType[*auth.DeniedError](err); ok {
		if d.Status == http.StatusServiceUnavailable {
			return unavailable(d.Code, d.Message, 2, nil)
		}
		return refuse(d.Status, d.Code, d.Message)
	}
	if i, ok := errors.AsType[*kind.InvalidError](err); ok {
		return badRequest(i.Code, i.Message, i.Fields...)
	}
	if h, ok := errors.AsType[*echo.HTTPError](err); ok {
		switch h.Code {
		case http.StatusNotFound:
			return errNotFound
		case http.StatusMethodNotAllowed:
			return refuse(h.Code, "method_not_allowed", "This address does not accept this method")
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
	case errors.Is(err, store.ErrManyRevocations):
		return unavailable("too_many_revocations", "100,000 revocations are kept already", 60, err)
	case errors.Is(err, store.ErrUncertain):
		return unavailable("outcome_unknown",
			"It is not known whether the event is stored. Repeat the request with the same Idempotency-Key", 1, err)
	default:
		trouble := store.TroubleOf(err)
		return unavailable(trouble.Code, trouble.Message, 1, err)
	}
}

// writeRefusal answers with a refusal as JSON.
func writeRefusal(c echo.Context, r *refusal) error {
	if r.retryAfter > 0 {
		c.Response().Header().Set("Retry-After", itoa(r.retryAfter))
	}
	if r.status == http.StatusUnauthorized {
		c.Response().Header().Set("WWW-Authenticate", "Bearer") // RFC 9110, section 15.5.2
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
