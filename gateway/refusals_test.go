package gateway_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2/server"

	"sluice/gateway"
)

// refused checks what all refusals have in common, and returns the code.
func refused(t *testing.T, what string, a answer, status int) string {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal([]byte(a.Body), &body); err != nil {
		t.Errorf("%s: the answer %q is not a JSON object: %v", what, a.Body, err)
	}
	text, _ := body["error"].(string)
	code, _ := body["code"].(string)
	if a.Status != status || text == "" || code == "" {
		t.Errorf("%s: got %d %s, want %d with error and code", what, a.Status, a.Body, status)
	}
	for _, field := range slices.Sorted(maps.Keys(body)) {
		if !slices.Contains([]string{"error", "code", "fields"}, field) {
			t.Errorf("%s: a refusal has no field %q: %s", what, field, a.Body)
		}
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Cache-Control": "no-store", "Sluice-Replica": "replica-1",
	} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s: %s: got %q, want %q", what, name, got, want)
		}
	}
	retryAfter := a.Header.Get("Retry-After") != ""
	if want := status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable; retryAfter != want {
		t.Errorf("%s: Retry-After %q with status %d", what, a.Header.Get("Retry-After"), a.Status)
	}
	return code
}

func TestEveryBadRequestGetsAClearJSONAnswer(t *testing.T) {
	const (
		notifications = "POST /api/notifications/create"
		activity      = "POST /api/activity"
		start         = "POST /api/tasks/start"
		tasks         = "POST /api/tasks"
		progress      = "PUT /api/tasks/t1/progress"
		events        = "POST /api/channels/orders/events"
	)
	many := func(n int) string {
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf("c%d", i))
		}
		return strings.Join(names, ",")
	}
	tests := []struct {
		name, request, body string
		status              int
		code                string
	}{
		{"no such page", "GET /nothing", "", 404, "not_found"},
		{"no such call", "GET /api/nothing", "", 404, "not_found"},
		{"a slash too many", "GET /api/notifications/", "", 404, "not_found"},
		{"a channel without a name", "GET /api/sse/channels/", "", 404, "not_found"},
		{"the streams' folder", "GET /api/sse/", "", 404, "not_found"},

		{"reading by DELETE", "DELETE /api/notifications", "", 405, "method_not_allowed"},
		{"publishing by GET", "GET /api/notifications/create", "", 405, "method_not_allowed"},
		{"publishing by PUT", "PUT /api/activity", "{}", 405, "method_not_allowed"},
		{"progress by POST", "POST /api/tasks/t1/progress", "{}", 405, "method_not_allowed"},
		{"a stream by POST", "POST /api/sse/time", "", 405, "method_not_allowed"},
		{"the health by POST", "POST /healthz", "", 405, "method_not_allowed"},

		{"an empty body", notifications, "", 400, "invalid_json"},
		{"a blank body", notifications, " \n", 400, "invalid_json"},
		{"half a body", notifications, `{"type":"info"`, 400, "invalid_json"},
		{"no JSON", notifications, `type=info&title=x`, 400, "invalid_json"},
		{"two bodies", notifications, `{"type":"info","title":"a","message":"b"} {}`, 400, "invalid_json"},
		{"an array", notifications, `[]`, 400, "invalid_json"},
		{"a text", notifications, `"info"`, 400, "invalid_json"},
		{"not UTF-8", notifications, "{\"type\":\"info\",\"title\":\"\xff\",\"message\":\"b\"}", 400, "invalid_json"},
		{"a body that is too large", notifications, `{"message":"` + strings.Repeat("x", maxBodyBytes) + `"}`, 413, "too_large"},
		{"a channel's body that is too large", events, `{"data":"` + strings.Repeat("x", maxBodyBytes) + `"}`, 413, "too_large"},

		{"a number for a text", notifications, `{"type":1,"title":"a","message":"b"}`, 400, "invalid_field"},
		{"an object for a text", notifications, `{"type":"info","title":{},"message":"b"}`, 400, "invalid_field"},
		{"a text for a list", notifications, `{"type":"info","title":"a","message":"b","tags":"x"}`, 400, "invalid_field"},
		{"an unknown type of notification", notifications, `{"type":"alert","title":"a","message":"b"}`, 400, "invalid_type"},
		{"an unknown priority", notifications, `{"type":"info","title":"a","message":"b","priority":"top"}`, 400, "invalid_field"},
		{"a link that runs", notifications, `{"type":"info","title":"a","message":"b","link":"javascript:alert(1)"}`, 400, "invalid_field"},
		{"a link to any host", notifications, `{"type":"info","title":"a","message":"b","link":"//evil.test"}`, 400, "invalid_field"},
		{"one user's notification", notifications, `{"type":"info","title":"a","message":"b","user":"ada"}`, 400, "unsupported_field"},

		{"an unknown type of activity", activity, `{"type":"danced","userName":"a","action":"b"}`, 400, "invalid_type"},
		{"an activity of nobody", activity, `{"type":"user_joined","action":"b"}`, 400, "missing_fields"},

		{"null for a task", tasks, `null`, 400, "invalid_json"},
		{"a task without a name", start, `{}`, 400, "missing_fields"},
		{"a task with a blank name", start, `{"taskName":"  "}`, 400, "missing_fields"},
		{"a task with a numeric name", start, `{"taskName":7}`, 400, "invalid_field"},
		{"a task with a long name", start, `{"taskName":"` + strings.Repeat("x", 201) + `"}`, 400, "invalid_field"},
		{"a task id with a space", tasks, `{"taskId":"a b"}`, 400, "invalid_task"},
		{"a long task id", tasks, `{"taskId":"` + strings.Repeat("x", 120) + `"}`, 400, "invalid_task"},
		{"a task that nobody knows", "GET /api/tasks/nobody", "", 404, "task_not_found"},
		{"a task with an impossible id", "GET /api/tasks/a%20b", "", 400, "invalid_task"},
		{"progress of a task with an impossible id", "PUT /api/tasks/a%20b/progress", `{"progress":1}`, 400, "invalid_task"},

		{"progress below 0", progress, `{"progress":-1}`, 400, "invalid_progress"},
		{"progress just below 0", progress, `{"progress":-0.001}`, 400, "invalid_progress"},
		{"progress above 100", progress, `{"progress":100.5}`, 400, "invalid_progress"},
		{"progress beyond all numbers", progress, `{"progress":1e999}`, 400, "invalid_field"},
		{"progress as a text", progress, `{"progress":"50"}`, 400, "invalid_field"},
		{"no progress", progress, `{"message":"x"}`, 400, "missing_fields"},
		{"processing without progress", progress, `{"status":"processing"}`, 400, "missing_fields"},
		{"an unknown status", progress, `{"progress":1,"status":"paused"}`, 400, "invalid_status"},
		{"a status of the wrong case", progress, `{"progress":1,"status":"Completed"}`, 400, "invalid_status"},

		{"an event without data", events, `{"type":"x"}`, 400, "missing_fields"},
		{"an event's type with a line end", events, `{"type":"a\nb","data":1}`, 400, "invalid_type"},
		{"an event's type that is too long", events, `{"type":"` + strings.Repeat("x", 65) + `","data":1}`, 400, "invalid_type"},
		{"an event's type that EventSource owns", events, `{"type":"open","data":1}`, 400, "invalid_type"},
		{"an event's type that a gap notice has", events, `{"type":"gap","data":1}`, 400, "invalid_type"},
		{"a channel with a space", "POST /api/channels/a%20b/events", `{"data":1}`, 400, "invalid_channel"},
		{"a channel with a slash", "POST /api/channels/a%2Fb/events", `{"data":1}`, 400, "invalid_channel"},
		{"a channel with a line end", "POST /api/channels/a%0Ab/events", `{"data":1}`, 400, "invalid_channel"},
		{"a channel with a brace", "POST /api/channels/a%7Db/events", `{"data":1}`, 400, "invalid_channel"},
		{"a channel in another script", "GET /api/channels/%C3%A9/events", "", 400, "invalid_channel"},
		{"a channel of 129 characters", "GET /api/channels/" + strings.Repeat("x", 129) + "/events", "", 400, "invalid_channel"},
		{"a channel of our own", "GET /api/channels/sluice:markers/events", "", 400, "invalid_channel"},
		{"a progress channel of no task", "POST /api/channels/progress:/events", `{"data":{"progress":1}}`, 400, "invalid_channel"},
		{"a shape that the channel does not have", "POST /api/channels/notifications/events", `{"data":[1]}`, 400, "invalid_json"},
		{"a type that the data does not have", "POST /api/channels/notifications/events",
			`{"type":"warning","data":{"type":"info","title":"a","message":"b"}}`, 400, "invalid_type"},
		{"rejected messages of an impossible channel", "GET /api/channels/a%20b/rejected", "", 400, "invalid_channel"},

		{"a stream of an impossible channel", "GET /api/sse/channels/a%20b", "", 400, "invalid_channel"},
		{"a stream of a channel of our own", "GET /api/sse/channels/sluice:markers", "", 400, "invalid_channel"},
		{"a stream of an impossible task", "GET /api/sse/progress/a%20b", "", 400, "invalid_task"},
		{"a stream of a task with a long id", "GET /api/sse/progress/" + strings.Repeat("x", 120), "", 400, "invalid_task"},
		{"a stream of no channels", "GET /api/sse", "", 400, "missing_fields"},
		{"a stream of empty channels", "GET /api/sse?channels=", "", 400, "missing_fields"},
		{"a stream of one channel and nothing", "GET /api/sse?channels=a,", "", 400, "invalid_channel"},
		{"a stream of 51 channels", "GET /api/sse?channels=" + many(51), "", 400, "too_many_channels"},
		{"a stream of 51 types", "GET /api/sse/channels/orders?types=" + many(51), "", 400, "too_many_types"},
		{"a stream of an impossible type", "GET /api/sse/channels/orders?types=a%0Ab", "", 400, "invalid_type"},

		{"replay below 0", "GET /api/sse/channels/orders?replay=-1", "", 400, "invalid_replay"},
		{"replay above 1000", "GET /api/sse/channels/orders?replay=1001", "", 400, "invalid_replay"},
		{"replay of words", "GET /api/sse/notifications?replay=all", "", 400, "invalid_replay"},
		{"replay of a fraction", "GET /api/sse/activity?replay=1.5", "", 400, "invalid_replay"},
		{"replay beyond all numbers", "GET /api/sse?channels=a&replay=99999999999999999999", "", 400, "invalid_replay"},
		{"limit below 0", "GET /api/activity?limit=-1", "", 400, "invalid_limit"},
		{"limit above 50", "GET /api/notifications?limit=51", "", 400, "invalid_limit"},
		{"limit above 1000", "GET /api/channels/orders/events?limit=1001", "", 400, "invalid_limit"},
		{"limit of words", "GET /api/activity?limit=ten", "", 400, "invalid_limit"},
	}
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		for _, test := range tests {
			method, path, _ := strings.Cut(test.request, " ")
			if code := refused(t, test.name, s.do(method, path, test.body), test.status); code != test.code {
				t.Errorf("%s: got code %q, want %q", test.name, code, test.code)
			}
		}
		if got := s.get("/api/notifications").Body; !strings.HasPrefix(got, `{"notifications":[]`) {
			t.Errorf("a refused notification was stored: %s", got)
		}
	})
}

func TestMissingFieldsAreNamedAllAtOnce(t *testing.T) {
	const head = `{"error":"Missing required fields","code":"missing_fields","fields":`
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		for _, test := range []struct{ method, path, body, fields string }{
			{"POST", "/api/notifications/create", `{}`, `["type","title","message"]`},
			{"POST", "/api/notifications/create", `{"type":"info","title":" ","message":""}`, `["title","message"]`},
			{"POST", "/api/activity", `{"details":"x"}`, `["type","userName","action"]`},
			{"POST", "/api/tasks/start", `{}`, `["taskName"]`},
			{"PUT", "/api/tasks/t1/progress", `{}`, `["progress"]`},
			{"POST", "/api/channels/orders/events", `{}`, `["data"]`},
		} {
			a := s.do(test.method, test.path, test.body)
			if want := head + test.fields + "}"; a.Status != 400 || a.Body != want {
				t.Errorf("%s %s %s:\n got %d %s\nwant 400 %s", test.method, test.path, test.body, a.Status, a.Body, want)
			}
		}
	})
}

func TestAStreamOfNoChannelsIsToldWhichParameterToSend(t *testing.T) {
	const want = `{"error":"The query parameter channels is required","code":"missing_fields","fields":["channels"]}`
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		if a := s.get("/api/sse"); a.Status != 400 || a.Body != want {
			t.Errorf("got %d %s, want 400 %s", a.Status, a.Body, want)
		}
	})
}

func TestAWrongMethodIsToldTheRightOnes(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		for path, want := range map[string]string{
			"/api/sse/time": "GET", "/api/notifications/create": "POST", "/api/activity": "GET, POST", "/healthz": "GET",
			"/api/tasks/t1/progress": "PUT",
		} {
			allow := s.do(http.MethodPatch, path, "").Header.Get("Allow")
			for method := range strings.SplitSeq(want, ", ") {
				if !strings.Contains(allow, method) {
					t.Errorf("%s: Allow is %q, want %s in it", path, allow, want)
				}
			}
		}
	})
}

func TestHealthCanBeAskedWithHEAD(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		for _, path := range []string{"/healthz", "/readyz", "/metrics", "/"} {
			if a := s.do(http.MethodHead, path, ""); a.Status != http.StatusOK || a.Body != "" {
				t.Errorf("HEAD %s: got %d %q, want 200 without a body", path, a.Status, a.Body)
			}
		}
	})
}

func TestARefusalOfHEADHasNoBody(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		for path, status := range map[string]int{"/nothing": 404, "/api/notifications/create": 405} {
			if a := s.do(http.MethodHead, path, ""); a.Status != status || a.Body != "" {
				t.Errorf("HEAD %s: got %d %q, want %d without a body", path, a.Status, a.Body, status)
			}
		}
	})
}

// A stream asked for by HEAD must end: there is nothing to stream.
func TestHEADOfAStreamEnds(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		if a := s.do(http.MethodHead, "/api/sse/time", ""); a.Body != "" {
			t.Errorf("got %d %q", a.Status, a.Body)
		}
		if got := s.metric("sluice_streams"); got != "0" {
			t.Errorf("%s streams are open", got)
		}
	})
}

func TestAnAddressMayBeEncoded(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		// encodeURIComponent("orders:42") is orders%3A42.
		if a := s.post("/api/channels/orders%3A42/events", `{"data":1}`); a.Status != 201 || !strings.Contains(a.Body, `"channel":"orders:42"`) {
			t.Errorf("publish: %d %s", a.Status, a.Body)
		}
		if e := s.open("/api/sse/channels/orders%3A42?replay=1").next(); e.Data != "1" {
			t.Errorf("stream: %+v", e)
		}
		if a := s.do("PUT", "/api/tasks/a%3Ab/progress", `{"progress":1}`); a.Status != 200 {
			t.Errorf("progress: %d %s", a.Status, a.Body)
		}
		if a := s.get("/api/tasks/a:b"); a.Status != 200 {
			t.Errorf("task: %d %s", a.Status, a.Body)
		}
	})
}

// calls are one good call of each route that needs Redis.
var calls = []struct{ method, path, body string }{
	{"POST", "/api/notifications/create", `{"type":"info","title":"a","message":"b"}`},
	{"GET", "/api/notifications", ""},
	{"POST", "/api/activity", `{"type":"user_joined","userName":"Ada","action":"joined"}`},
	{"POST", "/api/activity/simulate", ""},
	{"GET", "/api/activity", ""},
	{"POST", "/api/tasks", `{"taskId":"t1"}`},
	{"POST", "/api/tasks/start", `{"taskName":"x"}`},
	{"GET", "/api/tasks/t1", ""},
	{"PUT", "/api/tasks/t1/progress", `{"progress":1}`},
	{"POST", "/api/channels/orders/events", `{"data":1}`},
	{"GET", "/api/channels/orders/events", ""},
	{"GET", "/api/channels/orders/rejected", ""},
	{"GET", "/api/sse/channels/orders", ""},
	{"GET", "/api/sse?channels=a,b", ""},
}

func TestDeepDataDoesNotMakeAChannelsListUnreadable(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		for depth, status := range map[int]int{1000: 201, 9999: 400} {
			data := strings.Repeat("[", depth) + strings.Repeat("]", depth)
			if a := s.post("/api/channels/orders/events", `{"data":`+data+`}`); a.Status != status {
				t.Errorf("data nested %d deep: %d, want %d: %.100s", depth, a.Status, status, a.Body)
			}
		}
		if a := s.get("/api/channels/orders/events"); a.Status != 200 || !strings.Contains(a.Body, "[[[[") {
			t.Errorf("the list: %d %.200s", a.Status, a.Body)
		}
	})
}

func TestReadyzSaysThatRedisRefusesEventsThoughStreamsGoOn(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		s.mini.Server().SetPreHook(func(c *server.Peer, command string, _ ...string) bool {
			refused := strings.HasPrefix(strings.ToUpper(command), "EVAL")
			if refused {
				c.WriteError("OOM command not allowed when used memory > 'maxmemory'.")
			}
			return refused
		})
		code := refused(t, "publish", s.post("/api/channels/orders/events", `{"data":1}`), 503)
		if code != "redis_full" {
			t.Errorf("publish: code %q", code)
		}
		a := s.get("/readyz")
		if a.Status != 200 || !strings.Contains(a.Body, `"refused":{"error":"Redis is full","code":"redis_full","at":"`) {
			t.Errorf("readyz: %d %s", a.Status, a.Body)
		}
		if m := s.get("/metrics"); !strings.Contains(m.Body, "\nsluice_publish_refused 1\n") {
			t.Error("the metric does not say it")
		}
		s.mini.Server().SetPreHook(nil)
		if a := s.post("/api/channels/orders/events", `{"data":1}`); a.Status != 201 {
			t.Errorf("publish when Redis has room: %d %s", a.Status, a.Body)
		}
		if a := s.get("/readyz"); a.Status != 200 || strings.Contains(a.Body, "refused") {
			t.Errorf("readyz: %d %s", a.Status, a.Body)
		}
	})
}

func TestWithoutRedisEveryCallAnswers503AndRedissTextStaysInside(t *testing.T) {
	for name, fault := range map[string]struct {
		begin func(s *site)
		code  string
	}{
		"away":    {func(s *site) { s.back.cut() }, "unavailable"},
		"loading": {func(s *site) { s.mini.SetError("LOADING redis-secret-text") }, "redis_loading"},
		"full":    {func(s *site) { s.mini.SetError("OOM redis-secret-text") }, "redis_full"},
		"another": {func(s *site) { s.mini.SetError("MOVED 3999 redis-secret-text:6381") }, "redis_cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			serve(t, gateway.Config{}, func(t *testing.T, s *site) {
				fault.begin(s)
				s.until("the gateway to notice", func() bool { return s.get("/readyz").Status == 503 })
				for _, c := range calls {
					what := c.method + " " + c.path
					a := s.do(c.method, c.path, c.body)
					code := refused(t, what, a, 503)
					stream := strings.HasPrefix(c.path, "/api/sse") // it waits until the broker has read the channel
					if code != fault.code && !(stream && code == "unavailable") && (c.method == "GET" || code != "outcome_unknown") {
						t.Errorf("%s: got code %q, want %q", what, code, fault.code)
					}
					if strings.Contains(a.Body, "secret") || strings.Contains(fmt.Sprint(a.Header), "secret") {
						t.Errorf("%s: an error of Redis's reached the client: %s", what, a.Body)
					}
				}
				if a := s.get("/healthz"); a.Status != 200 {
					t.Errorf("healthz is about the process, not about Redis: %d", a.Status)
				}
				if a := s.get("/readyz"); !strings.Contains(a.Body, `"reason":"`) {
					t.Errorf("readyz gives no reason: %s", a.Body)
				}
				s.mini.SetError("")
				s.back.mend()
				s.waitReady()
				if a := s.post("/api/channels/orders/events", `{"data":1}`); a.Status != 201 {
					t.Errorf("publish when Redis is back: %d %s", a.Status, a.Body)
				}
			})
		})
	}
}
