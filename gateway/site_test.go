package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/tmaxmax/go-sse"

	"sluice/gateway"
	"sluice/pubsub"
	"sluice/store"
)

// site is one gateway with a Redis of its own. All of it talks over pipes, so that it can live in a bubble of
// testing/synctest: a minute of silence takes no time there, and "nothing more comes" is known instead of waited for.
// The whole program on real sockets is tested in cmd/gateway.
type site struct {
	t      *testing.T
	mini   *miniredis.Miniredis
	rdb    *redis.Client
	server *gateway.Server
	front  *pipes // to the gateway
	back   *wires // to Redis
	stop   func() error
}

// serve runs test in a bubble with a gateway that has the settings given; the zero value gets the usual ones.
func serve(t *testing.T, cfg gateway.Config, test func(t *testing.T, s *site)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		// The bubble's time runs on while anything ticks, so a test that hangs would spin. The panic shows where.
		hanging := time.AfterFunc(15*time.Minute, func() { panic(t.Name() + " hangs") })
		t.Cleanup(func() { hanging.Stop() })
		s := newSite(t, cfg)
		s.waitReady()
		test(t, s)
	})
}

// newSite starts a gateway with a Redis of its own; it may not be ready yet.
func newSite(t *testing.T, cfg gateway.Config) *site {
	t.Helper()
	mini := miniredis.NewMiniRedis()
	mini.ClockTTL(true)
	t.Cleanup(mini.Close)
	return newReplica(t, "replica-1", cfg, mini)
}

// maxBodyBytes is how large a body may be.
const maxBodyBytes = 65536

// newReplica starts a gateway on a Redis.
func newReplica(t *testing.T, name string, cfg gateway.Config, mini *miniredis.Miniredis) *site {
	t.Helper()
	cfg.Writer = gateway.WriterGoroutine // sockets and bubbles do not go together
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = 30 * time.Second
	}
	if cfg.Retry == 0 {
		cfg.Retry = 3 * time.Second
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))

	logging.Disable() // go-redis's own, of each failed connection
	s := &site{t: t, mini: mini, front: newPipes(), back: &wires{mini: mini}}
	s.rdb = redis.NewClient(&redis.Options{
		Dialer: s.back.dial, ContextTimeoutEnabled: true, DialerRetries: 1, MaxRetries: -1, PipelinePoolSize: -1,
		ReadTimeout: 4 * time.Second, WriteTimeout: 4 * time.Second,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	events := store.New(s.rdb, store.Config{HistorySize: 5, HistoryTTL: time.Hour, MaxBodyBytes: maxBodyBytes})
	broker := pubsub.NewBroker(s.rdb, events, pubsub.Config{Replica: name, FeedBytes: 1 << 20}, log)
	s.server = gateway.New(broker, events, cfg, log)

	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { broker.Run(ctx) })
	if a := cfg.Authenticator; a != nil {
		wg.Go(func() { a.Run(ctx) })
	}
	wg.Go(func() {
		if err := s.server.Serve(s.front); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	var result error
	ended := make(chan struct{})
	end := sync.OnceFunc(func() {
		go func() {
			defer close(ended)
			patience, done := context.WithTimeout(context.Background(), cfg.DrainTime+5*time.Second)
			defer done()
			result = s.server.Shutdown(patience)
			cancel()
			wg.Wait()
		}()
	})
	s.stop = func() error { // a second caller waits too, but at no mutex: that would stop the bubble's time
		end()
		<-ended
		return result
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		s.front.closeIdle()
		_ = s.rdb.Close()
	})
	return s
}

// waitReady returns when the gateway takes streams.
func (s *site) waitReady() {
	s.t.Helper()
	s.until("the gateway to be ready", func() bool { return s.get("/readyz").Status == http.StatusOK })
}

// until polls, in the bubble's time.
func (s *site) until(what string, ok func() bool) {
	s.t.Helper()
	for began := time.Now(); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			s.t.Fatalf("waited a minute for %s", what)
		}
	}
}

// answer is a response that was read to its end.
type answer struct {
	Status int
	Header http.Header
	Body   string // without the line end
}

// get asks for an address of the gateway.
func (s *site) get(path string, header ...string) answer {
	s.t.Helper()
	return s.do(http.MethodGet, path, "", header...)
}

// post publishes. When it returns, the event has reached everybody it is going to reach without waiting.
func (s *site) post(path, body string, header ...string) answer {
	s.t.Helper()
	a := s.do(http.MethodPost, path, body, header...)
	synctest.Wait()
	return a
}

// do sends a request; names and values of header alternate. X-Test-Peer is the address the connection comes from.
func (s *site) do(method, path, body string, header ...string) answer {
	s.t.Helper()
	resp, err := s.front.client.Do(s.request(s.t.Context(), method, path, body, header...))
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatalf("%s %s: body: %v", method, path, err)
	}
	return answer{Status: resp.StatusCode, Header: resp.Header, Body: strings.TrimSpace(string(text))}
}

func (s *site) request(ctx context.Context, method, path, body string, header ...string) *http.Request {
	s.t.Helper()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	peer := "192.0.2.1:40000"
	req, err := http.NewRequestWithContext(ctx, method, "http://gateway.test"+path, content)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		switch header[i] {
		case "X-Test-Peer":
			peer = header[i+1]
		case "Host":
			req.Host = header[i+1]
		default:
			req.Header.Add(header[i], header[i+1])
		}
	}
	return req.WithContext(context.WithValue(req.Context(), peerKey{}, peer))
}

// stream is an open stream, read by a parser that is not ours.
type stream struct {
	answer
	t      *testing.T
	events chan sse.Event
	raw    *buffer // every byte that came
	Close  func()
}

// open opens a stream. If it is refused, the answer is in it.
func (s *site) open(path string, header ...string) *stream {
	s.t.Helper()
	st, err := s.tryOpen(path, header...)
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

// tryOpen is open for goroutines of a test.
func (s *site) tryOpen(path string, header ...string) (*stream, error) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	resp, err := s.front.client.Do(s.request(ctx, http.MethodGet, path, "", header...))
	if err != nil {
		cancel()
		return nil, err
	}
	st := &stream{
		answer: answer{Status: resp.StatusCode, Header: resp.Header}, t: s.t, events: make(chan sse.Event, 10_000), raw: &buffer{},
	}
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		text, _ := io.ReadAll(resp.Body)
		st.Body = strings.TrimSpace(string(text))
		st.Close = func() {}
		_ = resp.Body.Close()
		cancel()
		return st, nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(st.events)
		for e, err := range sse.Read(io.TeeReader(resp.Body, st.raw), &sse.ReadConfig{MaxEventSize: 1 << 20}) {
			if err != nil {
				return
			}
			st.events <- e
		}
	}()
	st.Close = sync.OnceFunc(func() { cancel(); _ = resp.Body.Close(); <-done })
	s.t.Cleanup(st.Close)
	return st, nil
}

// isOurs reports whether an event only tells the client its place. It fails the test for a block without data, which some
// clients hand to their user: no stream may have one.
func (st *stream) isOurs(e sse.Event) bool {
	st.t.Helper()
	if e.Data == "" {
		st.t.Errorf("a block without data in %q", st.raw)
	}
	return e.Type == "position"
}

// next returns the next event that is not only a position.
func (st *stream) next() sse.Event {
	st.t.Helper()
	timeout := time.After(time.Minute)
	for {
		select {
		case e, open := <-st.events:
			if !open {
				st.t.Fatalf("the stream ended (status %d, %s)", st.Status, st.Body)
			}
			if !st.isOurs(e) {
				return e
			}
		case <-timeout:
			st.t.Fatalf("no event came in a minute; status %d %s; so far: %q", st.Status, st.Body, st.raw)
		}
	}
}

// quiet returns the events but positions that have come and were not taken yet. Whatever was on its way has arrived by then.
func (st *stream) quiet() []sse.Event {
	st.t.Helper()
	time.Sleep(3 * time.Second) // of the bubble: raw messages may be held back for a second
	synctest.Wait()
	var all []sse.Event
	for {
		select {
		case e, open := <-st.events:
			if !open {
				return all
			}
			if !st.isOurs(e) {
				all = append(all, e)
			}
		default:
			return all
		}
	}
}

// ended waits for the end of the stream and returns the events but positions that came before it.
func (st *stream) ended() []sse.Event {
	st.t.Helper()
	var all []sse.Event
	timeout := time.After(2 * time.Minute)
	for {
		select {
		case e, open := <-st.events:
			if !open {
				return all
			}
			if !st.isOurs(e) {
				all = append(all, e)
			}
		case <-timeout:
			st.t.Fatalf("the stream did not end; so far: %q", st.raw)
		}
	}
}

// buffer is safe for concurrent use.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// wires connect the gateway with Redis, and can be cut.
type wires struct {
	mini *miniredis.Miniredis

	mu    sync.Mutex
	away  error         // why Redis cannot be reached; guarded by mu
	hung  chan struct{} // closed when what was sent goes on its way; nil: at once; guarded by mu
	conns []net.Conn    // guarded by mu
}

func (w *wires) dial(context.Context, string, string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away != nil {
		return nil, w.away
	}
	c, err := w.mini.Dial()
	if err != nil {
		return nil, err
	}
	b := newBuffered(c, w.wait)
	w.conns = append(w.conns, b)
	return b, nil
}

// buffered is a connection that takes what is written at once, as a socket does: a client that sends many commands
// before it reads the first reply would wait for ever at a bare pipe.
type buffered struct {
	net.Conn
	mu      sync.Mutex
	pending []byte        // guarded by mu
	signal  chan struct{} // 1: pending is not empty
	done    chan struct{}
	close   func() error
}

// newBuffered returns a buffered connection over c. Before each write it calls wait.
func newBuffered(c net.Conn, wait func(done <-chan struct{})) *buffered {
	b := &buffered{Conn: c, signal: make(chan struct{}, 1), done: make(chan struct{})}
	b.close = sync.OnceValue(func() error { close(b.done); return c.Close() })
	go func() {
		for {
			select {
			case <-b.done:
				return
			case <-b.signal:
			}
			wait(b.done)
			b.mu.Lock()
			due := b.pending
			b.pending = nil
			b.mu.Unlock()
			if _, err := c.Write(due); err != nil {
				_ = b.Close()
				return
			}
		}
	}()
	return b
}

func (b *buffered) Write(p []byte) (int, error) {
	select {
	case <-b.done:
		return 0, net.ErrClosed
	default:
	}
	b.mu.Lock()
	b.pending = append(b.pending, p...)
	b.mu.Unlock()
	select {
	case b.signal <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (b *buffered) SetDeadline(t time.Time) error  { return b.SetReadDeadline(t) }
func (*buffered) SetWriteDeadline(time.Time) error { return nil }
func (b *buffered) Close() error                   { return b.close() }

// cut takes Redis away.
func (w *wires) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.away = error(&net.OpError{Op: "dial", Net: "tcp", Err: errors.New("redis-secret-host:6379: connection refused")})
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

// hang makes Redis hang, as SIGSTOP does: what is sent stays on its way.
func (w *wires) hang() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hung = make(chan struct{})
}

// wait returns when Redis does not hang, or done is closed.
func (w *wires) wait(done <-chan struct{}) {
	w.mu.Lock()
	hung := w.hung
	w.mu.Unlock()
	if hung == nil {
		return
	}
	select {
	case <-hung:
	case <-done:
	}
}

// mend brings Redis back, with all its data.
func (w *wires) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.away = nil
	if w.hung != nil {
		close(w.hung)
		w.hung = nil
	}
}

// pipes is a listener whose connections are pipes, and the HTTP client at their other ends.
type pipes struct {
	accepted chan net.Conn
	done     chan struct{}
	close    func()
	client   *http.Client
}

type peerKey struct{}

func newPipes() *pipes {
	p := &pipes{accepted: make(chan net.Conn), done: make(chan struct{})}
	p.close = sync.OnceFunc(func() { close(p.done) })
	p.client = &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, // each request has a connection, so that each can come from an address of its own
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			peer, _ := ctx.Value(peerKey{}).(string)
			return p.dial(ctx, peer)
		},
	}}
	return p
}

// dial connects as a client at the address peer.
func (p *pipes) dial(ctx context.Context, peer string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.accepted <- pipe{theirs, peer}:
		return ours, nil
	case <-p.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) closeIdle() { p.client.CloseIdleConnections() }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accepted:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { p.close(); return nil }

func (p *pipes) Addr() net.Addr { return address("gateway.test:80") }

// pipe is the server's end of a connection, from an address of the test's choice.
type pipe struct {
	net.Conn
	peer string
}

func (p pipe) RemoteAddr() net.Addr { return address(p.peer) }

// CloseWrite has net/http wait for half a second before it closes a connection on which it has refused a body, as it does on
// TCP. Otherwise the client, which is still writing that body, may get an error instead of the answer.
func (p pipe) CloseWrite() error { return nil }

type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

// metric returns a figure of /metrics, as text.
func (s *site) metric(name string) string {
	s.t.Helper()
	for line := range strings.Lines(s.get("/metrics").Body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	s.t.Fatalf("there is no metric %s", name)
	return ""
}
