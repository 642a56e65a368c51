package gateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"sluice/gateway/writer"
	"sluice/pubsub"
)

// The values of Config.Writer.
const (
	WriterAuto      = "auto"      // epoll where it is possible, for every connection it is possible for
	WriterEpoll     = "epoll"     // the same, but the server does not start where epoll is not possible
	WriterGoroutine = "goroutine" // a goroutine for every stream
)

// startLoops starts the loops that carry streams, unless the settings or the system want a goroutine for each stream: then
// it returns nil.
func (s *Server) startLoops() (*writer.Loops, error) {
	if s.cfg.Writer == WriterGoroutine {
		return nil, nil
	}
	loops, err := writer.StartLoops(s.writerConfig())
	switch {
	case !errors.Is(err, errors.ErrUnsupported):
		return loops, err
	case s.cfg.Writer == WriterEpoll:
		return nil, errors.New("GATEWAY_WRITER=epoll is possible on Linux only")
	default:
		return nil, nil
	}
}

func (s *Server) writerConfig() writer.Config {
	cfg := writer.Config{Heartbeat: s.cfg.Heartbeat, Retry: s.retry}
	if s.revocations != nil {
		cfg.Revoked, cfg.Swept = s.revocations.ends, s.revocations.swept
	}
	return cfg
}

// carry hands a stream to a loop if there are loops and the connection is one for them. Otherwise it writes the stream right
// here, and returns when the stream is over. l is the stream's ticket, if it has one. done is called once, at
// its end.
func (s *Server) carry(c echo.Context, st *pubsub.Stream, l *lease, done func(reason error)) {
	setStreamHeaders(c.Response().Header())
	stream := writer.Stream{Source: s.owned(c, st, l), Feeds: st.Feeds(), Expires: expires(s.who(c).Until, time.Now()), Done: done}
	if s.handOver(c, stream) {
		return
	}
	reason := s.carryHere(c, stream)
	done(reason)
	if !errors.Is(reason, pubsub.ErrEnded) && !errors.Is(reason, writer.ErrRevoked) {
		breakOff()
	}
}

// breakOff ends a response without its last chunk (HTTP/1.1) or by RST_STREAM (HTTP/2). It does not return. A client takes a
// clean end for the end of the stream for good, so only a stream that has ended for good ends cleanly.
func breakOff() { panic(http.ErrAbortHandler) } // net/http's own way, and it logs nothing

// handOver gives the connection to a loop. It returns false, and has done nothing, if the connection is not plain HTTP/1.x.
//
// A client of HTTP/1.0 gets a response that ends with the connection (RFC 9112, section 6.3). It cannot tell the end of a
// stream from a connection that broke.
func (s *Server) handOver(c echo.Context, st writer.Stream) bool {
	loops := s.loops.Load()
	r := c.Request()
	if loops == nil || r.ProtoMajor != 1 {
		return false
	}
	k, ok := r.Context().Value(connectionKey{}).(*connection)
	if !ok {
		return false
	}
	chunked := r.ProtoAtLeast(1, 1)
	k.taken = true
	loops.Take(k.tcp, responseHead(c.Response().Header(), chunked), chunked, st)
	return true
}

// connection is a TCP connection that a loop may take over. The context of its requests has it.
type connection struct {
	tcp   *net.TCPConn
	taken bool // only the goroutine that serves the connection uses it
}

type connectionKey struct{}

// withConnection is the ConnContext of the http.Server. Of a TLS connection a loop can make nothing.
func withConnection(ctx context.Context, conn net.Conn) context.Context {
	if tcp, ok := conn.(*net.TCPConn); ok {
		return context.WithValue(ctx, connectionKey{}, &connection{tcp: tcp})
	}
	return ctx
}

// leaveTaken ends a request whose connection a loop has taken. net/http writes nothing then, and closes its own descriptor
// of the socket; the loop has another one. Hijack would do the same, but it leaves three buffers of 4 KiB to the garbage
// collector for each connection. With them a connect took 8 to 10 % more CPU time.
func leaveTaken(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		if k, ok := r.Context().Value(connectionKey{}).(*connection); ok && k.taken {
			breakOff()
		}
	})
}

// responseHead returns the status line and the header fields of a stream's response.
//
// A chunked response does not say "Connection: close", although it is the last one on its connection: Node's fetch takes
// whatever ends such a response for a clean end, and clients built on it would not come back.
func responseHead(header http.Header, chunked bool) []byte {
	b := append(make([]byte, 0, 512), "HTTP/1.1 200 OK\r\n"...)
	field := func(name, value string) {
		b = append(append(append(append(b, name...), ": "...), lines.Replace(value)...), "\r\n"...)
	}
	field("Date", time.Now().UTC().Format(http.TimeFormat))
	if chunked {
		field("Transfer-Encoding", "chunked")
	} else {
		field("Connection", "close")
	}
	for name, values := range header {
		for _, v := range values {
			field(name, v)
		}
	}
	return append(b, "\r\n"...)
}

// lines takes line breaks out of the value of a header field, as net/http does: what follows one would be a field of its own.
var lines = strings.NewReplacer("\r", " ", "\n", " ")

// carryHere writes a stream with the handler's goroutine, over HTTP/1.1 or HTTP/2, and returns why it ended.
func (s *Server) carryHere(c echo.Context, st writer.Stream) error {
	rc := http.NewResponseController(c.Response())
	if err := rc.SetReadDeadline(time.Time{}); err != nil { // the deadline would end the request's context
		return err
	}
	c.Response().WriteHeader(http.StatusOK)
	to := responseConn{c.Response(), rc}
	return writer.Carry(c.Request().Context(), to, st, s.writerConfig(),
		writer.Drain{Begin: s.drain, Time: s.cfg.DrainTime})
}

// responseConn is a response as a writer sees it.
type responseConn struct {
	http.ResponseWriter
	rc *http.ResponseController
}

// Flush implements writer.Conn.
func (r responseConn) Flush() error { return r.rc.Flush() }

// SetWriteDeadline implements writer.Conn.
func (r responseConn) SetWriteDeadline(t time.Time) error { return r.rc.SetWriteDeadline(t) }
