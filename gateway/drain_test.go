package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/gateway"
	"sluice/gateway/wire"
)

// stub is what a client gets that is to come back soon: a stream that says nothing but when.
var stub = regexp.MustCompile(`^: [^\n]+\nretry: [1-9]\d*\n$`)

// comesBack checks that a refused stream brings EventSource back.
func comesBack(t *testing.T, what string, st *stream) {
	t.Helper()
	st.ended()
	if st.Status != http.StatusOK || !stub.MatchString(st.raw.String()) {
		t.Errorf("%s: got %d %s %q, want 200 and a retry time", what, st.Status, st.Body, st.raw)
	}
	if got := st.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/event-stream") {
		t.Errorf("%s: Content-Type is %q", what, got)
	}
}

func TestARefusedStreamBringsAnEventSourceBackAndTellsProgramsAndProxies(t *testing.T) {
	away := map[string]struct {
		take   func(s *site)
		code   string
		mend   func(s *site)
		header []string
	}{
		"Redis is away": {
			take: func(s *site) {
				s.back.cut()
				s.until("the gateway to notice", func() bool { return s.get("/readyz").Status == 503 })
			},
			mend: func(s *site) { s.back.mend(); s.waitReady() },
			code: "unavailable",
		},
		"the replica is stopping": {
			take: func(s *site) {
				s.open("/api/sse/time") // keeps it from being over at once
				go s.stop()
				s.until("draining", func() bool { return s.get("/readyz").Status == 503 })
			},
			code: "draining",
		},
	}
	for name, test := range away {
		t.Run(name, func(t *testing.T) {
			serve(t, gateway.Config{DrainTime: 10 * time.Minute}, func(t *testing.T, s *site) {
				test.take(s)
				for _, path := range []string{"/api/sse/notifications", "/api/sse/channels/orders", "/api/sse?channels=a,b", "/api/sse/progress/t"} {
					comesBack(t, path, s.open(path, "Accept", "text/event-stream"))
					for what, header := range map[string][]string{
						"a program": {"Accept", "*/*"}, "a proxy that mends it itself": {"Accept", "text/event-stream", "Sluice-Edge", "nginx"},
					} {
						if code := refused(t, what, s.open(path, header...).answer, 503); code != test.code {
							t.Errorf("%s: got code %q, want %q", what, code, test.code)
						}
					}
				}
				// What is wrong with the request itself will not mend.
				if st := s.open("/api/sse/channels/a%20b", "Accept", "text/event-stream"); st.Status != 400 {
					t.Errorf("an impossible channel: got %d, want 400", st.Status)
				}
				if test.mend != nil {
					test.mend(s)
					if st := s.open("/api/sse/notifications", "Accept", "text/event-stream"); st.Status != 200 || st.quiet() != nil {
						t.Errorf("afterwards: %d", st.Status)
					}
				}
			})
		})
	}
}

func TestStreamsStayOpenWhileRedisIsAwayAndGoOnAfterwards(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		one, many := s.open("/api/sse/channels/orders"), s.open("/api/sse?channels=orders,bills")
		s.publish("orders", "1")
		one.next()
		many.next()
		s.back.cut()
		time.Sleep(5 * time.Minute)
		if n := strings.Count(one.raw.String(), wire.Heartbeat); n < 8 {
			t.Errorf("%d heartbeats in five minutes without Redis", n)
		}
		s.back.mend()
		s.waitReady()
		s.publish("orders", "2")
		for name, st := range map[string]*stream{"one": one, "many": many} {
			if got := st.quiet(); len(got) != 1 || got[0].Type == "gap" || !strings.Contains(got[0].Data, "2") {
				t.Errorf("stream of %s: got %+v, want the one new event", name, got)
			}
		}
	})
}

func TestWhatOthersPublishedWhileThisReplicaLostRedisIsDeliveredInOrder(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		st := s.open("/api/sse/channels/orders")
		s.publish("orders", "1")
		st.next()
		// Another replica goes on publishing. Its scripts are the same.
		other := newReplica(t, "replica-2", gateway.Config{}, s.mini)
		other.waitReady()
		s.back.cut()
		for i := range 3 {
			other.publish("orders", fmt.Sprint(i+2))
		}
		s.back.mend()
		if got := lines(st.quiet()); got != "2 3 4" {
			t.Errorf("got %q, want 2 3 4", got)
		}
	})
}

func TestHoweverManyPublishWhileRedisHangsEachIsAnsweredSoon(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		const n = 600 // more than are sent to Redis at a time
		s.back.hang()
		began := time.Now()
		answers := make(chan int, n)
		for range n {
			go func() {
				resp, err := s.front.client.Do(s.request(t.Context(), "POST", "/api/channels/orders/events", `{"data":1}`))
				if err != nil {
					answers <- 0
					return
				}
				_ = resp.Body.Close()
				answers <- resp.StatusCode
			}()
		}
		for i := range n {
			if status := <-answers; status != http.StatusServiceUnavailable {
				t.Fatalf("answer %d: %d, want 503", i, status)
			}
		}
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("the last answer took %v", took)
		}
		s.back.mend()
		s.waitReady()
		s.publish("orders", `"after"`)
	})
}

// A caller that was told that nothing was done must be able to repeat the call.
func TestWhatWasRefusedBecauseRedisHungIsNotStoredLater(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		const n = 600 // more than are sent to Redis at a time
		s.back.hang()
		refused := make(chan bool, n)
		for range n {
			go func() {
				resp, err := s.front.client.Do(s.request(t.Context(), "POST", "/api/channels/orders/events", `{"data":1}`))
				if err != nil {
					refused <- false
					return
				}
				defer resp.Body.Close()
				text, _ := io.ReadAll(resp.Body)
				refused <- strings.Contains(string(text), `"code":"unavailable"`)
			}()
		}
		certain := 0
		for range n {
			if <-refused {
				certain++
			}
		}
		s.back.mend()
		s.waitReady()
		time.Sleep(time.Minute)
		stored := 0
		if offset := s.mini.HGet("sluice:meta:{orders}", "offset"); offset != "" {
			if _, err := fmt.Sscan(offset, &stored); err != nil {
				t.Fatal(err)
			}
		}
		if stored > n-certain {
			t.Errorf("of %d calls %d were told that nothing was done, but %d events are stored", n, certain, stored)
		}
	})
}

func TestDrainingEndsStreamsOneAfterTheOtherEachWithARetryTime(t *testing.T) {
	const drainTime, n = 10 * time.Second, 40
	serve(t, gateway.Config{DrainTime: drainTime}, func(t *testing.T, s *site) {
		var streams []*stream
		for i := range n {
			path := "/api/sse/channels/orders"
			if i%2 == 0 {
				path = "/api/sse/notifications"
			}
			streams = append(streams, s.open(path))
		}
		stopped := make(chan error, 1)
		began := time.Now()
		go func() { stopped <- s.stop() }()
		s.until("not ready", func() bool { return s.get("/readyz").Status == 503 })
		if a := s.get("/readyz"); !strings.Contains(a.Body, `"status":"draining"`) {
			t.Errorf("readyz: %s", a.Body)
		}
		if a := s.get("/healthz"); a.Status != 200 {
			t.Errorf("healthz while draining: %d", a.Status)
		}
		// Those still open get what is published meanwhile.
		s.publish("orders", `"last words"`)

		ended := make(chan time.Duration, n)
		for _, st := range streams {
			go func() {
				for range st.events {
				}
				ended <- time.Since(began)
			}()
		}
		var first, last time.Duration
		for i := range n {
			took := <-ended
			if i == 0 {
				first = took
			}
			last = max(last, took)
		}
		if first > 3*time.Second || last < 4*time.Second || last > drainTime {
			t.Errorf("streams ended between %v and %v; want them spread over most of %v", first, last, drainTime)
		}
		if err := <-stopped; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		retries, heard := make(map[string]bool), 0
		for _, st := range streams {
			raw := st.raw.String()
			all := regexp.MustCompile(`retry: (\d+)\n`).FindAllStringSubmatch(raw, -1)
			if len(all) != 2 || !strings.HasSuffix(raw, all[1][0]) {
				t.Errorf("a stream does not end with a retry time of its own: %q", raw)
				continue
			}
			retries[all[1][1]] = true
			if strings.Contains(raw, "last words") {
				heard++
			}
		}
		if len(retries) < n/2 {
			t.Errorf("%d streams have only %d different retry times", n, len(retries))
		}
		if heard == 0 {
			t.Error("nobody got what was published while draining")
		}
		if _, err := s.front.dial(t.Context(), "192.0.2.1:1"); err == nil {
			t.Error("connections are still taken after the end")
		}
	})
}

func TestWithoutADrainTimeAllStreamsEndAtOnce(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		streams := []*stream{s.open("/api/sse/time"), s.open("/api/sse/notifications"), s.open("/api/sse?channels=a,b")}
		began := time.Now()
		if err := s.stop(); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("took %v", took)
		}
		for _, st := range streams {
			st.ended()
		}
	})
}

// A stream that waits for Redis would hold the end up for as long as it may wait.
func TestAStreamThatIsStillOpeningDoesNotHoldTheEndUp(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		s.back.cut()
		type result struct {
			*stream
			err error
		}
		var waiting []chan result
		for _, accept := range []string{"text/event-stream", "*/*"} {
			opened := make(chan result, 1)
			waiting = append(waiting, opened)
			go func() {
				st, err := s.tryOpen("/api/sse/channels/new", "Accept", accept)
				opened <- result{st, err}
			}()
		}
		time.Sleep(time.Second)
		began := time.Now()
		if err := s.stop(); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("took %v", took)
		}
		browser, program := <-waiting[0], <-waiting[1]
		if browser.err != nil || program.err != nil {
			t.Fatalf("not answered: %v, %v", browser.err, program.err)
		}
		comesBack(t, "EventSource", browser.stream)
		refused(t, "a program", program.answer, 503)
	})
}

func TestATaskRunningAtTheEndIsFinishedOrFails(t *testing.T) {
	for name, test := range map[string]struct {
		drainTime time.Duration
		status    string
	}{
		"time enough": {10 * time.Second, "completed"},
		"no time":     {0, "failed"},
	} {
		t.Run(name, func(t *testing.T) {
			serve(t, gateway.Config{DrainTime: test.drainTime}, func(t *testing.T, s *site) {
				id := s.startTask("x")
				time.Sleep(1500 * time.Millisecond)
				if err := s.stop(); err != nil {
					t.Errorf("Shutdown: %v", err)
				}
				state, err := s.mini.List("sluice:history:{progress:" + id + "}")
				if err != nil || len(state) != 1 || !strings.Contains(state[0], `"status":"`+test.status+`"`) {
					t.Errorf("state at the end: %v, %v; want %s", state, err, test.status)
				}
			})
		})
	}
}

// Whoever is told that a task has begun must be able to rely on its end, even if the replica was just stopping.
func TestATaskStartedAtTheVeryEndIsRefusedOrEnds(t *testing.T) {
	serve(t, gateway.Config{DrainTime: 10 * time.Second}, func(t *testing.T, s *site) {
		c, err := s.front.dial(t.Context(), "192.0.2.1:1")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		const body = `{"taskName":"x"}`
		say := func(text string) {
			t.Helper()
			if _, err := io.WriteString(c, text); err != nil {
				t.Fatal(err)
			}
		}
		// The call is there before the end begins, its body is not.
		say(fmt.Sprintf("POST /api/tasks/start HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:5]))
		synctest.Wait()
		stopped := make(chan error, 1)
		go func() { stopped <- s.stop() }()
		time.Sleep(time.Second)
		say(body[5:])
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if err := <-stopped; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if resp.StatusCode != http.StatusAccepted {
			return
		}
		for _, key := range s.mini.Keys() {
			if strings.HasPrefix(key, "sluice:history:{progress:") {
				if state, err := s.mini.List(key); err != nil || !strings.Contains(state[0], `"final":true`) {
					t.Errorf("the task was accepted and left like this: %v, %v", state, err)
				}
			}
		}
	})
}

func TestASurplusOfStreamsIsAdmittedSlowly(t *testing.T) {
	serve(t, gateway.Config{AdmitRate: 10}, func(t *testing.T, s *site) {
		const n = 60
		results := make(chan *stream, n)
		began := time.Now()
		for range n {
			go func() {
				st, err := s.tryOpen("/api/sse/time", "Accept", "text/event-stream")
				if err != nil {
					t.Error(err)
				}
				results <- st
			}()
		}
		admitted := 0
		for range n {
			st := <-results
			if e, open := <-st.events; open && e.Data != "" {
				admitted++
			} else {
				comesBack(t, "a surplus stream", st)
			}
		}
		// Whoever has to wait longer than two seconds is told to come back.
		if took := time.Since(began); admitted < 15 || admitted > 25 || took > 3*time.Second {
			t.Errorf("%d of %d admitted in %v, want about 20 in 2 s", admitted, n, took)
		}
	})
}

// The next part of what the client has missed cannot be read, as Redis is away; that must not hold the end up.
func TestAStreamThatWaitsForItsNextPartIsDrainedLikeOthers(t *testing.T) {
	cfg := gateway.Config{DrainTime: 2 * time.Second, Heartbeat: 3 * time.Second}
	serve(t, cfg, func(t *testing.T, s *site) {
		for range 5 {
			s.publish("orders", `"`+strings.Repeat("x", 30_000)+`"`)
		}
		resp, err := s.front.client.Do(s.request(t.Context(), http.MethodGet, "/api/sse/channels/orders?replay=5", ""))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := resp.Body.Read(make([]byte, 1024)); err != nil { // and no more: the pipe has no buffer
			t.Fatal(err)
		}
		s.back.cut()
		defer s.back.mend()
		s.until("the gateway to notice", func() bool { return s.get("/readyz").Status == http.StatusServiceUnavailable })
		var text []byte
		read := make(chan struct{})
		go func() {
			defer close(read)
			text, _ = io.ReadAll(resp.Body)
		}()
		time.Sleep(4 * time.Second) // of the bubble
		began := time.Now()
		if err := s.stop(); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if took := time.Since(began); took > cfg.DrainTime {
			t.Errorf("Shutdown took %v", took)
		}
		<-read
		if !strings.Contains(string(text), "\n\n"+wire.Heartbeat) {
			t.Error("the stream had no heartbeat while it waited")
		}
		if !regexp.MustCompile(`\nretry: \d+\n$`).Match(text) {
			t.Errorf("the stream ends with %q", text[max(0, len(text)-60):])
		}
	})
}
