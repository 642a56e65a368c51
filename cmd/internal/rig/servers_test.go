package rig_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/cmd/internal/rig"
	"sluice/cmd/internal/rig/rigtest"
)

func TestProgramsRunWithoutTheSettingsOfTheShell(t *testing.T) {
	harmful := []string{"GATEWAY_DEMO", "GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG"}
	for _, name := range harmful {
		t.Setenv(name, "")
	}
	t.Setenv("SOMETHING_ELSE", "stays")
	env := rig.Environment("GATEWAY_ADDR=:1")
	for _, name := range harmful {
		if slices.Contains(env, name+"=") {
			t.Errorf("%s is passed on", name)
		}
	}
	if !slices.Contains(env, "SOMETHING_ELSE=stays") || env[len(env)-1] != "GATEWAY_ADDR=:1" {
		t.Errorf("got %q", env)
	}
}

func TestAFreeAddressIsBelowThePortsOfOutgoingConnections(t *testing.T) {
	for range 50 {
		address, err := rig.FreeAddress()
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatalf("the address is not free: %v", err)
		}
		if port := l.Addr().(*net.TCPAddr).Port; port < 15_000 || port >= 30_000 {
			t.Errorf("port %d", port)
		}
		l.Close()
	}
}

func TestWaitingEndsWithTheLastComplaint(t *testing.T) {
	tries := 0
	err := rig.Until(t.Context(), 10*time.Second, func(context.Context) error {
		if tries++; tries < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil || tries != 3 {
		t.Errorf("%d tries, %v", tries, err)
	}
	err = rig.Until(t.Context(), 30*time.Millisecond, func(ctx context.Context) error {
		if tries++; tries == 4 {
			return errors.New("the port is closed")
		}
		<-ctx.Done() // the last try is cut short
		return ctx.Err()
	})
	if err == nil || err.Error() != "the port is closed (waited up to 30ms)" {
		t.Errorf("got %v", err)
	}
	tries = 0
	err = rig.Until(t.Context(), time.Hour, func(context.Context) error {
		tries++
		return fmt.Errorf("server: %w", rig.ErrEnded)
	})
	if !errors.Is(err, rig.ErrEnded) || tries != 1 {
		t.Errorf("waiting for a process that has ended: %d tries, %v", tries, err)
	}
}

func TestReadinessAndMetricsAreReadByHTTP(t *testing.T) {
	asked := 0
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/metrics":
			fmt.Fprint(w, "# HELP a_b x\na_bc 1\na_b{x=\"y\"} 2\na_b 3.5\n")
		case asked < 2:
			asked++
			http.Error(w, "starting", http.StatusServiceUnavailable)
		}
	}))
	defer web.Close()
	p := shell(t, group(t), "replica", "exec sleep 600")
	if _, err := rig.Get(t.Context(), web.URL+"/readyz"); err == nil || !strings.HasSuffix(err.Error(), "/readyz: 503 Service Unavailable: starting") {
		t.Errorf("got %v", err)
	}
	if err := rig.AwaitReady(t.Context(), p, web.URL, 10*time.Second); err != nil || asked != 2 {
		t.Errorf("%v after %d refusals", err, asked)
	}
	if v, err := rig.Metric(t.Context(), web.URL, "a_b"); err != nil || v != 3.5 {
		t.Errorf("got %v, %v", v, err)
	}
	if v, err := rig.Metric(t.Context(), web.URL, `a_b{x="y"}`); err != nil || v != 2 {
		t.Errorf("got %v, %v", v, err)
	}
	for name, want := range map[string]float64{"a_b": 5.5, "a_bc": 1, "a": 0} {
		if v, err := rig.MetricSum(t.Context(), web.URL, name); err != nil || v != want {
			t.Errorf("the sum of %s is %v, %v", name, v, err)
		}
	}
	if _, err := rig.Metric(t.Context(), web.URL, "a"); err == nil {
		t.Error("a metric that is not there has a value")
	}
	_ = p.Kill()
	if err := rig.AwaitReady(t.Context(), p, web.URL, time.Hour); !errors.Is(err, rig.ErrEnded) {
		t.Errorf("waiting for a replica that has ended: %v", err)
	}
}

func TestABuildCanHaveChangedSourcesAndEmbeddedFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	rigtest.Need(t, "go")
	root, err := filepath.Abs("testdata/hello")
	if err != nil {
		t.Fatal(err)
	}
	build := func(changes ...rig.Change) (string, error) {
		dir := t.TempDir()
		b := rig.Binary{Package: "sluice/cmd/internal/rig/testdata/hello"}
		if len(changes) > 0 {
			if b.Overlay, err = rig.Overlay(root, dir, changes); err != nil {
				return "", err
			}
		}
		program, err := b.Build(t.Context(), dir)
		if err != nil {
			return "", err
		}
		out, err := exec.CommandContext(t.Context(), program).Output()
		return string(out), err
	}
	for _, test := range []struct {
		name    string
		changes []rig.Change
		want    string
	}{
		{"nothing is changed", nil, "hello world\n"},
		{"a source file", []rig.Change{{"main.go", `"hello "`, `"bye "`}}, "bye world\n"},
		{"two places of a file", []rig.Change{{"main.go", `"hello "`, `"bye "`}, {"main.go", `"bye "`, `"see you "`}}, "see you world\n"},
		{"an embedded file of a folder", []rig.Change{{"text/name.txt", "world", "moon"}}, "hello moon\n"},
		{"both", []rig.Change{{"main.go", `"hello "`, `"bye "`}, {"text/name.txt", "world", "moon"}}, "bye moon\n"},
	} {
		if out, err := build(test.changes...); out != test.want || err != nil {
			t.Errorf("%s: the program says %q, %v; want %q", test.name, out, err, test.want)
		}
	}
}

func TestAChangeWhosePlaceIsNotFoundOnceIsRefused(t *testing.T) {
	root, dir := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "a.go"), []byte("one two two"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []rig.Change{{"a.go", "two", "x"}, {"a.go", "three", "x"}, {"b.go", "one", "x"}} {
		if path, err := rig.Overlay(root, dir, []rig.Change{c}); err == nil {
			t.Errorf("%+v: an overlay %s was made", c, path)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("a refused change has written %v", left)
	}
}

func TestAPackageThatDoesNotExistIsNotBuilt(t *testing.T) {
	rigtest.Need(t, "go")
	if _, err := (rig.Binary{Package: "sluice/no/such/package"}).Build(t.Context(), t.TempDir()); err == nil {
		t.Error("it was built")
	}
}

func TestARestartedRedisHasItsAddressAndItsData(t *testing.T) {
	rigtest.Need(t, "redis-server")
	g := group(t)
	server, err := rig.StartRedis(t.Context(), g, "--appendonly", "yes", "--appendfsync", "always")
	if err != nil {
		t.Fatal(err)
	}
	addr := server.Addr
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	if err := client.Set(t.Context(), "key", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := server.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if value, err := client.Get(t.Context(), "key").Result(); value != "value" || server.Addr != addr {
		t.Errorf("at %s after the restart: %q, %v", server.Addr, value, err)
	}
}

func TestARedisThatCannotStartSaysWhy(t *testing.T) {
	rigtest.Need(t, "redis-server")
	_, err := rig.StartRedis(t.Context(), group(t), "--no-such-option", "1")
	if !errors.Is(err, rig.ErrEnded) {
		t.Errorf("got %v", err)
	}
}

func TestNginxIsReloadedAndLeavesNoWorkers(t *testing.T) {
	rigtest.Need(t, "nginx")
	g := group(t)
	config := "worker_processes 1;\nevents {}\nhttp {\naccess_log off;\n@temporary\nserver { listen @listen; location / { return 200 \"before\\n\"; } }\n}\n"
	server, err := rig.StartNginx(g, config)
	if err != nil {
		t.Fatal(err)
	}
	says := func(want string) {
		t.Helper()
		err := rig.Until(t.Context(), 10*time.Second, func(ctx context.Context) error {
			if err := server.Ended(); err != nil {
				return err
			}
			text, err := rig.Get(ctx, "http://"+server.Addr)
			if err == nil && string(text) != want {
				err = fmt.Errorf("it says %q, want %q", text, want)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	says("before\n")
	file := filepath.Join(g.Dir(), "nginx.conf")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), "before", "after", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := server.Reload(); err != nil {
		t.Fatal(err)
	}
	says("after\n")
	g.Close()
	if _, err := net.Dial("tcp", server.Addr); err == nil {
		t.Error("a worker still listens")
	}
}
