package gateway

import (
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"sluice/gateway/wire"
	"sluice/store"
	"sluice/store/kind"
)

func (s *Server) createEvent(c echo.Context) error {
	channel, err := channelParam(c)
	if err != nil {
		return err
	}
	var event struct {
		Type string          `json:"type"`
		Data json.RawMessage `json:"data"`
	}
	if err := s.decode(c, &event); err != nil {
		return err
	}
	d, err := kind.DraftJSON(channel, event.Type, event.Data)
	if err != nil {
		return err
	}
	e, err := s.publish(c, d, store.AppendOptions{})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, publishedEvent(e))
}

func (s *Server) listEvents(c echo.Context) error {
	channel, err := channelParam(c)
	if err != nil {
		return err
	}
	if err := s.mayRead(c, channel); err != nil {
		return err
	}
	n, err := limitParam(c, 100, maxReplay)
	if err != nil {
		return err
	}
	page, err := s.page(c, channel, n)
	if err != nil {
		return err
	}
	answer := struct {
		Channel     string            `json:"channel"`
		Events      []json.RawMessage `json:"events"`                // oldest first
		LastEventID string            `json:"lastEventId,omitempty"` // the next page, or a stream, continues after it
		Gap         store.Reason      `json:"gap,omitempty"`         // why events are missing between "after" and the first of these
	}{Channel: channel, Events: []json.RawMessage{}, LastEventID: lastID(page.Tip), Gap: page.Gap}
	for _, e := range page.Events {
		answer.Events = append(answer.Events, wire.AppendEnvelope(nil, e))
		answer.LastEventID = e.ID()
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.JSON(http.StatusOK, answer)
}

// page returns the newest n events of a channel, or, if the request says after which event, the n that come after it.
func (s *Server) page(c echo.Context, channel string, n int) (store.Page, error) {
	after := c.QueryParam("after")
	if after == "" {
		h, err := s.store.Newest(c.Request().Context(), channel, n)
		return store.Page{Tip: h.Tip, Events: h.Events}, err
	}
	if id := store.ParseEventID(after, []string{channel}); id.Known[0] {
		return s.store.AfterPlace(c.Request().Context(), channel, id.Places[0], n)
	}
	return s.store.Oldest(c.Request().Context(), channel, n)
}

// listRejected answers with the raw messages of a channel that were not understood.
func (s *Server) listRejected(c echo.Context) error {
	channel, err := channelParam(c)
	if err != nil {
		return err
	}
	if err := s.mustBeAdmin(c); err != nil {
		return err
	}
	rejected, err := s.store.Rejected(c.Request().Context(), channel)
	if err != nil {
		return err
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.JSON(http.StatusOK, struct {
		Channel  string            `json:"channel"`
		Rejected []json.RawMessage `json:"rejected"` // newest first
	}{channel, rejected})
}
