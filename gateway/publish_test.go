package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"sluice/gateway"
)

// fields decodes a JSON object.
func fields(t *testing.T, text string) map[string]any {
	t.Helper()
	var all map[string]any
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		t.Fatalf("%q is not a JSON object: %v", text, err)
	}
	return all
}

// matches checks a text against a pattern in which <id> stands for an event id and <time> for milliseconds.
func matches(t *testing.T, what, got, want string) {
	t.Helper()
	pattern := regexp.QuoteMeta(want)
	pattern = strings.ReplaceAll(pattern, "<id>", `[1-9][0-9]*-[0-9a-v]{10}`)
	pattern = strings.ReplaceAll(pattern, "<begin>", `0-[0-9a-v]{10}`)
	pattern = strings.ReplaceAll(pattern, "<time>", `[0-9]{12,13}`)
	pattern = strings.ReplaceAll(pattern, "<task>", `[a-z0-9]{16,32}`)
	if !regexp.MustCompile("^" + pattern + "$").MatchString(got) {
		t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

func TestWhatAPublisherIsAnswered(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		for _, test := range []struct {
			request, body string
			status        int
			want          string
		}{
			{
				"POST /api/notifications/create", `{"type":"info","title":"a","message":"b"}`, 201,
				`{"success":true,"id":"<id>","time":<time>,"channel":"notifications","notification":` +
					`{"id":"<id>","timestamp":<time>,"type":"info","title":"a","message":"b","read":false}}`,
			},
			{
				"POST /api/notifications/create", `{"type":"error","title":"a","message":"b","read":true,"link":"/x","priority":"high",` +
					`"tags":["t"],"icon":"i","unknown":1,"id":"mine","timestamp":5}`, 201,
				`{"success":true,"id":"<id>","time":<time>,"channel":"notifications","notification":{"id":"<id>","timestamp":<time>,` +
					`"type":"error","title":"a","message":"b","read":false,"link":"/x","icon":"i","priority":"high","tags":["t"]}}`,
			},
			{
				"POST /api/activity", `{"type":"file_uploaded","userName":"Ada","action":"uploaded","userId":"u1","details":"x.pdf"}`, 201,
				`{"success":true,"id":"<id>","time":<time>,"channel":"activity","activity":{"id":"<id>","timestamp":<time>,` +
					`"type":"file_uploaded","userId":"u1","userName":"Ada","action":"uploaded","details":"x.pdf"}}`,
			},
			{
				"POST /api/channels/orders/events", `{"type":"paid","data":{"n":1.0,"big":12345678901234567890}}`, 201,
				`{"success":true,"id":"<id>","time":<time>,"channel":"orders"}`,
			},
			{
				"POST /api/channels/orders/events", `{"data":null}`, 201,
				`{"success":true,"id":"<id>","time":<time>,"channel":"orders"}`,
			},
			{
				"GET /api/channels/orders/events", "", 200,
				`{"channel":"orders","events":[` +
					`{"channel":"orders","id":"<id>","type":"paid","time":<time>,"data":{"n":1.0,"big":12345678901234567890}},` +
					`{"channel":"orders","id":"<id>","type":"","time":<time>,"data":null}],"lastEventId":"<id>"}`,
			},
			{"GET /api/channels/empty/events", "", 200, `{"channel":"empty","events":[],"lastEventId":"<begin>"}`},
			{"GET /api/channels/empty/rejected", "", 200, `{"channel":"empty","rejected":[]}`},
			{
				"POST /api/tasks", `{"taskId":"build-1","taskName":"Build"}`, 201,
				`{"success":true,"taskId":"build-1","state":` +
					`{"taskId":"build-1","progress":0,"status":"pending","message":"Build","currentStep":"Waiting"}}`,
			},
			{
				"POST /api/tasks", `{}`, 201,
				`{"success":true,"taskId":"<task>","state":{"taskId":"<task>","progress":0,"status":"pending","message":"","currentStep":"Waiting"}}`,
			},
			{
				"PUT /api/tasks/build-1/progress", `{"progress":33.5,"message":"compiling","currentStep":"2 of 3"}`, 200,
				`{"taskId":"build-1","progress":33.5,"status":"processing","message":"compiling","currentStep":"2 of 3"}`,
			},
			{
				"PUT /api/tasks/build-1/progress", `{"status":"failed","message":"disk full"}`, 200,
				`{"taskId":"build-1","progress":33.5,"status":"failed","message":"disk full","currentStep":""}`,
			},
			{
				"GET /api/tasks/build-1", "", 200,
				`{"taskId":"build-1","progress":33.5,"status":"failed","message":"disk full","currentStep":""}`,
			},
			{
				"POST /api/tasks/start", `{"taskName":"Report"}`, 202,
				`{"success":true,"taskId":"<task>","taskName":"Report","stream":"/api/sse/progress/<task>"}`,
			},
		} {
			method, path, _ := strings.Cut(test.request, " ")
			a := s.do(method, path, test.body)
			if a.Status != test.status {
				t.Errorf("%s: got status %d, want %d", test.request, a.Status, test.status)
			}
			matches(t, test.request, a.Body, test.want)
		}
	})
}

func TestASimulatedActivityIsARealOne(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		st := s.open("/api/sse/activity")
		a := s.post("/api/activity/simulate", "")
		activity, err := json.Marshal(fields(t, a.Body)["activity"])
		if err != nil || a.Status != 201 {
			t.Fatalf("got %d %s, %v", a.Status, a.Body, err)
		}
		e := st.next()
		if got, err := json.Marshal(fields(t, e.Data)); err != nil || string(got) != string(activity) {
			t.Errorf("stream: got %s, want %s, %v", got, activity, err)
		}
		for _, name := range []string{"id", "userId", "userName", "action", "details", "timestamp", "type"} {
			if fields(t, e.Data)[name] == nil {
				t.Errorf("no %s in %s", name, e.Data)
			}
		}
	})
}

func TestListsAreNewestFirstAndBounded(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		for i := range 60 {
			s.post("/api/notifications/create", fmt.Sprintf(`{"type":"info","title":"%d","message":"m"}`, i))
			s.post("/api/activity", fmt.Sprintf(`{"type":"user_joined","userName":"%d","action":"joined"}`, i))
		}
		for path, want := range map[string]struct {
			list, field, first, last string
			n                        int
		}{
			"/api/notifications":         {"notifications", "title", "59", "10", 50},
			"/api/notifications?limit=3": {"notifications", "title", "59", "57", 3},
			"/api/activity":              {"activities", "userName", "59", "10", 50},
			"/api/activity?limit=1":      {"activities", "userName", "59", "59", 1},
		} {
			list, _ := fields(t, s.get(path).Body)[want.list].([]any)
			if len(list) != want.n {
				t.Errorf("%s: got %d, want %d", path, len(list), want.n)
				continue
			}
			first, _ := list[0].(map[string]any)
			last, _ := list[len(list)-1].(map[string]any)
			if first[want.field] != want.first || last[want.field] != want.last {
				t.Errorf("%s: from %v to %v, want %s to %s", path, first[want.field], last[want.field], want.first, want.last)
			}
		}
		if a := s.get("/api/notifications?limit=0"); !strings.HasPrefix(a.Body, `{"notifications":[],`) {
			t.Errorf("limit=0: %s", a.Body)
		}
	})
}

// Whoever reads a list and then opens a stream from its lastEventId misses nothing and gets nothing twice.
func TestAStreamGoesOnWhereAListEnds(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		for _, c := range []struct{ list, stream, publish, body string }{
			{"/api/notifications", "/api/sse/notifications", "/api/notifications/create", `{"type":"info","title":"a","message":"b"}`},
			{"/api/activity", "/api/sse/activity", "/api/activity/simulate", ``},
			{"/api/channels/orders/events", "/api/sse/channels/orders", "/api/channels/orders/events", `{"data":1}`},
		} {
			s.post(c.publish, c.body)
			last, _ := fields(t, s.get(c.list).Body)["lastEventId"].(string)
			s.post(c.publish, c.body)
			st := s.open(c.stream + "?lastEventId=" + last)
			if got := st.quiet(); len(got) != 1 || got[0].Type == "gap" {
				t.Errorf("%s: got %+v, want the one event in between", c.stream, got)
			}
		}
	})
}

func TestAPagedHistoryMissesNothing(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		for i := range 5 {
			s.post("/api/channels/orders/events", fmt.Sprintf(`{"data":%d}`, i))
		}
		var all []string
		after := ""
		for range 4 {
			page := fields(t, s.get("/api/channels/orders/events?limit=2&after="+after).Body)
			if page["gap"] != nil {
				t.Errorf("gap %v", page["gap"])
			}
			events, _ := page["events"].([]any)
			for _, e := range events {
				all = append(all, fmt.Sprint(e.(map[string]any)["data"]))
			}
			after, _ = page["lastEventId"].(string)
			if len(all) == 2 { // without after the newest page comes; begin at the beginning
				events, _ := fields(t, s.get("/api/channels/orders/events").Body)["events"].([]any)
				after, _ = events[0].(map[string]any)["id"].(string)
				all = []string{"0"}
			}
		}
		if got := strings.Join(all, " "); got != "0 1 2 3 4" {
			t.Errorf("pages: got %s", got)
		}
	})
}

func TestAHistoryReadFromAnywhereSaysWhatIsMissing(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		var ids []string
		for i := range 8 { // five are kept
			id, _ := fields(t, s.post("/api/channels/orders/events", fmt.Sprintf(`{"data":%d}`, i)).Body)["id"].(string)
			ids = append(ids, id)
		}
		for after, want := range map[string]struct {
			gap string
			n   int
		}{
			ids[7]: {"", 0}, ids[5]: {"", 2}, ids[2]: {"", 5}, ids[1]: {"trimmed", 5}, ids[0]: {"trimmed", 5},
			"5-0000000000": {"reset", 5}, "99-0000000000": {"reset", 5}, "rubbish": {"unknown", 5}, "m": {"unknown", 5},
		} {
			page := fields(t, s.get("/api/channels/orders/events?after="+after).Body)
			events, _ := page["events"].([]any)
			gap, _ := page["gap"].(string)
			if gap != want.gap || len(events) != want.n {
				t.Errorf("after %s: %d events, gap %q; want %d, %q", after, len(events), gap, want.n, want.gap)
			}
		}
	})
}

// publishes is a call of each route that publishes, and the channel it publishes in ("" if that is a new one each time).
var publishes = []struct{ method, path, body, channel string }{
	{"POST", "/api/notifications/create", `{"type":"info","title":"a","message":"b"}`, "notifications"},
	{"POST", "/api/activity", `{"type":"user_joined","userName":"Ada","action":"joined"}`, "activity"},
	{"POST", "/api/activity/simulate", ``, "activity"},
	{"POST", "/api/tasks", `{"taskName":"x"}`, ""},
	{"POST", "/api/tasks", `{"taskId":"given","taskName":"x"}`, "progress:given"},
	{"POST", "/api/tasks/start", `{"taskName":"x"}`, ""},
	{"PUT", "/api/tasks/t1/progress", `{"progress":1}`, "progress:t1"},
	{"PUT", "/api/tasks/t2/progress", `{"progress":100}`, "progress:t2"}, // also when the task has ended with it
	{"POST", "/api/channels/orders/events", `{"data":1}`, "orders"},
}

func TestTheSameIdempotencyKeyPublishesOnceAndGetsTheSameAnswer(t *testing.T) {
	for _, p := range publishes {
		t.Run(p.method+" "+p.path, func(t *testing.T) {
			serve(t, gateway.Config{}, func(t *testing.T, s *site) {
				offset := func() string {
					if p.channel == "" {
						return fmt.Sprint(len(s.rdb.Keys(t.Context(), "sluice:meta:{progress:*}").Val()))
					}
					return s.rdb.HGet(t.Context(), "sluice:meta:{"+p.channel+"}", "offset").Val()
				}
				first := s.do(p.method, p.path, p.body, "Idempotency-Key", "key-1")
				if first.Status >= 300 || first.Header.Get("Idempotent-Replayed") != "" || offset() != "1" {
					t.Fatalf("first call: %d %s, %v, offset %s", first.Status, first.Body, first.Header, offset())
				}
				for range 3 {
					again := s.do(p.method, p.path, p.body, "Idempotency-Key", "key-1")
					if again.Status != first.Status || again.Body != first.Body || again.Header.Get("Idempotent-Replayed") != "true" {
						t.Errorf("repeated call:\n got %d %s (Idempotent-Replayed %q)\nwant %d %s", again.Status, again.Body,
							again.Header.Get("Idempotent-Replayed"), first.Status, first.Body)
					}
				}
				if got := offset(); got != "1" {
					t.Errorf("%s events or tasks after four calls, want 1", got)
				}
			})
		})
	}
}

func TestAnotherIdempotencyKeyOrChannelPublishesAgain(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		for _, call := range [][2]string{{"orders", "a"}, {"orders", "b"}, {"bills", "a"}, {"orders", "A"}} {
			a := s.post("/api/channels/"+call[0]+"/events", `{"data":1}`, "Idempotency-Key", call[1])
			if a.Status != 201 || a.Header.Get("Idempotent-Replayed") != "" {
				t.Errorf("%v: %d %s", call, a.Status, a.Body)
			}
		}
		// Notifications are a channel too; the key of one address does not answer for another.
		s.post("/api/notifications/create", `{"type":"info","title":"a","message":"b"}`, "Idempotency-Key", "a")
		a := s.post("/api/channels/notifications/events", `{"data":{"type":"info","title":"a","message":"b"}}`, "Idempotency-Key", "a")
		if a.Header.Get("Idempotent-Replayed") != "" {
			t.Errorf("the key of another address answered: %s", a.Body)
		}
	})
}

func TestAnIdempotencyKeyIsForgottenAfterFiveMinutes(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		publish := func() bool {
			return s.post("/api/channels/orders/events", `{"data":1}`, "Idempotency-Key", "k").Header.Get("Idempotent-Replayed") == ""
		}
		if !publish() {
			t.Fatal("the first call was taken for a repeated one")
		}
		time.Sleep(4*time.Minute + 59*time.Second)
		if publish() {
			t.Error("forgotten before five minutes")
		}
		time.Sleep(2 * time.Second)
		if !publish() {
			t.Error("still known after five minutes")
		}
	})
}

func TestARefusedCallDoesNotUseItsIdempotencyKeyUp(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		if a := s.post("/api/channels/orders/events", `{}`, "Idempotency-Key", "k"); a.Status != 400 {
			t.Fatalf("got %d", a.Status)
		}
		if a := s.post("/api/channels/orders/events", `{"data":1}`, "Idempotency-Key", "k"); a.Status != 201 {
			t.Errorf("got %d %s", a.Status, a.Body)
		}
	})
}

func TestAnIdempotencyKeyOfAnyBytesIsOneKeyAndBounded(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		for _, key := range []string{"a}:meta", "*", "ü\xff", strings.Repeat("k", 255), `"`, "a b"} {
			for try := range 2 {
				a := s.post("/api/channels/orders/events", `{"data":1}`, "Idempotency-Key", key)
				if a.Status != 201 || (a.Header.Get("Idempotent-Replayed") == "true") != (try == 1) {
					t.Errorf("key %q, call %d: %d %s", key, try, a.Status, a.Body)
				}
			}
		}
		a := s.post("/api/channels/orders/events", `{"data":1}`, "Idempotency-Key", strings.Repeat("k", 256))
		if code := refused(t, "a key of 256 bytes", a, 400); code != "invalid_idempotency_key" {
			t.Errorf("got code %q", code)
		}
	})
}

func TestABodyUpToTheLimitIsTaken(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		body := func(size int) string { return `{"data":"` + strings.Repeat("x", size-len(`{"data":""}`)) + `"}` }
		if a := s.post("/api/channels/orders/events", body(maxBodyBytes)); a.Status != 201 {
			t.Errorf("at the limit: %d %s", a.Status, a.Body)
		}
		a := s.post("/api/channels/orders/events", body(maxBodyBytes+1))
		if want := `{"error":"The body has more than 65536 bytes","code":"too_large"}`; a.Status != 413 || a.Body != want {
			t.Errorf("one byte more: got %d %s, want 413 %s", a.Status, a.Body, want)
		}
	})
}

// Whoever announces a body and does not send it holds a connection, but not for ever.
func TestAttackABodyThatNeverComes(t *testing.T) {
	for name, request := range map[string]string{
		"to a call that reads it":     "POST /api/channels/orders/events",
		"to a call that does not":     "POST /api/activity/simulate",
		"to a refused call":           "POST /api/channels/a%20b/events",
		"to an address without calls": "POST /nothing",
		"to a stream":                 "GET /api/sse/channels/a%20b",
	} {
		t.Run(name, func(t *testing.T) {
			serve(t, gateway.Config{}, func(t *testing.T, s *site) {
				began := time.Now()
				c, err := s.front.dial(t.Context(), "192.0.2.1:40000")
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if err := c.SetDeadline(began.Add(time.Minute)); err != nil {
					t.Fatal(err)
				}
				if _, err := fmt.Fprint(c, request+" HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"); err != nil {
					t.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, c); err != nil {
					t.Errorf("the connection is still open after %v: %v", time.Since(began), err)
				}
			})
		})
	}
}
