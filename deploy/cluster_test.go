package deploy_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tmaxmax/go-sse"
)

// How long anything but the build may take before the test calls it broken.
const patience = time.Minute

// kept is how many notifications are stored. The test publishes fewer, so that what is stored is all there was.
const kept = 50

// TestCluster starts the compose project as a user does, under a name and on a port of its own, and breaks it in turn.
//
// Clients that behave like EventSource listen all the while. After each step every one of them must have got what Redis
// has stored: all of it, in that order, under those ids, nothing twice. The steps build on each other.
func TestCluster(t *testing.T) {
	if os.Getenv("SLUICE_TEST_CLUSTER") != "1" {
		t.Skip("needs Docker; set SLUICE_TEST_CLUSTER=1 to run it")
	}
	c := start(t)

	step := func(name string, run func(*cluster)) {
		began := time.Now()
		ok := t.Run(name, func(t *testing.T) {
			on := *c
			on.t = t
			run(&on)
			c.listeners, c.published = on.listeners, on.published
		})
		t.Logf("%-40s %4.1f s", name, time.Since(began).Seconds())
		if !ok {
			t.FailNow() // the next step would fail for no reason of its own
		}
	}
	step("clients are spread over all replicas", spread)
	step("events reach every client once", publish)
	step("a task is seen through every replica", task)
	step("nginx answers for itself", edge)
	step("a replica is killed", kill)
	step("a replica comes back elsewhere", move)
	step("more replicas, then fewer", scale)
	step("streams are counted by real address", limit)
	step("Redis restarts", restartRedis)
	step("no replica is up", stopAll)
}

// spread opens streams until each of the three replicas serves one.
func spread(c *cluster) {
	c.listeners = c.listenOnAll("/api/sse/notifications")
	c.t.Logf("%d clients", len(c.listeners))
}

// publish sends events both ways: by redis-cli inside the Redis container and by POST through nginx.
func publish(c *cluster) {
	for range 3 {
		c.must(c.publishRaw())
		c.must(c.publishPOST())
	}
	c.must(c.publishText()) // equal payloads are two events
	c.must(c.publishText())
	c.settled()
}

// task starts one task and watches it through each replica, by stream and by plain read.
func task(c *cluster) {
	var started struct{ TaskID string }
	c.call(http.MethodPost, "/api/tasks/start", `{"taskName":"report"}`, http.StatusAccepted, &started)

	watchers := c.listenOnAll("/api/sse/progress/" + started.TaskID)
	type state struct {
		TaskID, Status string
		Progress       float64
	}
	c.eventually("every watcher sees the task completed", func() error {
		for _, l := range watchers {
			var last state
			for _, event := range l.all() {
				if err := json.Unmarshal([]byte(event.Data), &last); err != nil {
					return err
				}
			}
			if last != (state{started.TaskID, "completed", 100}) {
				return fmt.Errorf("one is at %+v", last)
			}
		}
		return nil
	})
	read := map[string]bool{}
	c.eventually("the result is read from each replica", func() error {
		var got state
		read[c.call(http.MethodGet, "/api/tasks/"+started.TaskID, "", http.StatusOK, &got)] = true
		if got.Progress != 100 || len(read) < 3 {
			return fmt.Errorf("%d replicas, the last one says %+v", len(read), got)
		}
		return nil
	})
}

// edge checks what nginx keeps from the replicas, from the world and from its log.
func edge(c *cluster) {
	for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
		c.must(c.refused(http.MethodGet, path, "", http.StatusNotFound))
	}
	c.must(c.refused(http.MethodPost, "/api/notifications/create", strings.Repeat("x", 100<<10),
		http.StatusRequestEntityTooLarge))

	c.call(http.MethodGet, "/api/notifications?ticket=secret-in-the-query", "", http.StatusOK, nil)
	if log := c.compose("logs", "--no-color", "nginx"); strings.Contains(log, "secret-in-the-query") {
		c.t.Error("nginx logs the query")
	} else if !strings.Contains(log, `"path":"/api/notifications"`) {
		c.t.Errorf("nginx logs no requests:\n%s", log)
	}

	var published []string
	for line := range strings.FieldsSeq(c.compose("ps", "--format",
		"{{.Service}}={{range .Publishers}}{{.PublishedPort}},{{end}}")) {
		service, ports, _ := strings.Cut(line, "=")
		if strings.Trim(ports, "0,") != "" {
			published = append(published, service)
		}
	}
	if !slices.Equal(published, []string{"nginx"}) {
		c.t.Errorf("published to the host: %q, want only nginx", published)
	}
}

// kill ends the process of a replica that serves clients, as a crash would, while events come in.
func kill(c *cluster) {
	victim := c.containerOf(c.listeners[0].servedBy())
	pid := strings.TrimSpace(c.docker("inspect", "-f", "{{.State.Pid}}", victim))

	stop := c.keepPublishing(200 * time.Millisecond)
	// From the host's side: for `docker kill` the restart policy makes an exception, for a crash it doesn't.
	c.docker("run", "--rm", "--pid=host", "--network=none", "--entrypoint=sh", "redis:7-alpine", "-c", "kill -9 "+pid)
	c.eventually("the engine restarts the replica", func() error {
		if n := strings.TrimSpace(c.docker("inspect", "-f", "{{.RestartCount}}", victim)); n != "1" {
			return fmt.Errorf("restart count is %s", n)
		}
		return nil
	})
	c.everyReplicaReady()
	c.must(stop())
	c.settled()
}

// move recreates a replica while its old address is taken.
func move(c *cluster) {
	victim := c.containerOf(c.listeners[0].servedBy())
	address := func(id string) string {
		return strings.TrimSpace(c.docker("inspect", "-f",
			`{{(index .NetworkSettings.Networks "`+c.name+`_front").IPAddress}}`, id))
	}
	old := address(victim)

	stop := c.keepPublishing(500 * time.Millisecond)
	c.docker("rm", "-f", victim)
	squatter := c.name + "-squatter"
	c.docker("run", "-d", "--rm", "--name", squatter, "--network", c.name+"_front", "--ip", old, "redis:7-alpine")
	c.t.Cleanup(func() { c.docker("rm", "-f", "-v", squatter) })
	before := c.replicas()
	c.compose("up", "-d", "--no-build", "--no-recreate", "--wait")
	var added string
	for _, id := range c.replicas() {
		if !slices.Contains(before, id) {
			added = id
		}
	}
	if now := address(added); now == old {
		c.t.Fatalf("the replica still has the address %s", old)
	}
	c.servedByAll()
	c.must(stop())
	c.settled()
}

// scale goes to five replicas and back to two.
func scale(c *cluster) {
	stop := c.keepPublishing(3 * time.Second)
	for _, n := range []int{5, 2} {
		c.compose("up", "-d", "--no-build", "--no-recreate", "--wait", "--scale", "gateway="+strconv.Itoa(n))
		if got := len(c.replicas()); got != n {
			c.t.Fatalf("%d replicas, want %d", got, n)
		}
		c.servedByAll()
	}
	c.must(stop())
	c.settled()
}

// limit opens streams, each with another X-Forwarded-For, until every replica refuses.
func limit(c *cluster) {
	const perAddress = 100 // in docker-compose.yml, and counted by each replica
	replicas := len(c.replicas())
	refusing := map[string]bool{}
	opened := 0
	ctx, closeAll := context.WithCancel(c.ctx)
	defer closeAll()
	for len(refusing) < replicas {
		if opened > perAddress*replicas {
			c.t.Fatalf("%d streams from one address, refused by %d of %d replicas", opened, len(refusing), replicas)
		}
		spoofed := fmt.Sprintf("203.0.113.%d", opened%256)
		resp, err := c.get(ctx, "/api/sse/channels/limit", http.Header{"X-Forwarded-For": {spoofed}})
		if err != nil {
			c.t.Fatal(err)
		}
		if resp.StatusCode == http.StatusOK {
			opened++
			continue // stays open until closeAll
		}
		refusing[resp.Header.Get("Sluice-Replica")] = true
		c.must(checkRefusal(resp, http.StatusTooManyRequests))
		if resp.Header.Get("Retry-After") == "" {
			c.t.Error("429 without Retry-After")
		}
	}
	c.t.Logf("%d more streams from this address, then 429 from every replica", opened)

	// Somebody else is not affected: a client in the network has an address of its own. wget shows the status line,
	// then waits for events until its time is up.
	c.eventually("a client with another address is served", func() error {
		seen, _ := c.tryDocker("run", "--rm", "--network", c.name+"_front", "--entrypoint=timeout", "redis:7-alpine",
			"2", "wget", "-S", "-O", "/dev/null", "http://nginx:8080/api/sse/channels/limit")
		if !strings.Contains(seen, "200 OK") {
			return errors.New(seen)
		}
		return nil
	})

	closeAll()
	c.eventually("closed streams are no longer counted", func() error {
		ctx, cancel := context.WithCancel(c.ctx)
		defer cancel()
		resp, err := c.get(ctx, "/api/sse/channels/limit", nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	})
}

// restartRedis stops Redis and starts it again: what it had stored is on the volume.
func restartRedis(c *cluster) {
	before := c.stored()
	c.compose("restart", "redis")
	c.everyReplicaReady()
	if after := c.stored(); !slices.Equal(after, before) {
		c.t.Fatalf("stored after the restart: %q, want %q", after, before)
	}
	c.must(c.publishPOST())
	c.must(c.publishRaw())
	c.settled()
}

// stopAll takes away every replica: clients are told to come back, and do.
func stopAll(c *cluster) {
	c.compose("stop", "gateway")
	// A worker of nginx that has not looked the name up again waits in vain for the addresses it knows, and says 504.
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		c.eventually("nginx knows of no replica", func() error {
			return c.refused(method, "/api/notifications", "", http.StatusBadGateway)
		})
	}

	if resp, err := c.get(c.ctx, "/api/sse/notifications", http.Header{"Accept": {"text/event-stream"}}); err == nil {
		resp.Body.Close()
		c.t.Errorf("a stream without a replica is answered with %s; a client could take that for the end", resp.Status)
	}
	c.eventually("every client has lost its replica and tries again", func() error {
		for i, l := range c.listeners {
			if l.servedBy() != "" || l.failure() != nil {
				return fmt.Errorf("client %d is on %q (%w)", i, l.servedBy(), l.failure())
			}
		}
		return nil
	})

	c.compose("start", "gateway")
	c.everyReplicaReady()
	c.must(c.publishPOST())
	c.must(c.publishRaw())
	c.settled()
}

// cluster is a running compose project and the clients that listen to it.
type cluster struct {
	t    *testing.T
	ctx  context.Context // ends when the test is interrupted
	name string          // of the compose project
	env  []string
	url  string

	clients   *sync.WaitGroup // every listener ever started
	listeners []*listener     // those that the steps must not disturb
	published int             // notifications so far
}

// start builds the image and brings everything up. All of it is gone when the test ends, however it ends.
func start(t *testing.T) *cluster {
	t.Helper()
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)
	t.Cleanup(stop)

	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	c := &cluster{
		t: t, ctx: ctx,
		name:    fmt.Sprintf("sluice-test-%d", port),
		url:     fmt.Sprintf("http://127.0.0.1:%d", port),
		clients: new(sync.WaitGroup),
	}
	for _, kv := range os.Environ() { // the developer's own settings are not what is tested
		if !strings.HasPrefix(kv, "GATEWAY_") && !strings.HasPrefix(kv, "COMPOSE_") {
			c.env = append(c.env, kv)
		}
	}
	// Two clusters that can't have the same port don't get the same subnet either.
	c.env = append(c.env, fmt.Sprintf("PORT=%d", port), fmt.Sprintf("SUBNET=10.%d.%d", port>>8, port&255))
	if _, err := c.tryDocker("compose", "version"); err != nil {
		t.Fatalf("SLUICE_TEST_CLUSTER is set, but there is no Docker Compose: %v", err)
	}
	t.Cleanup(func() {
		c.clients.Wait() // they end with the context
		c.ctx = context.WithoutCancel(ctx)
		if t.Failed() {
			containers, _ := c.tryCompose("ps", "-a")
			lines, _ := c.tryCompose("logs", "--no-color", "--tail", "60")
			t.Logf("the containers:\n%s\ntheir last lines:\n%s", containers, lines)
		}
		c.compose("down", "--volumes", "--remove-orphans", "--rmi", "local", "--timeout", "2")
	})
	c.compose("up", "--build", "-d", "--wait")
	return c
}

// tryDocker runs a docker command to its end and returns what it printed.
func (c *cluster) tryDocker(args ...string) (string, error) {
	cmd := exec.CommandContext(c.ctx, "docker", args...)
	cmd.Env, cmd.Dir = c.env, ".." // where the compose file is
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("docker %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

func (c *cluster) docker(args ...string) string {
	c.t.Helper()
	out, err := c.tryDocker(args...)
	c.must(err)
	return out
}

func (c *cluster) compose(args ...string) string {
	c.t.Helper()
	out, err := c.tryCompose(args...)
	c.must(err)
	return out
}

func (c *cluster) tryCompose(args ...string) (string, error) {
	// No env file: a developer's .env is not what is tested.
	return c.tryDocker(append([]string{"compose", "-p", c.name, "--env-file", os.DevNull}, args...)...)
}

func (c *cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// eventually polls until check is content.
func (c *cluster) eventually(what string, check func() error) {
	c.t.Helper()
	if err := c.poll(check); err != nil {
		c.t.Fatalf("%s: not within %v: %v", what, patience, err)
	}
}

// poll returns what check last said.
func (c *cluster) poll(check func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil || time.Now().After(deadline) || c.ctx.Err() != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// replicas returns the ids of the gateway containers that run.
func (c *cluster) replicas() []string {
	c.t.Helper()
	return strings.Fields(c.docker("ps", "-q", "--no-trunc",
		"--filter", "label=com.docker.compose.project="+c.name, "--filter", "label=com.docker.compose.service=gateway"))
}

// containerOf finds a replica by the name it gives itself, which starts with its host name, its container's short id.
func (c *cluster) containerOf(replica string) string {
	c.t.Helper()
	for _, id := range c.replicas() {
		if strings.HasPrefix(replica, id[:12]) {
			return id
		}
	}
	c.t.Fatalf("no container for replica %q", replica)
	return ""
}

// everyReplicaReady waits until each replica says of itself that it is ready: it is connected to Redis and takes part
// in ingesting.
func (c *cluster) everyReplicaReady() {
	c.t.Helper()
	c.eventually("every replica is ready", func() error {
		for _, id := range c.replicas() {
			if _, err := c.tryDocker("exec", id, "/gateway", "healthcheck"); err != nil {
				return err
			}
		}
		return nil
	})
}

// servedByAll waits until nginx has sent requests to each of the replicas that run.
func (c *cluster) servedByAll() {
	c.t.Helper()
	seen := map[string]bool{}
	c.eventually("nginx reaches every replica", func() error {
		replica := c.call(http.MethodGet, "/api/notifications", "", http.StatusOK, nil)
		if len(replica) >= 12 {
			seen[replica[:12]] = true
		}
		for _, id := range c.replicas() {
			if !seen[id[:12]] {
				return fmt.Errorf("none of the answers came from %s", id[:12])
			}
		}
		return nil
	})
}

func (c *cluster) get(ctx context.Context, path string, header http.Header) (*http.Response, error) {
	return c.do(ctx, http.MethodGet, path, "", header)
}

func (c *cluster) do(ctx context.Context, method, path, body string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, header)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	return client.Do(req)
}

// client asks for a new connection each time, so that nginx chooses anew.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// call makes a request that must be answered with status, decodes the answer and returns the replica that gave it.
func (c *cluster) call(method, path, body string, status int, into any) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	resp, err := c.do(ctx, method, path, body, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		c.t.Fatalf("%s %s: %s, %v, want %d\n%s", method, path, resp.Status, err, status, text)
	}
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			c.t.Fatalf("%s %s: %v\n%s", method, path, err, text)
		}
	}
	return resp.Header.Get("Sluice-Replica")
}

// refused makes a request that must be refused with status, in JSON.
func (c *cluster) refused(method, path, body string, status int) error {
	resp, err := c.do(c.ctx, method, path, body, nil)
	if err != nil {
		return err
	}
	return checkRefusal(resp, status)
}

func checkRefusal(resp *http.Response, status int) error {
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	var refusal struct{ Error, Code string }
	err = json.Unmarshal(text, &refusal)
	if resp.StatusCode != status || err != nil || refusal.Error == "" || refusal.Code == "" {
		return fmt.Errorf("%s: %s %s, want %d and JSON with error and code",
			resp.Request.URL.Path, resp.Status, text, status)
	}
	return nil
}

func (c *cluster) redis(args ...string) (string, error) {
	return c.tryCompose(append([]string{"exec", "-T", "redis", "redis-cli"}, args...)...)
}

// publishRaw publishes a notification by redis-cli in the Redis container.
func (c *cluster) publishRaw() error {
	c.published++
	_, err := c.redis("PUBLISH", "notifications",
		fmt.Sprintf(`{"type":"info","title":"raw","message":"event %d"}`, c.published))
	return err
}

// publishText does the same with a payload that is no JSON.
func (c *cluster) publishText() error {
	c.published++
	_, err := c.redis("PUBLISH", "notifications", "plain text")
	return err
}

// publishPOST publishes a notification through nginx. If the replica is lost on the way it repeats the call under the
// same Idempotency-Key, as a careful publisher does.
func (c *cluster) publishPOST() error {
	c.published++
	body := fmt.Sprintf(`{"type":"success","title":"post","message":"event %d"}`, c.published)
	key := http.Header{"Idempotency-Key": {fmt.Sprintf("%s-%d", c.name, c.published)}}
	return c.poll(func() error {
		resp, err := c.do(c.ctx, http.MethodPost, "/api/notifications/create", body, key)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			text, _ := io.ReadAll(resp.Body)
			return fmt.Errorf("POST: %s: %s", resp.Status, text)
		}
		return nil
	})
}

// keepPublishing publishes both ways in the background, a handful of times or until stop is called.
func (c *cluster) keepPublishing(every time.Duration) (stop func() error) {
	ctx, cancel := context.WithCancel(c.ctx)
	ended := make(chan error, 1)
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for range 5 {
			if err := errors.Join(c.publishRaw(), c.publishPOST()); err != nil {
				ended <- err
				return
			}
			select {
			case <-ctx.Done():
				ended <- nil
				return
			case <-tick.C:
			}
		}
		ended <- nil
	}()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	c.t.Cleanup(func() { _ = stop() }) // if the step fails before it is called
	return stop
}

// stored returns the ids of the notifications in Redis, oldest first.
func (c *cluster) stored() []string {
	c.t.Helper()
	var ids []string
	list, err := c.redis("--raw", "LRANGE", "sluice:history:{notifications}", "0", "-1")
	c.must(err)
	for line := range strings.Lines(list) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		var event struct{ ID string }
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			c.t.Fatalf("stored: %v\n%s", err, line)
		}
		ids = append(ids, event.ID)
	}
	slices.Reverse(ids)
	return ids
}

// settled waits until Redis has stored each published notification once, and every client has got exactly that.
func (c *cluster) settled() {
	c.t.Helper()
	if c.published > kept {
		c.t.Fatalf("the test has published %d notifications; only %d are stored", c.published, kept)
	}
	c.eventually("every client has what is stored", func() error {
		stored := c.stored()
		if len(stored) != c.published {
			return fmt.Errorf("%d published, %d stored", c.published, len(stored))
		}
		for i, l := range c.listeners {
			if err := l.failure(); err != nil {
				return fmt.Errorf("client %d: %w", i, err)
			}
			if got := l.ids(); !slices.Equal(got, stored) {
				return fmt.Errorf("client %d on %s got %q, want %q", i, l.servedBy(), got, stored)
			}
		}
		return nil
	})
}

// listener is a client that does what the standard asks of EventSource, only that it comes back sooner.
type listener struct {
	url string

	mu      sync.Mutex
	events  []sse.Event // guarded by mu
	lastID  string      // guarded by mu
	opened  bool        // guarded by mu; whether the newest request was answered with a stream
	replica string      // guarded by mu; which served it: none, if nginx did
	failed  error       // guarded by mu; why EventSource would have given up
}

// listenOnAll starts clients one by one until each replica serves one. They end with the test.
func (c *cluster) listenOnAll(path string) []*listener {
	c.t.Helper()
	const most = 60
	var listeners []*listener
	serving, replicas := map[string]bool{}, len(c.replicas())
	for len(serving) < replicas || len(listeners) < 2*replicas {
		if len(listeners) == most {
			c.t.Fatalf("%d streams through nginx, all on %d of %d replicas", most, len(serving), replicas)
		}
		l := &listener{url: c.url + path}
		c.clients.Go(func() { l.run(c.ctx) })
		listeners = append(listeners, l)
		c.eventually("a stream opens", l.connected)
		serving[l.servedBy()] = true
	}
	return listeners
}

func (l *listener) run(ctx context.Context) {
	for ctx.Err() == nil {
		again, err := l.stream(ctx)
		if !again {
			l.mu.Lock()
			l.failed = err
			l.mu.Unlock()
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(100*time.Millisecond + rand.N(200*time.Millisecond)):
		}
	}
}

// stream makes one request and reads it to its end. It reports whether EventSource would make another.
func (l *listener) stream(ctx context.Context) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url, nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("Accept", "text/event-stream")
	l.mu.Lock()
	if l.lastID != "" {
		req.Header.Set("Last-Event-ID", l.lastID)
	}
	l.opened, l.replica = false, ""
	l.mu.Unlock()

	resp, err := client.Do(req)
	if err != nil {
		return true, nil // a network error: nobody there just now
	}
	defer resp.Body.Close()
	kind := resp.Header.Get("Content-Type")
	switch {
	case resp.StatusCode == http.StatusNoContent:
		return false, nil // the server's way to say that it is over
	case resp.StatusCode != http.StatusOK || !strings.HasPrefix(kind, "text/event-stream"):
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
		return false, fmt.Errorf("EventSource gives up on %s, %q: %s", resp.Status, kind, bytes.TrimSpace(text))
	}
	l.mu.Lock()
	l.opened, l.replica = true, resp.Header.Get("Sluice-Replica")
	l.mu.Unlock()
	for event, err := range sse.Read(resp.Body, nil) {
		if err != nil {
			break // cut off
		}
		l.mu.Lock()
		l.lastID = cmp.Or(event.LastEventID, l.lastID)
		if event.Data != "" { // else it only moves the position
			l.events = append(l.events, event)
		}
		l.mu.Unlock()
	}
	return true, nil
}

// connected returns nil once the newest request has been answered with a stream.
func (l *listener) connected() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.opened {
		return cmp.Or(l.failed, errors.New("not open"))
	}
	return nil
}

func (l *listener) servedBy() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.replica
}

func (l *listener) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

func (l *listener) all() []sse.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

// ids returns the ids of what has been received, in that order. An event without a type of its own that is not a
// notification, a gap for one, shows as its type.
func (l *listener) ids() []string {
	var ids []string
	for _, event := range l.all() {
		if event.Type == "position" {
			continue // it tells the place of the event before, or of the start
		}
		if event.Type != "" {
			ids = append(ids, event.Type+":"+event.Data)
			continue
		}
		ids = append(ids, event.LastEventID)
	}
	return ids
}
