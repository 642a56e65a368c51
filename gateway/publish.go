package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"sluice/store"
	"sluice/store/kind"
)

// maxIdempotencyKey bounds an Idempotency-Key, in bytes. A client may choose any text.
const maxIdempotencyKey = 255

// body reads the body of a request. One that is larger than the settings allow is refused.
func (s *Server) body(c echo.Context) ([]byte, error) {
	// net/http's own writer, not echo's, is told that the body is too large. Then it waits for a moment before it closes the
	// connection, and the client, which is still writing, gets the answer and not a reset.
	w := c.Response().Writer
	text, err := io.ReadAll(http.MaxBytesReader(w, c.Request().Body, int64(s.store.MaxBodyBytes())))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, refuse(http.StatusRequestEntityTooLarge, "too_large",
			fmt.Sprintf("The body has more than %d bytes", s.store.MaxBodyBytes()))
	}
	if err != nil {
		return nil, badRequest("incomplete_body", "The body did not arrive whole")
	}
	return text, nil
}

// decode reads the body of a request, a JSON object, into v, a pointer to a struct.
func (s *Server) decode(c echo.Context, v any) error {
	text, err := s.body(c)
	if err != nil {
		return err
	}
	return kind.DecodeObject(text, v)
}

// idempotencyKey returns the Idempotency-Key of a request with its route and its sender: the same key on two routes, or of two
// senders, is two keys. Otherwise a guessed key would show another one's event. It returns "" if the request has none.
func (s *Server) idempotencyKey(c echo.Context) (string, error) {
	key := c.Request().Header.Get("Idempotency-Key")
	if key == "" {
		return "", nil
	}
	if len(key) > maxIdempotencyKey {
		return "", badRequest("invalid_idempotency_key",
			fmt.Sprintf("An Idempotency-Key has at most %d bytes", maxIdempotencyKey))
	}
	sender := ""
	if who := s.who(c); who.Known() && s.cfg.Authenticator != nil {
		sender = "\n" + who.Subject + "\n" + who.Key // no header has a line end, so the parts stay apart
	}
	return c.Path() + " " + key + sender, nil
}

// publish stores and announces a draft, if the sender may publish on its channel. If an earlier request with the same
// Idempotency-Key did that, publish returns the event of that request, and the answer gets the header Idempotent-Replayed.
func (s *Server) publish(c echo.Context, d kind.Draft, o store.AppendOptions) (store.Event, error) {
	if err := s.mayPublish(c, d.Channel); err != nil {
		return store.Event{}, err
	}
	key, err := s.idempotencyKey(c)
	if err != nil {
		return store.Event{}, err
	}
	o.IdempotencyKey = key
	e, again, err := s.store.Append(c.Request().Context(), d, o)
	if err != nil {
		return store.Event{}, err
	}
	if again {
		c.Response().Header().Set("Idempotent-Replayed", "true")
	} else {
		s.metrics.published.Inc()
	}
	return e, nil
}

// published is the answer to a request that publishes.
type published struct {
	Success      bool            `json:"success"`
	ID           string          `json:"id"`
	Time         int64           `json:"time"`
	Channel      string          `json:"channel"`
	Notification json.RawMessage `json:"notification,omitempty"`
	Activity     json.RawMessage `json:"activity,omitempty"`
}

func publishedEvent(e store.Event) published {
	return published{Success: true, ID: e.ID(), Time: e.Time, Channel: e.Channel}
}

// datas returns the data of events, newest first, because that is the order in which pages show them.
func datas(events []store.Event) []json.RawMessage {
	all := make([]json.RawMessage, 0, len(events))
	for _, e := range slices.Backward(events) {
		all = append(all, e.Data)
	}
	return all
}

// limitParam returns the query parameter "limit", a number up to most, or standard if the request has none.
func limitParam(c echo.Context, standard, most int) (int, error) {
	text := c.QueryParam("limit")
	if text == "" {
		return standard, nil
	}
	return number("limit", text, most)
}

// plainJSON is echo's serializer without the escaping of < > and &, because published data is returned byte for byte.
type plainJSON struct{ echo.DefaultJSONSerializer }

// Serialize writes v as JSON.
func (plainJSON) Serialize(c echo.Context, v any, indent string) error {
	e := json.NewEncoder(c.Response())
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	return e.Encode(v)
}
