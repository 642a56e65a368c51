package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/cmd/internal/rig"
	"sluice/cmd/internal/rig/rigtest"
	"sluice/store/storetest"
)

// TestClientsOfOthersMissNothing has every client of foreigners follow one channel while its replica is killed, drained and
// started again, and a task until its end. HTTP/2 is not part of it: the gateway does not serve it yet.
func TestClientsOfOthersMissNothing(t *testing.T) {
	t.Parallel() // it mostly waits
	var shared *browser
	if _, err := rig.Find("chromium"); err == nil {
		shared = startBrowser(t)
	}
	for _, way := range []struct {
		name, writer string
		edge         bool // nginx stands between
	}{
		{name: "epoll", writer: "auto"},
		{name: "goroutine", writer: "goroutine"},
		{name: "nginx", writer: "auto", edge: true},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel() // it mostly waits
			if way.edge {
				rigtest.Need(t, "nginx")
			}
			s := newStage(t, way.writer, way.edge, shared)
			t.Run("a channel", s.testChannel)
			t.Run("a task", s.testTask)
		})
	}
}

// stage is a replica that can be killed, and another one that stands, both on one Redis.
type stage struct {
	group   *rig.Group
	addr    string // of the replica that can be killed
	front   string // where clients connect
	environ []string
	process *rig.Process
	stands  *instance // publishers use it
	clients []foreign
}

func newStage(t *testing.T, writer string, edge bool, b *browser) *stage {
	t.Helper()
	server := storetest.Real(t)
	s := &stage{group: rig.NewGroup(t.TempDir()), addr: rigtest.FreeAddress(t)}
	t.Cleanup(s.group.Close)
	s.front = s.addr
	s.environ = rig.Environment(asProgram+"=1", "GATEWAY_ADDR="+s.addr, "GATEWAY_REDIS_URL=redis://"+server.Addr, "GATEWAY_WRITER="+writer,
		"GATEWAY_RETRY="+retry.String(), "GATEWAY_DRAIN_TIME=500ms", "GATEWAY_LOG_FORMAT=json",
		"GATEWAY_HISTORY_SIZE=1000")
	s.stands = launch(t, "REDIS_URL=redis://"+server.Addr, "DRAIN_TIME=0s", "HISTORY_SIZE=1000")
	s.start(t)
	if edge {
		s.front = s.startEdge(t)
	}
	s.clients = foreigners(s.group, b)
	return s
}

// retry is the GATEWAY_RETRY of a stage. Each client is told between half and one and a half of it.
const retry = 200 * time.Millisecond

// start starts the replica and returns when it is ready.
func (s *stage) start(t *testing.T) {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if s.process, err = s.group.Start(rig.Command{Name: "gateway", Path: path, Env: s.environ}); err != nil {
		t.Fatal(err)
	}
	g := &instance{addr: s.addr}
	waitFor(t, "the replica to be ready", func() bool { return g.status(t, "/readyz") == http.StatusOK })
}

// startEdge starts nginx with the repository's file, and returns its address.
func (s *stage) startEdge(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "nginx.conf"))
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(s.addr)
	config := string(text)
	for _, change := range []struct{ old, new string }{
		{"listen 8080 ", "listen @listen "},
		{"set $gateway gateway;", "set $gateway " + host + ";"},
		{"http://$gateway:8080;", "http://$gateway:" + port + ";"},
		{"access_log /dev/stdout requests;", "access_log off; @temporary"},
	} {
		if !strings.Contains(config, change.old) {
			t.Fatalf("nginx.conf has no %q", change.old)
		}
		config = strings.ReplaceAll(config, change.old, change.new)
	}
	edge, err := rig.StartNginx(s.group, config)
	if err != nil {
		t.Fatal(err)
	}
	g := &instance{addr: edge.Addr}
	waitFor(t, "nginx", func() bool { return g.status(t, "/api/notifications") == http.StatusOK })
	return edge.Addr
}

// follow has all clients that this machine can run open a stream. It returns when all of them have begun.
func (s *stage) follow(t *testing.T, path string) []*follower {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	var all []*follower
	for _, c := range s.clients {
		f := &follower{client: c}
		all = append(all, f)
		if c.absent == nil {
			running.Go(func() { c.follow(ctx, "http://"+s.front+path, f) })
		}
	}
	await(t, all, "to begin", (*follower).begun)
	return all
}

// await waits until ok holds for all clients. It does not wait for a client that has stopped.
func await(t *testing.T, all []*follower, what string, ok func(*follower) bool) {
	t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for _, f := range all {
		for f.client.absent == nil {
			why := f.ended() // before ok is asked: a client hands nothing over afterwards
			if ok(f) {
				break
			}
			if why != "" || time.Now().After(deadline) {
				t.Errorf("waited too long for %s %s; it has %d events, and ended %q", f.client.name, what, len(f.events()), why)
				break
			}
			time.Sleep(5 * time.Millisecond) // between two tries of a poll
		}
	}
}

// judge runs a test for each client, or skips it where the machine cannot run that client.
func judge(t *testing.T, all []*follower, test func(t *testing.T, f *follower)) {
	t.Helper()
	for _, f := range all {
		t.Run(f.client.name, func(t *testing.T) {
			switch {
			case f.client.absent == nil:
				test(t, f)
			case os.Getenv("CI") == "true":
				t.Fatalf("%v, and CI=true requires it", f.client.absent)
			default:
				t.Skip(f.client.absent)
			}
		})
	}
}

func (s *stage) testChannel(t *testing.T) {
	all := s.follow(t, "/api/sse/channels/orders") // each client has a position now, and no event
	published := 0
	publish := func(n int) {
		t.Helper()
		for range n {
			published++
			s.stands.post(t, "/api/channels/orders/events", fmt.Sprintf(`{"data":%d}`, published))
		}
	}
	everyoneHasAll := func() {
		t.Helper()
		await(t, all, fmt.Sprintf("to have %d events", published), func(f *follower) bool { return len(f.events()) >= published })
	}
	kill := func() {
		t.Helper()
		if err := s.process.Kill(); err != nil {
			t.Fatal(err)
		}
	}

	kill() // before the first event
	if resp, err := http.Get("http://" + s.front + "/api/sse/channels/orders"); err == nil {
		resp.Body.Close()
		t.Errorf("no replica takes a stream, and the client is answered with %s", resp.Status)
	}
	publish(50)
	await(t, all, "to try some times", func(f *follower) bool { return f.client.name != chromium || len(f.failures()) >= 5 })
	s.start(t)
	everyoneHasAll()

	publish(50)
	kill() // in the middle of events
	publish(50)
	s.start(t)
	everyoneHasAll()

	drained := make(chan error, 1)
	go func() { drained <- s.process.Terminate(10 * time.Second) }()
	publish(50)
	if err := <-drained; err != nil {
		t.Error(err)
	}
	publish(50)
	s.start(t)
	publish(50)
	everyoneHasAll()

	judge(t, all, func(t *testing.T, f *follower) {
		var want []string
		for i := range published {
			want = append(want, fmt.Sprint(i+1))
		}
		expectEvents(t, f, want)
		if why := f.ended(); why != "" {
			t.Errorf("it has stopped: %s", why)
		}
		if f.client.name == chromium {
			expectRetryTimes(t, f.failures())
		}
	})
}

// expectEvents checks that a client handed over these data, in this order, each once, and nothing else.
func expectEvents(t *testing.T, f *follower, want []string) {
	t.Helper()
	var got []string
	for _, h := range f.events() {
		switch {
		case h.Data == "":
			t.Errorf("it handed over an event without data: %+v", h)
		case h.Event != "message":
			t.Errorf("it handed over %+v", h)
		default:
			got = append(got, h.Data)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("it handed over %v, want %v", got, want)
	}
}

// expectRetryTimes checks that a browser that lost its stream comes back when the gateway told it to. By itself Chromium
// waits for three seconds.
func expectRetryTimes(t *testing.T, failures []float64) {
	t.Helper()
	shortest := failures[1] - failures[0]
	for i := 2; i < 5; i++ { // while the replica was away for the first time
		shortest = min(shortest, failures[i]-failures[i-1])
	}
	if least := float64(retry.Milliseconds()) / 2; shortest < least || shortest > 2000 {
		t.Errorf("it tried again after %v ms, want between half and one and a half of %v", shortest, retry)
	}
}

func (s *stage) testTask(t *testing.T) {
	id, _ := s.stands.post(t, "/api/tasks", `{"taskName":"Build"}`)["taskId"].(string)
	all := s.follow(t, "/api/sse/progress/"+id)
	for _, progress := range []int{30, 60, 100} {
		s.stands.call(t, http.MethodPut, "/api/tasks/"+id+"/progress", fmt.Sprintf(`{"progress":%d}`, progress))
	}
	await(t, all, "to stop after the end", func(f *follower) bool { return f.ended() != "" })
	judge(t, all, func(t *testing.T, f *follower) {
		var got []any
		for _, h := range f.events() {
			got = append(got, decode(t, h.Data)["progress"])
		}
		if want := []any{0.0, 30.0, 60.0, 100.0}; !slices.Equal(got, want) {
			t.Errorf("it handed over %v, want %v", got, want)
		}
	})
}
