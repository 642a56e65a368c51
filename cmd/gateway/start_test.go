package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"sluice/cmd/internal/rig/rigtest"
	"sluice/store/storetest"
)

func TestAnAddressInUseIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().String()
	for name, environ := range map[string][]string{
		"embedded Redis": {"GATEWAY_ADDR=" + addr},
		"another Redis":  {"GATEWAY_ADDR=" + addr, "GATEWAY_REDIS_URL=redis://" + storetest.Mini(t).Addr},
	} {
		err := run(t.Context(), configOf(t, environ...), io.Discard)
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "GATEWAY_ADDR") || !strings.Contains(err.Error(), addr) {
			t.Errorf("%s: got %v, want GATEWAY_ADDR and %s in it", name, err, addr)
		}
	}
}

func TestTheEmbeddedRedisTakesTheNextFreePort(t *testing.T) {
	// Somebody has the usual port: we, or whoever was there before.
	if l, err := net.Listen("tcp", embeddedAddr); err == nil {
		defer l.Close()
	}
	one, two := launch(t), launch(t)
	first, second := one.redisAddr(t), two.redisAddr(t)
	if first == embeddedAddr || second == embeddedAddr || first == second {
		t.Errorf("the gateways have Redis at %s and %s, but %s is taken", first, second, embeddedAddr)
	}
	for g, addr := range map[*instance]string{one: first, two: second} {
		rdb := redis.NewClient(&redis.Options{Addr: addr})
		defer rdb.Close()
		c := g.connect(t, "/api/sse/channels/orders", "")
		raw(t, rdb, "orders", addr)
		if e := c.next(); e.Data != `"`+addr+`"` {
			t.Errorf("the Redis at %s is another gateway's: %+v", addr, e)
		}
		if host, _, _ := net.SplitHostPort(addr); host != "127.0.0.1" {
			t.Errorf("the embedded Redis listens on %s", addr)
		}
	}
}

// What the start prints is for people to paste.
func TestTheCommandsPrintedAtTheStartWork(t *testing.T) {
	rigtest.Need(t, "curl")
	rigtest.Need(t, "redis-cli")
	g := launch(t)
	command := func(label string) string {
		found := regexp.MustCompile(`(?m)^ +` + label + `: +(.+)$`).FindStringSubmatch(g.out.String())
		if found == nil {
			t.Fatalf("no line %q in\n%s", label, g.out)
		}
		return found[1]
	}
	var shown output
	watch := exec.CommandContext(t.Context(), "sh", "-c", "exec "+command("Watch"))
	watch.Stdout = &shown
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "curl to connect", func() bool { return strings.Contains(shown.String(), "id: ") })
	if text, err := exec.CommandContext(t.Context(), "sh", "-c", command("Publish")).CombinedOutput(); err != nil || strings.TrimSpace(string(text)) == "0" {
		t.Errorf("publish: %s, %v", text, err)
	}
	waitFor(t, "curl to show the event", func() bool { return strings.Contains(shown.String(), "Hello from Redis") })
	if err := g.stop(); err != nil {
		t.Error(err)
	}
	const partial = 18 // curl's exit code for a response that was cut short: the stream has not ended for good
	if err := watch.Wait(); watch.ProcessState.ExitCode() != partial {
		t.Errorf("curl: %v, want exit code %d", err, partial)
	}
	for _, what := range []string{"Console  http://" + g.addr + "/", "/api/sse/notifications", "forgets everything", "Ctrl-C"} {
		if !strings.Contains(g.out.String(), what) {
			t.Errorf("%q is not printed:\n%s", what, g.out)
		}
	}
}

func TestWithoutRedisTheGatewayStartsWaitsAndSaysWhy(t *testing.T) {
	addr := rigtest.FreeAddress(t)
	g := start(t, "REDIS_URL=redis://"+addr, "DRAIN_TIME=0s", "LOG_FORMAT=text")
	status, text := g.call(t, http.MethodGet, "/readyz", "")
	if status != http.StatusServiceUnavailable || decode(t, text)["reason"] == nil || decode(t, text)["status"] != "not ready" {
		t.Errorf("readyz: %d %s, want 503 and a reason", status, text)
	}
	if got := g.status(t, "/healthz"); got != http.StatusOK {
		t.Errorf("healthz: %d", got)
	}
	if status, text := g.call(t, http.MethodPost, "/api/channels/orders/events", `{"data":1}`); status != http.StatusServiceUnavailable {
		t.Errorf("publish: %d %s", status, text)
	}
	waitFor(t, "it to be said", func() bool {
		return strings.Contains(g.out.String(), "waiting for Redis") && strings.Contains(g.out.String(), addr)
	})
}

func TestANodeOfARedisClusterIsRefusedAtStart(t *testing.T) {
	server := storetest.Real(t, "--cluster-enabled", "yes")
	err := run(t.Context(), configOf(t, "GATEWAY_ADDR=127.0.0.1:0", "GATEWAY_REDIS_URL=redis://"+server.Addr, "GATEWAY_DRAIN_TIME=0s"), io.Discard)
	if !errors.Is(err, errCluster) || !strings.Contains(err.Error(), "GATEWAY_REDIS_URL="+server.Addr) {
		t.Errorf("got %v, want errCluster and the address", err)
	}
}

func TestRedisMayComeLater(t *testing.T) {
	server := storetest.Real(t)
	server.Real.Kill()
	g := start(t, "REDIS_URL=redis://"+server.Addr, "DRAIN_TIME=0s")
	if got := g.status(t, "/readyz"); got != http.StatusServiceUnavailable {
		t.Errorf("readyz: %d", got)
	}
	server.Real.Start(t)
	waitFor(t, "the gateway to be ready", func() bool { return g.status(t, "/readyz") == http.StatusOK })
	c := g.connect(t, "/api/sse/notifications", "")
	raw(t, server.Client(t), "notifications", "hello")
	c.next()
}

func TestAGatewayToldToGiveUpOnRedisDoesAndSaysSo(t *testing.T) {
	addr := rigtest.FreeAddress(t)
	cfg := configOf(t, "GATEWAY_ADDR=127.0.0.1:0", "GATEWAY_REDIS_URL=redis://:secret@"+addr, "GATEWAY_REDIS_WAIT=100ms")
	var out output
	err := run(t.Context(), cfg, &out)
	if err == nil || !strings.Contains(err.Error(), "GATEWAY_REDIS_WAIT=100ms") || !strings.Contains(err.Error(), addr) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want one line with GATEWAY_REDIS_WAIT and %s", err, addr)
	}
	if strings.Contains(out.String()+err.Error(), "secret") {
		t.Errorf("the password was shown: %v\n%s", err, &out)
	}
}

func TestAGatewayDoesNotStartOnWhatAnotherVersionWrote(t *testing.T) {
	server := storetest.Real(t)
	server.Client(t).Set(t.Context(), "shop:format", "99", 0)
	cfg := configOf(t, "GATEWAY_ADDR=127.0.0.1:0", "GATEWAY_REDIS_URL=redis://"+server.Addr, "GATEWAY_PREFIX=shop", "GATEWAY_DRAIN_TIME=0s")
	err := run(t.Context(), cfg, &output{})
	for _, want := range []string{`GATEWAY_PREFIX="shop"`, `shop:format is "99"`, "another database"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s in it", err, want)
		}
	}
	if keys := server.Client(t).Keys(t.Context(), "*").Val(); len(keys) != 1 {
		t.Errorf("it wrote: %v", keys)
	}
	launch(t, "REDIS_URL=redis://"+server.Addr, "DRAIN_TIME=0s") // with the prefix that nobody wrote under
}

func TestAWrongPasswordIsSaidAndNotTakenForAnswering(t *testing.T) {
	server := storetest.Real(t)
	if err := server.Client(t).ConfigSet(t.Context(), "requirepass", "right").Err(); err != nil {
		t.Fatal(err)
	}
	g := start(t, "REDIS_URL=redis://:wrong@"+server.Addr, "DRAIN_TIME=0s")
	waitFor(t, "it to be said", func() bool {
		_, text := g.call(t, http.MethodGet, "/readyz", "")
		return strings.Contains(text, "WRONGPASS")
	})
	right := launch(t, "REDIS_URL=redis://:right@"+server.Addr, "DRAIN_TIME=0s")
	right.post(t, "/api/channels/orders/events", `{"data":1}`)
	for _, out := range []string{g.out.String(), right.out.String()} {
		if strings.Contains(out, "wrong@") || strings.Contains(out, "right@") {
			t.Errorf("a password is in the log:\n%s", out)
		}
	}
}

func TestAGatewayStoppedWhileItWaitsForRedisEndsWithoutAnError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cfg := configOf(t, "GATEWAY_ADDR=127.0.0.1:0", "GATEWAY_REDIS_URL=redis://"+rigtest.FreeAddress(t), "GATEWAY_DRAIN_TIME=0s")
	cfg.listening = func(string) { cancel() }
	if err := run(ctx, cfg, io.Discard); err != nil {
		t.Errorf("got %v", err)
	}
}

// Browsers open connections in advance. net/http waits for the first request on them, five seconds and some.
func TestAConnectionWithoutARequestDoesNotMakeTheEndAnError(t *testing.T) {
	t.Parallel() // it mostly waits
	g := launch(t, "REDIS_URL=redis://"+storetest.Mini(t).Addr, "DRAIN_TIME=0s")
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	g.status(t, "/healthz") // the connection before this one has been accepted now
	if err := g.stop(); err != nil {
		t.Errorf("run: %v", err)
	}
}

// A client that is refused a stream comes back only if it does not take the refusal for the end.
func TestARefusedStreamIsBrokenOffAndDoesNotSayThatItsConnectionIsClosed(t *testing.T) {
	t.Parallel() // it mostly waits
	g := start(t, "REDIS_URL=redis://"+rigtest.FreeAddress(t), "DRAIN_TIME=0s")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+g.addr+"/api/sse/notifications", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) || resp.Close || resp.StatusCode != http.StatusOK {
		t.Errorf("got %s, Connection: close %v, ended with %v; want 200 and no clean end", resp.Status, resp.Close, err)
	}
}

func TestARedisThatHangsDoesNotHoldThePublisherOrTheEndUp(t *testing.T) {
	t.Parallel() // it mostly waits
	server := storetest.Real(t)
	g := launch(t, "REDIS_URL=redis://"+server.Addr, "DRAIN_TIME=0s")
	c := g.connect(t, "/api/sse/channels/orders", "")
	server.Real.Signal(t, syscall.SIGSTOP)
	t.Cleanup(server.Real.Kill)
	status, text := g.call(t, http.MethodPost, "/api/channels/orders/events", `{"data":1}`)
	if status != http.StatusServiceUnavailable {
		t.Errorf("publish: %d %s, want 503", status, text)
	}
	if err := g.stop(); err != nil {
		t.Errorf("run: %v", err)
	}
	c.ended()
}
