package gateway

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"sluice/pubsub"
)

const (
	writeTimeout = 10 * time.Second // of one write to a stalled client
	endDelay     = time.Second      // between a feed's last frame and the end of the stream
)

// write is the portable writer: the handler's goroutine carries the stream, over HTTP/1.1 or HTTP/2, until the client
// leaves, the feed ends, or the server drains. It returns why.
func (s *Server) write(c echo.Context, st *pubsub.Stream) error {
	ctx := c.Request().Context()
	rc := http.NewResponseController(c.Response())
	setStreamHeaders(c.Response().Header())
	c.Response().WriteHeader(http.StatusOK)
	send := func(b []byte) error {
		if err := rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if _, err := c.Response().Write(b); err != nil {
			return err
		}
		return rc.Flush()
	}
	if err := send(append(appendRetry(nil, s.retry(), false), st.Start...)); err != nil {
		return err
	}
	st.Start = nil // it may be large, and the stream long

	heartbeat := time.NewTimer(s.cfg.Heartbeat)
	defer heartbeat.Stop()
	var end <-chan time.Time // set while the server drains
	drain := s.drain.Done()
	for cursor := st.Cursor; ; {
		due, err := st.Feed.After(cursor)
		if len(due) > 0 {
			if err := send(due); err != nil {
				return err
			}
			cursor += int64(len(due))
			heartbeat.Reset(s.cfg.Heartbeat)
			continue
		}
		if errors.Is(err, pubsub.ErrEnded) {
			return errors.Join(err, sleep(ctx, endDelay))
		}
		if err != nil {
			return err
		}
		select {
		case <-st.Feed.Changed(cursor):
		case <-heartbeat.C:
			if err := send([]byte(heartbeatFrame)); err != nil {
				return err
			}
			heartbeat.Reset(s.cfg.Heartbeat)
		case <-drain:
			drain = nil
			end = time.After(rand.N(s.cfg.DrainTime*3/4 + 1))
		case <-end:
			return errors.Join(errDraining, send(appendRetry(nil, s.retry(), true)))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sleep waits for d, or less if ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
