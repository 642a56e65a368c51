package main

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/tmaxmax/go-sse"

	"sluice/store/storetest"
)

// cluster starts three replicas on one real Redis.
func cluster(t *testing.T) (replicas []*instance, rdb *redis.Client, server *storetest.Server) {
	t.Helper()
	server = storetest.Real(t, "--appendonly", "yes", "--appendfsync", "always") // what it has answered survives a kill
	for i := range 3 {
		replicas = append(replicas, launch(t,
			"REDIS_URL=redis://"+server.Addr, "DRAIN_TIME=0s", fmt.Sprintf("REPLICA=r%d", i+1)))
	}
	return replicas, server.Client(t), server
}

// same checks that all streams got the same events: the same ids, in the same order, each once.
func same(t *testing.T, got [][]sse.Event, n int) {
	t.Helper()
	ids := make(map[string]bool)
	for _, e := range got[0] {
		ids[e.LastEventID] = true
	}
	if len(got[0]) != n || len(ids) != n {
		t.Errorf("the first replica had %d events with %d ids, want %d", len(got[0]), len(ids), n)
	}
	for i, events := range got[1:] {
		if fmt.Sprint(events) != fmt.Sprint(got[0]) {
			t.Errorf("replica %d had other events than the first:\n%v\n%v", i+2, events, got[0])
		}
	}
}

func TestThreeReplicasDeliverEachEventOnceWithOneID(t *testing.T) {
	t.Parallel() // it mostly waits
	replicas, rdb, _ := cluster(t)
	for _, test := range []struct{ stream, channel, payload, post, body string }{
		{"/api/sse/notifications", "notifications", `{"type":"info","title":"t","message":"m%d"}`, "/api/notifications/create", `{"type":"info","title":"t","message":"p%d"}`},
		{"/api/sse/activity", "activity", `{"type":"user_joined","userName":"u%d","action":"a"}`, "/api/activity", `{"type":"user_joined","userName":"p%d","action":"a"}`},
		{"/api/sse/channels/orders", "orders", `plain %d`, "/api/channels/orders/events", `{"data":"posted %d"}`},
		{"/api/sse?channels=bills,other", "bills", `{"n":%d}`, "/api/channels/bills/events", `{"data":%d}`},
	} {
		t.Run(test.channel, func(t *testing.T) {
			var clients []*client
			for _, g := range replicas {
				clients = append(clients, g.connect(t, test.stream, ""))
			}
			const each = 30
			var publishers sync.WaitGroup
			publishers.Go(func() {
				for i := range each {
					raw(t, rdb, test.channel, expand(test.payload, i/2)) // every payload twice: two equal ones are two events
				}
			})
			for p, g := range replicas {
				publishers.Go(func() {
					for i := range each {
						if status, text := g.call(t, http.MethodPost, test.post, expand(test.body, p*each+i)); status != http.StatusCreated {
							t.Errorf("publish: %d %s", status, text)
						}
					}
				})
			}
			publishers.Wait()
			var got [][]sse.Event
			for _, c := range clients {
				var events []sse.Event
				for range 4 * each {
					events = append(events, c.next())
				}
				got = append(got, events)
			}
			same(t, got, 4*each)

			// Nothing comes behind: the next event is the next one published.
			replicas[0].post(t, test.post, expand(test.body, 999))
			for i, c := range clients {
				if e := c.next(); !strings.Contains(e.Data, "999") {
					t.Errorf("replica %d: an event too many: %+v", i+1, e)
				}
			}
		})
	}
}

func expand(format string, i int) string { return strings.ReplaceAll(format, "%d", fmt.Sprint(i)) }

// PUBLISH knows no databases, so every gateway gets every message.
func TestGatewaysOnDatabasesOfOneRedisStoreEveryRawMessageEach(t *testing.T) {
	server := storetest.Real(t)
	settings := []string{"DRAIN_TIME=0s", "HISTORY_SIZE=500", "INGEST=orders"}
	var gateways []*instance
	for _, own := range []string{"/3", "/4", "/4 PREFIX=other"} {
		url, prefix, _ := strings.Cut(own, " ")
		all := append([]string{"REDIS_URL=redis://" + server.Addr + url}, settings...)
		if prefix != "" {
			all = append(all, prefix)
		}
		gateways = append(gateways, launch(t, all...))
	}
	rdb := server.Client(t)
	for i := range 200 {
		if n, err := rdb.Publish(t.Context(), "orders", fmt.Sprint(i)).Result(); err != nil || n != int64(len(gateways)) {
			t.Fatalf("message %d: %d receivers, %v", i, n, err)
		}
	}
	for i, g := range gateways {
		stored := func() int {
			_, text := g.call(t, http.MethodGet, "/api/channels/orders/events?limit=500", "")
			return strings.Count(text, `"id"`)
		}
		waitFor(t, fmt.Sprintf("gateway %d to store 200 messages", i), func() bool { return stored() >= 200 })
		if n := stored(); n != 200 {
			t.Errorf("gateway %d stored %d", i, n)
		}
	}
}

func TestATaskStartedOnOneReplicaIsSeenThroughAnother(t *testing.T) {
	t.Parallel() // it mostly waits
	replicas, rdb, _ := cluster(t)
	id, _ := replicas[0].post(t, "/api/tasks", `{"taskName":"Build"}`)["taskId"].(string)
	var clients []*client
	for _, g := range replicas {
		clients = append(clients, g.connect(t, "/api/sse/progress/"+id, ""))
	}
	replicas[1].call(t, http.MethodPut, "/api/tasks/"+id+"/progress", `{"progress":30}`)
	raw(t, rdb, "progress:"+id, `{"progress":60}`)
	raw(t, rdb, "progress:"+id, `{"progress":60}`)
	replicas[2].until(t, id, 60)
	replicas[2].call(t, http.MethodPut, "/api/tasks/"+id+"/progress", `{"progress":100}`)
	var got [][]sse.Event
	for _, c := range clients {
		got = append(got, c.ended())
	}
	same(t, got, 5)
	last := got[0][len(got[0])-1].LastEventID
	for i, g := range replicas {
		if c := g.connect(t, "/api/sse/progress/"+id, last); c.Status != http.StatusNoContent {
			t.Errorf("replica %d after the end: %d, want 204", i+1, c.Status)
		}
	}
}

// until waits until a task's second event of that progress is stored: raw messages take a moment.
func (g *instance) until(t testing.TB, task string, progress int) {
	t.Helper()
	waitFor(t, "the reports to be stored", func() bool {
		_, text := g.call(t, http.MethodGet, "/api/channels/progress:"+task+"/events", "")
		return strings.Contains(text, fmt.Sprintf(`"progress":%d`, progress)) && regexp.MustCompile(`"id":"4-`).MatchString(text)
	})
}

func TestAClientResumesOnAnotherReplica(t *testing.T) {
	replicas, _, _ := cluster(t)
	const path = "/api/sse?channels=orders,bills"
	c := replicas[0].connect(t, path, "")
	for i := range 12 {
		g := replicas[i%3]
		g.post(t, "/api/channels/orders/events", fmt.Sprintf(`{"data":"o%d"}`, i))
		g.post(t, "/api/channels/bills/events", fmt.Sprintf(`{"data":"b%d"}`, i))
		first := c.next()
		if want := fmt.Sprintf(`"o%d"`, i); !strings.Contains(first.Data, want) {
			t.Fatalf("round %d: got %s, want %s", i, first.Data, want)
		}
		c.close() // in the middle: the second event comes on the next replica
		c = replicas[(i+1)%3].connect(t, path, first.LastEventID)
		if second := c.next(); !strings.Contains(second.Data, fmt.Sprintf(`"b%d"`, i)) {
			t.Fatalf("round %d, on another replica: got %+v", i, second)
		}
	}
}

func TestTheSameIdempotencyKeyOnAnotherReplicaPublishesNothing(t *testing.T) {
	replicas, _, _ := cluster(t)
	var answers []string
	for _, g := range replicas {
		status, text := g.call(t, http.MethodPost, "/api/channels/orders/events", `{"data":1}`, "Idempotency-Key", "k")
		answers = append(answers, fmt.Sprint(status, text))
	}
	if answers[1] != answers[0] || answers[2] != answers[0] {
		t.Errorf("different answers: %q", answers)
	}
}

func TestEveryAnswerSaysWhichReplicaGaveIt(t *testing.T) {
	replicas, _, _ := cluster(t)
	for i, g := range replicas {
		want := fmt.Sprintf("r%d", i+1)
		for _, path := range []string{"/", "/healthz", "/metrics", "/nothing", "/api/notifications"} {
			resp, err := http.Get("http://" + g.addr + path)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if got := resp.Header.Get("Sluice-Replica"); got != want {
				t.Errorf("%s: Sluice-Replica is %q, want %q", path, got, want)
			}
		}
		if c := g.connect(t, "/api/sse/time", ""); c.Header.Get("Sluice-Replica") != want {
			t.Errorf("a stream: Sluice-Replica is %q, want %q", c.Header.Get("Sluice-Replica"), want)
		}
	}
}

func TestRedisGoesAwayAndComesBackToThreeReplicas(t *testing.T) {
	t.Parallel() // it mostly waits
	replicas, rdb, server := cluster(t)
	var clients []*client
	for _, g := range replicas {
		clients = append(clients, g.connect(t, "/api/sse/channels/orders", ""))
	}
	replicas[0].post(t, "/api/channels/orders/events", `{"data":"before"}`)
	for _, c := range clients {
		c.next()
	}
	server.Real.Kill()
	for i, g := range replicas {
		waitFor(t, "the replica to notice", func() bool { return g.status(t, "/readyz") == http.StatusServiceUnavailable })
		for _, call := range [][2]string{
			{"/api/channels/orders/events", `{"data":"lost"}`}, {"/api/notifications/create", `{"type":"info","title":"a","message":"b"}`},
			{"/api/tasks/start", `{"taskName":"x"}`}, {"/api/activity/simulate", ""},
		} {
			if status, text := g.call(t, http.MethodPost, call[0], call[1]); status != http.StatusServiceUnavailable || !strings.Contains(text, `"code":"`) {
				t.Errorf("replica %d, %s: %d %s, want 503", i+1, call[0], status, text)
			}
		}
		if status, text := g.call(t, http.MethodGet, "/readyz", ""); status != 503 || !strings.Contains(text, `"reason":"`) {
			t.Errorf("replica %d: readyz %d %s", i+1, status, text)
		}
		if g.status(t, "/healthz") != http.StatusOK {
			t.Errorf("replica %d: healthz is about the process", i+1)
		}
	}
	server.Real.Start(t)
	for _, g := range replicas {
		waitFor(t, "the replica to be ready again", func() bool { return g.status(t, "/readyz") == http.StatusOK })
	}
	replicas[1].post(t, "/api/channels/orders/events", `{"data":"after"}`)
	raw(t, rdb, "orders", "raw after")
	for i, c := range clients { // the streams were never closed
		if a, b := c.next(), c.next(); a.Data != `"after"` || b.Data != `"raw after"` || a.Type+b.Type != "" {
			t.Errorf("replica %d: got %+v and %+v", i+1, a, b)
		}
	}
}
