package gateway

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"sluice/gateway/wire"
	"sluice/gateway/writer"
	"sluice/pubsub"
	"sluice/store/kind"
)

// Bounds of a stream's request.
const (
	maxChannels   = 50 // on one connection: their positions must fit into a header
	maxReplay     = 1000
	maxTypes      = 50
	openTimeout   = 10 * time.Second // for the subscription to be confirmed
	admitPatience = 2 * time.Second  // how long a surplus stream waits before it is told to come back
)

// timeChannel is the name under which somebody may be allowed to read the time. Nothing is stored under it.
const timeChannel = "time"

func (s *Server) streamTime(c echo.Context) error {
	if err := s.mayRead(c, timeChannel); err != nil {
		return err
	}
	return s.stream(c, func(context.Context) (*pubsub.Stream, error) { return s.clock.Stream(), nil })
}

func (s *Server) streamNotifications(c echo.Context) error {
	return s.streamOf(c, []string{kind.Notifications}, wire.Plain{}, kind.Of(kind.Notifications).Replay)
}

func (s *Server) streamActivity(c echo.Context) error {
	return s.streamOf(c, []string{kind.Activities}, wire.Plain{}, kind.Of(kind.Activities).Replay)
}

func (s *Server) streamProgress(c echo.Context) error {
	taskID, err := taskParam(c)
	if err != nil {
		return err
	}
	channel := kind.TaskChannel(taskID)
	return s.streamOf(c, []string{channel}, wire.Plain{}, kind.Of(channel).Replay)
}

func (s *Server) streamChannel(c echo.Context) error {
	channel, err := channelParam(c)
	if err != nil {
		return err
	}
	return s.streamOf(c, []string{channel}, wire.Plain{}, 0)
}

func (s *Server) streamChannels(c echo.Context) error {
	channels, err := list(c, "channels", maxChannels, kind.CheckChannel)
	if err != nil {
		return err
	}
	if len(channels) == 0 {
		return missing("channels")
	}
	return s.streamOf(c, channels, wire.Envelope{}, 0)
}

// channelParam returns the channel named in the request's path. echo hands path parameters out as they were sent, and
// encodeURIComponent sends orders:7 as orders%3A7.
func channelParam(c echo.Context) (string, error) {
	channel, err := url.PathUnescape(c.Param("channel"))
	if err != nil {
		channel = c.Param("channel") // CheckChannel refuses it, because it contains a %
	}
	return channel, kind.CheckChannel(channel)
}

// taskParam returns the id of the task named in the request's path.
func taskParam(c echo.Context) (string, error) {
	taskID, err := url.PathUnescape(c.Param("taskId"))
	if err != nil {
		taskID = c.Param("taskId")
	}
	return taskID, kind.CheckTaskID(taskID)
}

// list reads a query parameter of comma-separated names, each of them once. The parameter may be given several times.
func list(c echo.Context, parameter string, most int, check func(string) error) ([]string, error) {
	text := strings.Join(c.QueryParams()[parameter], ",")
	if text == "" {
		return nil, nil
	}
	names := strings.Split(text, ",")
	if len(names) > most {
		return nil, badRequest("too_many_"+parameter, fmt.Sprintf("At most %d %s are possible", most, parameter), parameter)
	}
	for _, n := range names {
		if err := check(n); err != nil {
			return nil, err
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(names))), nil
}

// streamOf streams channels. replay is how many stored events a client gets when it connects for the first time and
// does not ask for another number.
func (s *Server) streamOf(c echo.Context, channels []string, encoder pubsub.Encoder, replay int) error {
	if err := s.mayRead(c, channels...); err != nil {
		return err
	}
	types, err := list(c, "types", maxTypes, kind.CheckType)
	if err != nil {
		return err
	}
	if text := c.QueryParam("replay"); text != "" {
		if replay, err = number("replay", text, maxReplay); err != nil {
			return err
		}
	}
	r := pubsub.Request{Channels: channels, Types: types, Encoder: encoder, Replay: replay}
	if r.LastEventID = c.Request().Header.Get("Last-Event-ID"); r.LastEventID == "" {
		r.LastEventID = c.QueryParam("lastEventId")
	}
	return s.stream(c, func(ctx context.Context) (*pubsub.Stream, error) { return s.broker.Open(ctx, r) })
}

// number reads a query parameter that is a number from 0 to most.
func number(parameter, text string, most int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return 0, badRequest("invalid_"+parameter, fmt.Sprintf("%s is a number from 0 to %d", parameter, most), parameter)
	}
	return n, nil
}

// stream does what all streams have in common: it checks whether this client may have one, opens it, and hands it to a
// writer.
func (s *Server) stream(c echo.Context, open func(context.Context) (*pubsub.Stream, error)) error {
	if s.draining.Load() {
		return s.comeBack(c, errDraining)
	}
	if s.revocations != nil {
		if err := s.revocations.wait(c.Request().Context()); err != nil {
			return s.comeBack(c, refusalOf(err))
		}
		if who := s.who(c); s.revocations.known.Revoked(&who) {
			return errRevoked
		}
	}
	release, ok := s.streamsPerAddress.acquire(c.RealIP())
	if !ok {
		return errTooMany
	}
	st, err := s.openStream(c, open)
	if errors.Is(err, pubsub.ErrEnded) {
		release()
		return c.NoContent(http.StatusNoContent) // tells EventSource to stop (WHATWG HTML 9.2.3)
	}
	if err != nil {
		release()
		if s.draining.Load() {
			err = errDraining
		}
		return s.comeBack(c, refusalOf(err))
	}
	l, err := s.useTicket(c)
	if err != nil {
		st.Close()
		release()
		return s.comeBack(c, refusalOf(err))
	}
	if !s.streams.open() {
		st.Close()
		release()
		s.releaseTicket(l)
		return s.comeBack(c, errDraining)
	}
	s.metrics.opened.Inc()
	path := c.Path() // echo reuses c once this handler has returned
	s.carry(c, st, l, func(reason error) {
		s.releaseTicket(l)
		st.Close()
		release()
		if errors.Is(reason, writer.ErrUnavailable) {
			s.log.Warn("stream ended", "path", path, "error", reason)
		}
		s.metrics.closed.WithLabelValues(closeReason(reason)).Inc()
		s.streams.close()
	})
	return nil
}

// openStream opens a stream, once the admission limit allows it.
func (s *Server) openStream(c echo.Context, open func(context.Context) (*pubsub.Stream, error)) (*pubsub.Stream, error) {
	ctx, cancel := context.WithTimeout(c.Request().Context(), openTimeout)
	defer cancel()
	defer context.AfterFunc(s.drain, cancel)() // a stream that is still opening must not delay Shutdown
	if s.admit != nil && !s.admit.Allow() {
		patient, stop := context.WithTimeout(ctx, admitPatience)
		defer stop()
		if s.admit.Wait(patient) != nil {
			return nil, errCrowded
		}
	}
	return open(ctx)
}

// comeBack refuses a stream so that the client comes back. EventSource gives up for good on any status but 200, so an
// EventSource that is connected directly gets a stream that only says when to come back. A proxy that sets Sluice-Edge
// makes that stream itself; it gets the 503, so that it can try another replica first.
func (s *Server) comeBack(c echo.Context, r *refusal) error {
	eventSource := c.Request().Header.Get("Accept") == "text/event-stream"
	if r.status != http.StatusServiceUnavailable || !eventSource || c.Request().Header.Get("Sluice-Edge") != "" {
		return r
	}
	if r.cause != nil && c.Request().Context().Err() == nil {
		s.log.Warn("stream not opened", "path", c.Path(), "error", r.cause)
	}
	s.metrics.refused.WithLabelValues(r.Code).Inc()
	setStreamHeaders(c.Response().Header())
	if _, err := c.Response().Write(wire.AppendRetry(wire.AppendComment(nil, r.Message), s.retry())); err != nil {
		return err
	}
	if err := http.NewResponseController(c.Response()).Flush(); err != nil {
		return err
	}
	breakOff() // the stream has not ended, it has not begun
	return nil
}

func setStreamHeaders(h http.Header) {
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no")
}

// retry returns the reconnection time for one client. It is random, so that clients that lose a replica at the same
// time come back at different times.
func (s *Server) retry() time.Duration {
	return s.cfg.Retry/2 + rand.N(s.cfg.Retry+1)
}

// closeReason returns the label of a stream's end. Every other reason counts as the client's.
func closeReason(err error) string {
	switch {
	case errors.Is(err, pubsub.ErrTooSlow):
		return "too_slow"
	case errors.Is(err, pubsub.ErrEnded):
		return "ended"
	case errors.Is(err, writer.ErrRevoked):
		return "revoked"
	case errors.Is(err, writer.ErrExpired):
		return "expired"
	case errors.Is(err, writer.ErrDraining):
		return "draining"
	case errors.Is(err, writer.ErrUnavailable):
		return "unavailable"
	default:
		return "client"
	}
}
