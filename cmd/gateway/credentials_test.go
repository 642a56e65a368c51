package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"sluice/cmd/internal/rig/rigtest"
	"sluice/store/storetest"
)

const tokenSecret = "0123456789abcdef0123456789abcdef"

// printed runs a command of the gateway and returns what it prints.
func printed(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if err := command(t.Context(), args, &out); err != nil {
		t.Fatalf("gateway %s: %v", strings.Join(args, " "), err)
	}
	return out.String()
}

func TestTheTokenAndTheKeyThatTheCommandsMakeLetIn(t *testing.T) {
	t.Setenv("GATEWAY_JWT_SECRET", tokenSecret)
	t.Setenv("GATEWAY_JWT_AUDIENCE", "sluice")
	lines := strings.Split(printed(t, "key", "shop", "orders.*", "/revoke"), "\n")
	key, isKey := strings.CutPrefix(lines[0], "KEY=")
	line, isLine := strings.CutPrefix(lines[1], "GATEWAY_API_KEYS='")
	line, quoted := strings.CutSuffix(line, "'")
	if !isKey || !isLine || !quoted || len(lines) != 3 {
		t.Fatalf("gateway key printed %q", lines)
	}
	g := launch(t, "REDIS_URL=redis://"+storetest.Mini(t).Addr, "DRAIN_TIME=0s", "JWT_SECRET="+tokenSecret, "JWT_AUDIENCE=sluice", "API_KEYS="+line)
	reader := strings.TrimSpace(printed(t, "token", "-sub", "ada@example.com", "-subscribe", "orders.*,time", "-for", "1m"))
	other := strings.TrimSpace(printed(t, "token", "-sub", "7"))
	admin := strings.TrimSpace(printed(t, "token", "-sub", "root", "-admin", "-publish", "x"))
	for _, test := range []struct {
		method, path, credential string
		status                   int
	}{
		{"POST", "/api/channels/orders.7/events", key, 201},
		{"POST", "/api/channels/bills/events", key, 403},
		{"GET", "/api/channels/orders.7/events", reader, 200},
		{"POST", "/api/channels/orders.7/events", reader, 403},
		{"GET", "/api/channels/orders.7/events", other, 403},
		{"GET", "/api/notifications", other, 200},
		{"GET", "/api/channels/orders.7/rejected", admin, 200},
		{"GET", "/api/notifications", "", 401},
	} {
		header := []string{"Authorization", "Bearer " + test.credential}
		if test.credential == "" {
			header = nil
		}
		if status, text := g.call(t, test.method, test.path, `{"data":1}`, header...); status != test.status {
			t.Errorf("%s %s: %d %s, want %d", test.method, test.path, status, text, test.status)
		}
	}
	for _, secret := range []string{tokenSecret, key, reader, line} {
		if strings.Contains(g.out.String(), secret) {
			t.Errorf("a credential is in the log:\n%s", g.out)
		}
	}
	if !strings.Contains(g.out.String(), "jwt,keys") {
		t.Errorf("the log does not say how people are let in:\n%s", g.out)
	}
}

func TestACredentialThatCannotBeMadeIsSaid(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"token"}, "-sub"},
		{[]string{"token", "-sub", "a b"}, "-sub"},
		{[]string{"token", "-sub", "ada"}, "GATEWAY_JWT_SECRET"},
		{[]string{"token", "-sub", "ada", "-for", "0s"}, "-for"},
		{[]string{"token", "-sub", "ada", "-subscribe", "a*b"}, "-subscribe"},
		{[]string{"token", "-sub", "ada", "more"}, "more"},
		{[]string{"token", "-user", "ada"}, "gateway token -h"},
		{[]string{"key", "shop"}, "pattern"},
		{[]string{"key", "a_b", "orders"}, "name of a key"},
	} {
		if err := command(t.Context(), test.args, io.Discard); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("gateway %q: got %v, want %q in it", test.args, err, test.want)
		}
	}
	t.Setenv("GATEWAY_ADDR", "nonsense")
	for _, args := range [][]string{{"token", "-h"}, {"key", "-h"}, {"key"}} {
		if text := printed(t, args...); !strings.Contains(text, "gateway "+args[0]+" ") {
			t.Errorf("gateway %q: %s", args, text)
		}
	}
}

func TestWithoutAuthenticationTheGatewayListensOnThisMachineOnly(t *testing.T) {
	redisURL := "GATEWAY_REDIS_URL=redis://" + storetest.Mini(t).Addr
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.com:0"} {
		err := run(t.Context(), configOf(t, redisURL, "GATEWAY_ADDR="+addr), io.Discard)
		if err == nil || !strings.HasPrefix(err.Error(), `GATEWAY_ADDR="`+addr) || !strings.Contains(err.Error(), "GATEWAY_AUTH=none") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v", addr, err)
		}
	}
	for name, environ := range map[string][]string{
		"this machine":          {"GATEWAY_ADDR=localhost:0"},
		"another loopback":      {"GATEWAY_ADDR=127.0.0.9:0"},
		"everybody, as is said": {"GATEWAY_ADDR=:0", "GATEWAY_AUTH=none"},
		"who has a token":       {"GATEWAY_ADDR=:0", "GATEWAY_JWT_SECRET=" + tokenSecret},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cfg := configOf(t, append(environ, redisURL, "GATEWAY_DRAIN_TIME=0s")...)
		cfg.listening = func(string) { cancel() }
		var out output
		if err := run(ctx, cfg, &out); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if said := strings.Contains(out.String(), "no authentication"); said != !cfg.Auth.On() {
			t.Errorf("%s: the log says of authentication:\n%s", name, &out)
		}
	}
}

func TestOperatorsHaveAnAddressOfTheirOwnIfTheSettingsSaySo(t *testing.T) {
	admin := rigtest.FreeAddress(t)
	g := start(t, "REDIS_URL=redis://"+storetest.Mini(t).Addr, "DRAIN_TIME=0s", "ADMIN_ADDR="+admin)
	inside := &instance{addr: admin}
	waitFor(t, "the gateway to be ready", func() bool { return inside.status(t, "/readyz") == http.StatusOK })
	if got := g.status(t, "/readyz"); got != http.StatusNotFound {
		t.Errorf("readyz at the address for everybody: %d", got)
	}
	p := program(t, []string{"healthcheck"}, "GATEWAY_ADDR="+g.addr, "GATEWAY_ADMIN_ADDR="+admin)
	if err := p.Run(); err != nil {
		t.Errorf("healthcheck: %v %s", err, p.err)
	}
	cfg := configOf(t, "GATEWAY_ADDR=127.0.0.1:0", "GATEWAY_ADMIN_ADDR="+admin, "GATEWAY_REDIS_URL=redis://"+storetest.Mini(t).Addr)
	if err := run(t.Context(), cfg, io.Discard); err == nil || !strings.HasPrefix(err.Error(), "GATEWAY_ADMIN_ADDR") {
		t.Errorf("an address that is taken: %v", err)
	}
}
