package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"sluice/gateway/wire"
	"sluice/pubsub"
)

// The ways to write streams.
const (
	WriterAuto      = "auto"      // epoll where it is possible, for every connection it is possible for
	WriterEpoll     = "epoll"     // the same, but refuse to start where it is not possible
	WriterGoroutine = "goroutine" // a goroutine for every stream: any system, HTTP/2, TLS
)

const (
	writeTimeout = 10 * time.Second // of one write to a stalled client
	endDelay     = time.Second      // between a feed's last frame and the end of the stream
)

// carried is a stream in the hands of a writer.
type carried struct {
	stream *pubsub.Stream
	first  []byte             // to be written before anything else; the stream's Start is in it
	done   func(reason error) // to be called once, when the stream is over
}

// carry writes the stream: in a loop if there are loops and the connection is one for them, else right here, until it
// is over.
func (s *Server) carry(c echo.Context, st carried) {
	if s.loops.Load().take(c, st) {
		return
	}
	st.done(s.write(c, st))
}

// write is the portable writer: the handler's goroutine carries the stream, over HTTP/1.1 or HTTP/2, until the client
// leaves, the feed ends, or the server drains. It returns why.
func (s *Server) write(c echo.Context, st carried) error {
	ctx := c.Request().Context()
	rc := http.NewResponseController(c.Response())
	if err := rc.SetReadDeadline(time.Time{}); err != nil { // it would end the request's context
		return err
	}
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
	leave := func() error { return errors.Join(errDraining, send(wire.AppendRetryFrame(nil, s.retry()))) }
	stream := st.stream
	if err := send(st.first); err != nil {
		return err
	}
	st.first = nil // it may be large, and the stream long

	heartbeat := time.NewTimer(s.cfg.Heartbeat)
	defer heartbeat.Stop()
	var end <-chan time.Time  // set while the server drains
	var waiting <-chan error  // set while the stream's next part cannot be made yet
	var grown <-chan struct{} // set while the stream waits for its feed
	drain := s.drain.Done()
	for {
		select { // also while the stream is always a little behind
		case <-drain:
			drain = nil
			end = time.After(drainDelay(s.cfg.DrainTime))
		case <-end:
			return leave()
		default:
		}
		var due []byte
		switch {
		case waiting != nil:
		case !stream.More:
			var err error
			if due, err = stream.Feed.After(stream.Cursor); errors.Is(err, pubsub.ErrEnded) {
				return errors.Join(err, sleep(ctx, endDelay))
			} else if err != nil {
				return err
			}
			if len(due) == 0 {
				grown = stream.Feed.Changed(stream.Cursor)
			}
			stream.Cursor += int64(len(due))
		case stream.Next():
			due, stream.Start = stream.Start, nil
		default:
			result := make(chan error, 1)
			go func() { result <- waitForNext(ctx, stream) }()
			waiting = result
		}
		if len(due) > 0 {
			if err := send(due); err != nil {
				return err
			}
			heartbeat.Reset(s.cfg.Heartbeat)
			continue
		}
		select {
		case err := <-waiting:
			if waiting = nil; err != nil {
				return cmp.Or(ctx.Err(), err)
			}
		case <-grown:
		case <-heartbeat.C:
			if err := send([]byte(wire.Heartbeat)); err != nil {
				return err
			}
			heartbeat.Reset(s.cfg.Heartbeat)
		case <-drain: // the look above sees it
		case <-end:
			return leave()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// errNoNext is why a stream ends whose client has missed something that cannot be read now.
var errNoNext = errors.New("what comes next cannot be read")

// waitForNext returns when the stream's next part can be made.
func waitForNext(ctx context.Context, stream *pubsub.Stream) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := stream.Wait(ctx); err != nil {
		return fmt.Errorf("%w: %w", errNoNext, err)
	}
	return nil
}

// sendBuffer is what the kernel keeps for a client that does not take it; behind that, the feed's limit counts. Left to
// itself, the kernel keeps megabytes for each client that stalls.
const sendBuffer = 128 << 10

// boundSendBuffer is an http.Server's ConnContext.
func boundSendBuffer(ctx context.Context, conn net.Conn) context.Context {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(sendBuffer) // a connection that refuses works all the same
	}
	return ctx
}

// drainDelay is when one stream is closed after draining began: they are spread over most of the drain time, so that
// clients do not arrive at the other replicas all at once. The rest of the time is for the last ones to get out.
func drainDelay(drainTime time.Duration) time.Duration { return rand.N(drainTime*3/4 + 1) }

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
