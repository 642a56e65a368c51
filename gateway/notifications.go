package gateway

import (
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"sluice/store"
	"sluice/store/kind"
)

func (s *Server) createNotification(c echo.Context) error {
	var n kind.Notification
	if err := s.decode(c, &n); err != nil {
		return err
	}
	d, err := n.Draft()
	if err != nil {
		return err
	}
	e, err := s.publish(c, d, store.AppendOptions{})
	if err != nil {
		return err
	}
	answer := publishedEvent(e)
	answer.Notification = e.Data
	return c.JSON(http.StatusCreated, answer)
}

func (s *Server) listNotifications(c echo.Context) error {
	if err := s.mayRead(c, kind.Notifications); err != nil {
		return err
	}
	n, err := limitParam(c, 50, 50)
	if err != nil {
		return err
	}
	h, err := s.store.Newest(c.Request().Context(), kind.Notifications, n)
	if err != nil {
		return err
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.JSON(http.StatusOK, struct {
		Notifications []json.RawMessage `json:"notifications"`
		LastEventID   string            `json:"lastEventId,omitempty"` // a stream that resumes from it misses nothing
	}{datas(h.Events), lastID(h.Tip)})
}

// lastID returns the event id of a channel's newest position, or "" if it is not known: Redis has just been emptied.
func lastID(t store.Tip) string {
	if t.Base == (store.Nonce{}) {
		return ""
	}
	return t.Position.String()
}
