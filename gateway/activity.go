package gateway

import (
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"sluice/gateway/demo"
	"sluice/store"
	"sluice/store/kind"
)

func (s *Server) createActivity(c echo.Context) error {
	var a kind.Activity
	if err := s.decode(c, &a); err != nil {
		return err
	}
	return s.publishActivity(c, a)
}

func (s *Server) publishActivity(c echo.Context, a kind.Activity) error {
	d, err := a.Draft()
	if err != nil {
		return err
	}
	e, err := s.publish(c, d, store.AppendOptions{})
	if err != nil {
		return err
	}
	answer := publishedEvent(e)
	answer.Activity = e.Data
	return c.JSON(http.StatusCreated, answer)
}

// simulateActivity publishes one made-up activity, for a demonstration.
func (s *Server) simulateActivity(c echo.Context) error { return s.publishActivity(c, demo.Activity()) }

func (s *Server) listActivity(c echo.Context) error {
	if err := s.mayRead(c, kind.Activities); err != nil {
		return err
	}
	n, err := limitParam(c, 50, 50)
	if err != nil {
		return err
	}
	h, err := s.store.Newest(c.Request().Context(), kind.Activities, n)
	if err != nil {
		return err
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.JSON(http.StatusOK, struct {
		Activities  []json.RawMessage `json:"activities"`
		LastEventID string            `json:"lastEventId,omitempty"`
	}{datas(h.Events), lastID(h.Tip)})
}
