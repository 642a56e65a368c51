package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/gateway"
	"sluice/gateway/auth"
)

// tokenSecret signs the tokens of these tests.
const tokenSecret = "0123456789abcdef0123456789abcdef"

// application answers the gateway's question who somebody is.
type application func(*http.Request) (int, string)

func (a application) RoundTrip(q *http.Request) (*http.Response, error) {
	status, body := a(q)
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}}, nil
}

// protect is serve for a gateway that lets in who belongs. app may be nil.
func protect(t *testing.T, who auth.Config, cfg gateway.Config, app application, test func(t *testing.T, s *site)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		hanging := time.AfterFunc(15*time.Minute, func() { panic(t.Name() + " hangs") })
		t.Cleanup(func() { hanging.Stop() })
		cfg.Authenticator = newAuthenticator(t, who, app)
		s := newSite(t, cfg)
		s.waitReady()
		test(t, s)
	})
}

func newAuthenticator(t *testing.T, who auth.Config, app application) *auth.Authenticator {
	t.Helper()
	if who.DefaultSubscribe == nil {
		who.DefaultSubscribe = []string{"notifications"}
	}
	who.JWTCookie, who.AuthMaxAge = "sluice_token", 5*time.Minute
	if err := who.Validate(); err != nil {
		t.Fatal(err)
	}
	a, err := auth.New(who, app, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// tokens are the settings of a gateway that takes tokens.
var tokens = auth.Config{JWTSecret: tokenSecret}

// token returns the Authorization header of a user with these patterns, or the gateway's defaults if there are none.
func token(t *testing.T, subject, subscribe, publish string) []string {
	t.Helper()
	return credential(t, auth.Identity{Subject: subject, Subscribe: patterns(t, subscribe), Publish: patterns(t, publish)})
}

func credential(t *testing.T, who auth.Identity) []string {
	t.Helper()
	text, err := auth.NewToken(tokens, who, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return []string{"Authorization", "Bearer " + text}
}

func patterns(t *testing.T, list string) auth.Patterns {
	t.Helper()
	p, err := auth.NewPatterns(strings.FieldsFunc(list, func(r rune) bool { return r == ',' }))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// code returns the code of a refusal, "" for none.
func code(a answer) string {
	var refusal struct{ Code string }
	if a.Status < 400 || json.Unmarshal([]byte(a.Body), &refusal) != nil {
		return ""
	}
	return refusal.Code
}

// guarded are all addresses that need a right, with what is needed for a call to be good.
var guarded = []struct {
	request, body  string
	read, publish  string // the channel that the call is about; "admin": the right of an admin
	status         int    // of a good call
	anotherChannel string // the same call about a channel of the same kind, if there is one
}{
	{"GET /api/sse/time", "", "time", "", 200, ""},
	{"GET /api/sse/notifications", "", "notifications", "", 200, ""},
	{"GET /api/sse/activity", "", "activity", "", 200, ""},
	{"GET /api/sse/progress/t1", "", "progress:t1", "", 200, "GET /api/sse/progress/t2"},
	{"GET /api/sse/channels/orders", "", "orders", "", 200, "GET /api/sse/channels/orders2"},
	{"GET /api/sse?channels=orders", "", "orders", "", 200, "GET /api/sse?channels=orders,bills"},
	{"GET /api/notifications", "", "notifications", "", 200, ""},
	{"GET /api/activity", "", "activity", "", 200, ""},
	{"GET /api/tasks/t1", "", "progress:t1", "", 200, "GET /api/tasks/t2"},
	{"GET /api/channels/orders/events", "", "orders", "", 200, "GET /api/channels/order/events"},
	{"GET /api/channels/orders/rejected", "", "admin", "", 200, ""},
	{"POST /api/notifications/create", `{"type":"info","title":"a","message":"b"}`, "", "notifications", 201, ""},
	{"POST /api/activity", `{"type":"post_created","userName":"a","action":"b"}`, "", "activity", 201, ""},
	{"POST /api/activity/simulate", ``, "", "activity", 201, ""},
	{"POST /api/tasks", `{"taskId":"t9"}`, "", "progress:t9", 201, ""},
	{"POST /api/tasks/start", `{"taskName":"x"}`, "", "progress:*", 202, ""},
	{"PUT /api/tasks/t1/progress", `{"progress":5}`, "", "progress:t1", 200, "PUT /api/tasks/t2/progress"},
	{"POST /api/channels/orders/events", `{"data":1}`, "", "orders", 201, "POST /api/channels/orders2/events"},
}

func TestEveryCallNeedsItsRightAndNoOther(t *testing.T) {
	protect(t, tokens, gateway.Config{}, nil, func(t *testing.T, s *site) {
		call := func(request, body string, header ...string) answer {
			method, path, _ := strings.Cut(request, " ")
			if strings.HasPrefix(path, "/api/sse") {
				st := s.open(path, header...)
				st.Close()
				return st.answer
			}
			return s.do(method, path, body, header...)
		}
		s.do("PUT", "/api/tasks/t1/progress", `{"progress":1}`, credential(t, auth.Identity{Subject: "root", Admin: true})...)
		all := "notifications,activity,time,orders,bills,progress:*"
		for _, c := range guarded {
			a := call(c.request, c.body)
			if got := refused(t, c.request, a, 401); got != "unauthenticated" || a.Header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s without a credential: %s, WWW-Authenticate %q", c.request, got, a.Header.Get("WWW-Authenticate"))
			}
			if got := refused(t, c.request, call(c.request, c.body, "Authorization", "Bearer a.b.c"), 401); got != "invalid_token" {
				t.Errorf("%s with a bad token: %s", c.request, got)
			}
			// Everything but what is needed.
			others := strings.Join(strings.FieldsFunc(all, func(r rune) bool { return r == ',' }), ",")
			for _, channel := range []string{c.read, c.publish} {
				if family, _, task := strings.Cut(channel, ":"); task {
					channel = family + ":*"
				}
				if channel != "" {
					others = strings.ReplaceAll(","+others+",", ","+channel+",", ",")
				}
			}
			wrong := token(t, "ada", others, all)
			if c.publish != "" {
				wrong = token(t, "ada", all, others)
			}
			a = call(c.request, c.body, wrong...)
			named := c.read + c.publish
			if got := refused(t, c.request, a, 403); got != "forbidden" || named != "admin" && !strings.Contains(a.Body, " "+strings.TrimSuffix(named, "*")) {
				t.Errorf("%s with other rights: %s", c.request, a.Body)
			}
			// Exactly what is needed.
			right := token(t, "ada", c.read, c.publish)
			switch {
			case c.read == "admin":
				right = credential(t, auth.Identity{Subject: "ada", Admin: true})
			case c.publish != "":
				right = token(t, "ada", "x", c.publish)
			}
			if a := call(c.request, c.body, right...); a.Status != c.status {
				t.Errorf("%s with the right: %d %s", c.request, a.Status, a.Body)
			}
			if c.anotherChannel != "" {
				refused(t, c.anotherChannel, call(c.anotherChannel, c.body, right...), 403)
			}
		}
	})
}

// An admin may do everything.
func TestAnAdminAndAKeyMayDoWhatTheirRightsSay(t *testing.T) {
	key, line, err := auth.NewKey("shop", []string{"orders"})
	if err != nil {
		t.Fatal(err)
	}
	protect(t, auth.Config{JWTSecret: tokenSecret, APIKeys: line}, gateway.Config{}, nil, func(t *testing.T, s *site) {
		admin := credential(t, auth.Identity{Subject: "root", Admin: true})
		for _, c := range guarded {
			method, path, _ := strings.Cut(c.request, " ")
			if method != "GET" {
				if a := s.do(method, path, c.body, admin...); a.Status != c.status {
					t.Errorf("%s by an admin: %d %s", c.request, a.Status, a.Body)
				}
			}
		}
		if a := s.post("/api/channels/orders/events", `{"data":1}`, "Authorization", "Bearer "+key); a.Status != 201 {
			t.Errorf("by a key: %d %s", a.Status, a.Body)
		}
		if got := code(s.post("/api/channels/bills/events", `{"data":1}`, "Authorization", "Bearer "+key)); got != "forbidden" {
			t.Errorf("by a key without the right: %s", got)
		}
		if got := code(s.get("/api/channels/orders/rejected", "Authorization", "Bearer "+key)); got != "forbidden" {
			t.Errorf("what only an admin may, by a key: %s", got)
		}
	})
}

func TestWithoutACredentialOnlyWhatIsForEverybodyIsRead(t *testing.T) {
	protect(t, auth.Config{JWTSecret: tokenSecret, Anonymous: []string{"time", "news.*"}}, gateway.Config{}, nil, func(t *testing.T, s *site) {
		for path, want := range map[string]int{
			"/api/sse/time": 200, "/api/sse/channels/news.de": 200, "/api/sse?channels=news.de,news.fr": 200, "/api/channels/news.de/events": 200,
			"/api/sse/notifications": 401, "/api/sse?channels=news.de,orders": 401, "/api/notifications": 401,
			"/": 200, "/healthz": 200, "/readyz": 200, "/metrics": 200, "/nothing": 404, "/api/nothing": 404,
		} {
			st := s.open(path)
			if st.Status != want {
				t.Errorf("%s: got %d, want %d", path, st.Status, want)
			}
			st.Close()
		}
		if got := code(s.post("/api/channels/news.de/events", `{"data":1}`)); got != "unauthenticated" {
			t.Errorf("publishing without a credential: %q", got)
		}
	})
}

// The channel exists, it does not exist, it is another user's: the answer is the same but for the name.
func TestAttackChannelsAreEnumerated(t *testing.T) {
	protect(t, tokens, gateway.Config{}, nil, func(t *testing.T, s *site) {
		admin := credential(t, auth.Identity{Subject: "root", Admin: true})
		s.post("/api/channels/secret1/events", `{"data":1}`, admin...)
		s.post("/api/tasks", `{"taskId":"secret1"}`, admin...)
		s.open("/api/sse/channels/secret2", admin...)
		eve := token(t, "eve", "", "")
		for _, path := range []string{
			"GET /api/sse/channels/%s", "GET /api/sse?channels=notifications,%s", "GET /api/channels/%s/events", "GET /api/channels/%s/events?after=1-aaaaaaaaaa",
			"GET /api/channels/%s/rejected", "GET /api/tasks/%s", "GET /api/sse/progress/%s", "POST /api/channels/%s/events", "PUT /api/tasks/%s/progress",
		} {
			var first string
			for _, name := range []string{"secret1", "secret2", "secret3"} {
				s.back.cut() // whatever asks Redis now answers something else
				method, address, _ := strings.Cut(fmt.Sprintf(path, name), " ")
				a := s.do(method, address, `{"data":1,"progress":1}`, append(eve, "Last-Event-ID", "1-aaaaaaaaaa")...)
				s.back.mend()
				text := fmt.Sprint(a.Status, strings.ReplaceAll(a.Body, name, "NAME"))
				if first == "" {
					first = text
				}
				if a.Status != 403 || text != first {
					t.Errorf("%s: got %d %s, want %s", address, a.Status, a.Body, first)
				}
			}
			s.waitReady()
		}
	})
}

func TestAttackAnotherUsersChannelByAWidePattern(t *testing.T) {
	protect(t, tokens, gateway.Config{}, nil, func(t *testing.T, s *site) {
		for _, test := range []struct {
			patterns string
			want     int
		}{
			{"*", 403}, {"notifications", 403}, {"notifications*", 403}, {"n*", 403}, {"notifications:ad", 403}, {"notifications:ada", 200}, {"notifications:*", 200},
		} {
			who := token(t, "eve", test.patterns, test.patterns)
			for _, path := range []string{"/api/sse/channels/notifications:ada", "/api/sse/channels/notifications%3Aada", "/api/sse?channels=notifications:ada", "/api/channels/notifications:ada/events"} {
				st := s.open(path, who...)
				if st.Status != test.want {
					t.Errorf("%s on %s: got %d, want %d", test.patterns, path, st.Status, test.want)
				}
				st.Close()
			}
			want := test.want
			if want == 200 {
				want = 201
			}
			if a := s.post("/api/channels/notifications:ada/events", `{"data":1}`, who...); a.Status != want {
				t.Errorf("%s publishing: %d %s", test.patterns, a.Status, a.Body)
			}
		}
	})
}

// Types that are the gateway's own would be taken for its word by every client.
func TestAttackAForgedEventOfTheGateway(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		watch := s.open("/api/sse?channels=orders,notifications,activity,progress:t1")
		for _, typ := range []string{"open", "error", "gap", "position", "expired", "revoked", "inbox", "removed", "cancel"} {
			for _, channel := range []string{"orders", "notifications", "activity", "progress:t1", "notifications:ada", "time"} {
				for _, data := range []string{`1`, `{"type":"info","title":"a","message":"b"}`, `{"progress":1}`, `{"type":"user_joined","userName":"a","action":"b"}`} {
					if a := s.post("/api/channels/"+channel+"/events", `{"type":"`+typ+`","data":`+data+`}`); a.Status != 400 {
						t.Errorf("%s on %s: %d %s", typ, channel, a.Status, a.Body)
					}
				}
			}
		}
		// A type inside a payload is data.
		s.rdb.Publish(t.Context(), "orders", `{"type":"expired","data":{}}`)
		for _, e := range watch.quiet() {
			if e.Type != "" || !strings.HasPrefix(e.Data, `{"channel":"orders"`) || !strings.Contains(e.Data, `"type":"","time"`) {
				t.Errorf("got %+v", e)
			}
		}
	})
}

// The key of an event is the sender's: who guesses it does not see what another one published.
func TestAttackAnIdempotencyKeyOfAnother(t *testing.T) {
	protect(t, tokens, gateway.Config{}, nil, func(t *testing.T, s *site) {
		ada, eve := token(t, "ada", "", "orders,progress:*"), token(t, "eve", "", "orders,progress:*")
		post := func(path, body string, who []string) answer {
			return s.post(path, body, append(who, "Idempotency-Key", "1")...)
		}
		first := post("/api/channels/orders/events", `{"data":"ada's"}`, ada)
		if a := post("/api/channels/orders/events", `{"data":"eve's"}`, eve); a.Status != 201 || a.Header.Get("Idempotent-Replayed") != "" || a.Body == first.Body {
			t.Errorf("eve gets %d %s", a.Status, a.Body)
		}
		if a := post("/api/channels/orders/events", `{"data":"again"}`, ada); a.Body != first.Body {
			t.Errorf("ada gets %s, not %s", a.Body, first.Body)
		}
		one, two := post("/api/tasks", `{"taskName":"x"}`, ada), post("/api/tasks", `{"taskName":"x"}`, eve)
		if fields(t, one.Body)["taskId"] == fields(t, two.Body)["taskId"] {
			t.Errorf("two users have the task %s", one.Body)
		}
	})
}

func TestAStreamIsOpenedByTheApplicationsOwnCookie(t *testing.T) {
	var asked []*http.Request
	app := func(q *http.Request) (int, string) {
		asked = append(asked, q)
		if strings.Contains(q.Header.Get("Cookie"), "session=ada") {
			return 200, `{"sub":"ada","subscribe":["notifications","team.*"]}`
		}
		return 401, ""
	}
	cfg := gateway.Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, CORSOrigins: []string{"https://www.test"}}
	protect(t, auth.Config{AuthURL: "http://app.test/whoami"}, cfg, app, func(t *testing.T, s *site) {
		proxied := []string{"X-Test-Peer", "10.1.0.9:1", "X-Forwarded-For", "203.0.113.7", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "www.test", "Host", "gateway:8080"}
		if st := s.open("/api/sse/channels/team.7", append(proxied, "Cookie", "session=ada", "Referer", "https://www.test/p", "Origin", "https://www.test")...); st.Status != 200 {
			t.Fatalf("got %d %s", st.Status, st.Body)
		}
		h := asked[0].Header
		for name, want := range map[string]string{
			"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "www.test", "Referer": "https://www.test/p", "Origin": "https://www.test",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
		// Who is no trusted proxy says nothing about addresses.
		s.get("/api/notifications", "Cookie", "session=ada", "X-Test-Peer", "198.51.100.7:1", "X-Forwarded-For", "203.0.113.8", "X-Forwarded-Proto", "https",
			"X-Forwarded-Host", "evil.test", "Host", "gateway.test")
		h = asked[len(asked)-1].Header
		if len(asked) != 2 || h.Get("X-Forwarded-For") != "198.51.100.7" || h.Get("X-Forwarded-Proto") != "http" || h.Get("X-Forwarded-Host") != "gateway.test" {
			t.Errorf("attack: spoofed headers are handed on: %v", h)
		}
		if a := s.get("/api/sse/notifications", "Cookie", "session=eve"); code(a) != "session_refused" || a.Status != 401 {
			t.Errorf("an unknown session: %d %s", a.Status, a.Body)
		}
	})
}

func TestWhileTheApplicationIsAwayAnEventSourceComesBack(t *testing.T) {
	protect(t, auth.Config{AuthURL: "http://app.test/whoami"}, gateway.Config{}, func(*http.Request) (int, string) { return 500, "" }, func(t *testing.T, s *site) {
		st := s.open("/api/sse/notifications", "Cookie", "session=ada", "Accept", "text/event-stream")
		if st.Status != 200 {
			t.Fatalf("an EventSource: %d %s", st.Status, st.Body)
		}
		st.ended()
		if !strings.HasPrefix(st.raw.String(), ": The application does not say") || !strings.Contains(st.raw.String(), "retry: ") {
			t.Errorf("it is told %q", st.raw)
		}
		if got := s.metric(`sluice_auth_calls_total{answer="none"}`); got != "1" {
			t.Errorf("%s calls without an answer are counted, want 1", got)
		}
		for _, header := range [][]string{nil, {"Accept", "text/event-stream", "Sluice-Edge", "nginx"}} {
			if got := refused(t, "a program", s.get("/api/sse/notifications", append(header, "Cookie", "session=ada")...), 503); got != "auth_unavailable" {
				t.Errorf("got %q", got)
			}
		}
	})
}

func TestAStreamEndsWithItsSessionAndTheReconnectAsksAgain(t *testing.T) {
	signedIn, asked := true, 0
	app := func(*http.Request) (int, string) {
		if asked++; signedIn {
			return 200, `{"sub":"ada","subscribe":["orders"]}`
		}
		return 401, ""
	}
	protect(t, auth.Config{AuthURL: "http://app.test/whoami"}, gateway.Config{}, app, func(t *testing.T, s *site) {
		st := s.open("/api/sse/channels/orders", "Cookie", "session=ada")
		began := time.Now()
		s.rdb.Publish(t.Context(), "orders", "1")
		time.Sleep(4 * time.Minute)
		if e := st.next(); e.Data != "1" {
			t.Fatalf("got %+v", e)
		}
		id := place(blocks(t, "before the end", st.rawSoFar()))
		if all := st.ended(); len(all) != 1 || all[0].Type != "expired" || fields(t, all[0].Data)["code"] != "expired" {
			t.Fatalf("the stream ends with %+v", all)
		}
		if lasted := time.Since(began); lasted < 4*time.Minute+25*time.Second || lasted > 5*time.Minute {
			t.Errorf("it lasted %v", lasted)
		}
		if got := s.metric(`sluice_streams_closed_total{reason="expired"}`); got != "1" {
			t.Errorf("%s ends are counted, want 1", got)
		}
		s.rdb.Publish(t.Context(), "orders", "2")
		if e := s.open("/api/sse/channels/orders", "Cookie", "session=ada", "Last-Event-ID", id).next(); e.Data != "2" || asked != 2 {
			t.Errorf("back again: %+v; the application was asked %d times", e, asked)
		}
		signedIn = false
		time.Sleep(6 * time.Minute)
		if a := s.get("/api/sse/channels/orders", "Cookie", "session=ada"); a.Status != 401 {
			t.Errorf("after the session's end: %d %s", a.Status, a.Body)
		}
	})
}

func TestAThousandTokensOfOneMinuteDoNotEndTogether(t *testing.T) {
	protect(t, tokens, gateway.Config{}, nil, func(t *testing.T, s *site) {
		const streams = 1000
		first := time.Now()
		ends := make(chan time.Time, streams)
		for range streams {
			text, err := auth.NewToken(tokens, auth.Identity{Subject: "ada", Subscribe: patterns(t, "orders")}, 5*time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			st := s.open("/api/sse/channels/orders", "Authorization", "Bearer "+text)
			go func() {
				for range st.events {
				}
				ends <- time.Now()
			}()
		}
		perSecond := map[int64]int{}
		for range streams {
			at := <-ends
			perSecond[at.Unix()]++
			if at.Sub(first) > 5*time.Minute+11*time.Second {
				t.Errorf("a stream outlived its token by %v", at.Sub(first)-5*time.Minute)
			}
		}
		for at, n := range perSecond {
			if n > streams/10 {
				t.Errorf("%d streams end in second %d", n, at)
			}
		}
	})
}

func TestDemonstrationsAndPagesCanBeSwitchedOff(t *testing.T) {
	serve(t, gateway.Config{Demo: "off", Console: "off"}, func(t *testing.T, s *site) {
		for _, request := range []string{"POST /api/tasks/start", "POST /api/activity/simulate", "GET /", "GET /notifications", "GET /progress", "GET /activity", "GET /console/console.css", "GET /favicon.ico"} {
			method, path, _ := strings.Cut(request, " ")
			if a := s.do(method, path, `{"taskName":"x"}`); a.Status != 404 && a.Status != 405 {
				t.Errorf("%s: %d", request, a.Status)
			}
		}
		if a := s.post("/api/tasks", `{}`); a.Status != 201 {
			t.Errorf("a real task: %d %s", a.Status, a.Body)
		}
		if st := s.open("/api/sse/time"); st.Status != 200 {
			t.Errorf("the time: %d", st.Status)
		}
	})
}

func TestWhatIsForOperatorsCanHaveAnAddressOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, gateway.Config{AdminAddr: "127.0.0.1:9090"})
		operators := newPipes()
		ended := make(chan error, 1)
		go func() { ended <- s.server.ServeAdmin(operators) }()
		inside := &site{t: t, front: operators}
		inside.waitReady()
		for path, want := range map[string]int{
			"/metrics": 200, "/healthz": 200, "/readyz": 200, "/debug/pprof/": 200, "/debug/pprof/heap": 200, "/debug/pprof/cmdline": 200,
			"/api/notifications": 404, "/": 404,
		} {
			if a := inside.get(path); a.Status != want {
				t.Errorf("%s inside: %d, want %d", path, a.Status, want)
			}
		}
		for _, path := range []string{"/metrics", "/healthz", "/readyz", "/debug/pprof/", "/debug/pprof/heap"} {
			if a := s.get(path); a.Status != 404 {
				t.Errorf("%s outside: %d, want 404", path, a.Status)
			}
		}
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Errorf("ServeAdmin: %v", err)
		}
		operators.closeIdle()
	})
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		if a := s.get("/debug/pprof/"); a.Status != 404 {
			t.Errorf("profiles at the address for everybody: %d", a.Status)
		}
	})
}
