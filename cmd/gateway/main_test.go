package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tmaxmax/go-sse"
)

// output collects what a gateway prints; it is safe for concurrent use.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// instance is a whole gateway running inside the test.
type instance struct {
	addr string
	out  *output
	stop func() error // ends it as a SIGTERM would, and returns what run returned
}

// launch starts a gateway on a free port with the settings given ("NAME=value", without the prefix), and returns when
// it is ready.
func launch(t testing.TB, settings ...string) *instance {
	t.Helper()
	g := start(t, settings...)
	waitFor(t, "the gateway to be ready", func() bool { return g.status(t, "/readyz") == http.StatusOK })
	return g
}

// start is launch for a gateway that is not going to be ready: it returns when the gateway listens.
func start(t testing.TB, settings ...string) *instance {
	t.Helper()
	environ := []string{"GATEWAY_ADDR=127.0.0.1:0"}
	if writer := os.Getenv("SLUICE_TEST_WRITER"); writer != "" { // .ci/run runs the suite for each
		environ = append(environ, "GATEWAY_WRITER="+writer)
	}
	for _, s := range settings {
		environ = append(environ, "GATEWAY_"+s)
	}
	cfg := configOf(t, environ...)
	ctx, cancel := context.WithCancel(context.Background())
	listening, ended := make(chan string, 1), make(chan error, 1)
	cfg.listening = func(addr string) { listening <- addr }
	g := &instance{out: &output{}}
	go func() { ended <- run(ctx, cfg, g.out) }()
	g.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		if err := g.stop(); err != nil {
			t.Errorf("the gateway ended with %v", err)
		}
		if t.Failed() {
			t.Logf("the gateway printed:\n%s", g.out)
		}
	})
	select {
	case g.addr = <-listening:
	case err := <-ended:
		ended <- err
		t.Fatalf("the gateway did not start: %v", err)
	}
	return g
}

// startGateway starts a gateway on a Redis and returns its address.
func startGateway(t testing.TB, redisURL string) string {
	t.Helper()
	return launch(t, "REDIS_URL="+redisURL, "DRAIN_TIME=0s").addr
}

// waitFor polls until ok is true.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
		time.Sleep(5 * time.Millisecond) // between two tries of a poll
	}
}

func (g *instance) status(t testing.TB, path string) int {
	t.Helper()
	resp, err := http.Get("http://" + g.addr + path)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// call sends a request and returns status and body.
func (g *instance) call(t testing.TB, method, path, body string, header ...string) (int, string) {
	t.Helper()
	req := httptest.NewRequest(method, "http://"+g.addr+path, strings.NewReader(body))
	req.RequestURI = ""
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(text))
}

// client is one connected stream, read by a parser that is not ours.
type client struct {
	t      testing.TB
	Header http.Header
	Status int
	events chan sse.Event
	close  func()
}

// connect opens a stream; lastEventID "" is a first connect.
func (g *instance) connect(t testing.TB, path, lastEventID string) *client {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	if lastEventID != "" {
		req.Header.Set("Last-Event-ID", lastEventID)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	c := &client{t: t, Header: resp.Header, Status: resp.StatusCode, events: make(chan sse.Event, 10_000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(c.events)
		for e, err := range sse.Read(resp.Body, nil) {
			if err != nil {
				return
			}
			c.events <- e
		}
	}()
	c.close = sync.OnceFunc(func() { cancel(); resp.Body.Close(); <-done })
	t.Cleanup(c.close)
	return c
}

// isOurs reports whether an event only tells the client its place. No stream may have a block without data.
func (c *client) isOurs(e sse.Event) bool {
	c.t.Helper()
	if e.Data == "" {
		c.t.Errorf("a block without data: %+v", e)
	}
	return e.Type == "position"
}

// next returns the next event that is not only a position.
func (c *client) next() sse.Event {
	c.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case e, open := <-c.events:
			if !open {
				c.t.Fatal("the stream ended")
			}
			if !c.isOurs(e) {
				return e
			}
		case <-timeout:
			c.t.Fatal("no event came")
		}
	}
}

// ended waits for the end of the stream and returns the events but positions that came before.
func (c *client) ended() []sse.Event {
	c.t.Helper()
	var all []sse.Event
	timeout := time.After(20 * time.Second)
	for {
		select {
		case e, open := <-c.events:
			if !open {
				return all
			}
			if !c.isOurs(e) {
				all = append(all, e)
			}
		case <-timeout:
			c.t.Fatal("the stream did not end")
		}
	}
}

// configOf loads the settings that these variables ("NAME=value") make. envconfig reads the process's environment, so
// they are in it for as long as that takes.
func configOf(t testing.TB, environ ...string) Config {
	t.Helper()
	cfg, err := loadWith(environ...)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

var environment sync.Mutex

func loadWith(environ ...string) (Config, error) {
	environment.Lock()
	defer environment.Unlock()
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		old, was := os.LookupEnv(name)
		_ = os.Setenv(name, value)
		defer func() {
			_ = os.Unsetenv(name)
			if was {
				_ = os.Setenv(name, old)
			}
		}()
	}
	return loadConfig()
}
