package gateway_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"sluice/gateway"
	"sluice/store"
)

// proxied is a gateway that lets each client address have one stream, behind a proxy at 10.1.0.0/16 and one at 2001:db8:f::/48.
var proxied = gateway.Config{
	MaxStreamsPerIP: 1,
	TrustedProxies:  []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8:f::/48")},
}

func TestAClientCannotEvadeItsStreamLimitByClaimingAddresses(t *testing.T) {
	const proxy, proxy6, stranger = "10.1.0.9:5000", "[2001:db8:f::9]:5000", "198.51.100.7:5000"
	type from struct{ peer, forwarded string }
	for _, test := range []struct {
		name          string
		first, second from
		same          bool // the second one is the same client's, hence refused
	}{
		{"one client, two connections", from{stranger, ""}, from{"198.51.100.7:5001", ""}, true},
		{"two clients", from{stranger, ""}, from{"198.51.100.8:5000", ""}, false},
		{"two clients behind the proxy", from{proxy, "203.0.113.1"}, from{proxy, "203.0.113.2"}, false},
		{"one client behind two proxies", from{proxy, "203.0.113.1"}, from{proxy6, "203.0.113.1"}, true},
		{"one client, two chained proxies", from{proxy, "203.0.113.1"}, from{proxy, "203.0.113.1, 10.1.7.7"}, true},
		{"one network of IPv6 behind the proxy", from{proxy, "2001:db8:1::1"}, from{proxy, "2001:db8:1::2"}, true},

		{"attack: a client without a proxy claims other addresses", from{stranger, "203.0.113.1"}, from{stranger, "203.0.113.2"}, true},
		{"attack: a client on the loopback interface claims other addresses",
			from{"127.0.0.1:5000", "203.0.113.1"}, from{"127.0.0.1:5001", "203.0.113.2"}, true},
		{"attack: a client in a private network claims other addresses",
			from{"192.168.1.50:5000", "203.0.113.1"}, from{"192.168.1.50:5001", "203.0.113.2"}, true},
		{"attack: a link-local client claims other addresses",
			from{"[fe80::1]:5000", "203.0.113.1"}, from{"[fe80::1]:5001", "203.0.113.2"}, true},
		{"attack: a client puts addresses in front of what the proxy adds",
			from{proxy, "6.6.6.6, 203.0.113.1"}, from{proxy, "7.7.7.7, 203.0.113.1"}, true},
		{"attack: a client puts private addresses in front",
			from{proxy, "192.168.1.1, 203.0.113.1"}, from{proxy, "127.0.0.1, 203.0.113.1"}, true},
		{"attack: a client puts the proxy's own address in front",
			from{proxy, "10.1.0.1, 203.0.113.1"}, from{proxy, "10.1.0.2, 203.0.113.1"}, true},
		{"attack: a client puts nonsense in front", from{proxy, "x, 203.0.113.1"}, from{proxy, "203.0.113.1"}, true},
		{"attack: a client behind the proxy picks addresses of its /64",
			from{proxy, "2001:db8:1:2::1"}, from{proxy, "2001:db8:1:2:aaaa::1"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			serve(t, proxied, func(t *testing.T, s *site) {
				open := func(f from) int {
					header := []string{"X-Test-Peer", f.peer}
					if f.forwarded != "" {
						header = append(header, "X-Forwarded-For", f.forwarded, "X-Real-IP", "8.8.8.8", "Forwarded", "for=9.9.9.9")
					}
					return s.open("/api/sse/time", header...).Status
				}
				if got := open(test.first); got != http.StatusOK {
					t.Fatalf("first stream: got %d", got)
				}
				want := http.StatusOK
				if test.same {
					want = http.StatusTooManyRequests
				}
				if got := open(test.second); got != want {
					t.Errorf("second stream: got %d, want %d", got, want)
				}
			})
		})
	}
}

func TestTheLimitOfStreamsIsSaidAndEndsWithTheStream(t *testing.T) {
	serve(t, gateway.Config{MaxStreamsPerIP: 2}, func(t *testing.T, s *site) {
		first := s.open("/api/sse/notifications")
		s.open("/api/sse/channels/orders")
		for _, path := range []string{"/api/sse/time", "/api/sse/notifications", "/api/sse?channels=a,b", "/api/sse/progress/t"} {
			a := s.open(path, "Accept", "text/event-stream").answer
			refused(t, path, a, http.StatusTooManyRequests)
			if want := `{"error":"Too many connections","code":"too_many_streams"}`; a.Body != want {
				t.Errorf("%s: got %s, want %s", path, a.Body, want)
			}
		}
		if a := s.get("/api/notifications"); a.Status != 200 {
			t.Errorf("a plain read is no stream: %d", a.Status)
		}
		first.Close()
		s.until("the stream to be let go", func() bool { return s.metric("sluice_streams") == "1" })
		if st := s.open("/api/sse/time"); st.Status != 200 {
			t.Errorf("after one stream ended: got %d", st.Status)
		}
	})
}

func TestARefusedStreamDoesNotCount(t *testing.T) {
	serve(t, gateway.Config{MaxStreamsPerIP: 1}, func(t *testing.T, s *site) {
		for range 3 {
			s.get("/api/sse/channels/a%20b")
			s.get("/api/sse/channels/orders?replay=x")
			s.get("/api/sse?channels=")
		}
		if st := s.open("/api/sse/time"); st.Status != 200 {
			t.Errorf("got %d %s", st.Status, st.Body)
		}
	})
}

// A browser sends these headers by itself; a page cannot change them.
func TestAPageOfAnotherOriginCannotPublish(t *testing.T) {
	const body = `{"type":"info","title":"a","message":"b"}`
	for _, test := range []struct {
		name   string
		header []string
		ours   bool // is published
	}{
		{"a program", nil, true},
		{"our own page", []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://gateway.test"}, true},
		{"a bookmark", []string{"Sec-Fetch-Site", "none"}, true},
		{"our own page in an old browser", []string{"Origin", "http://gateway.test"}, true},
		{"a page that the operator allowed", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://app.test"}, true},
		{"attack: a page of another site", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.test"}, false},
		{"attack: a page of a sister site", []string{"Sec-Fetch-Site", "same-site", "Origin", "https://evil.gateway.test"}, false},
		{"attack: a page in an old browser", []string{"Origin", "https://evil.test"}, false},
		{"attack: a sandboxed frame", []string{"Sec-Fetch-Site", "cross-site", "Origin", "null"}, false},
		{"attack: a form that sends text", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.test", "Content-Type", "text/plain"}, false},
		{"attack: a name that begins like the allowed one", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://app.test.evil.test"}, false},
		{"attack: the allowed page without TLS", []string{"Sec-Fetch-Site", "cross-site", "Origin", "http://app.test"}, false},
		{"attack: another port of the allowed host", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://app.test:8443"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			serve(t, gateway.Config{CORSOrigins: []string{"https://app.test"}}, func(t *testing.T, s *site) {
				for _, call := range []struct{ method, path, body string }{
					{"POST", "/api/notifications/create", body},
					{"POST", "/api/channels/orders/events", `{"data":1}`},
					{"POST", "/api/activity/simulate", ""},
					{"POST", "/api/tasks/start", `{"taskName":"x"}`},
					{"PUT", "/api/tasks/t1/progress", `{"progress":1}`},
				} {
					a := s.do(call.method, call.path, call.body, test.header...)
					if test.ours {
						if a.Status >= 300 {
							t.Errorf("%s %s: got %d %s", call.method, call.path, a.Status, a.Body)
						}
						continue
					}
					if code := refused(t, call.path, a, http.StatusForbidden); code != "cross_origin" {
						t.Errorf("%s: got code %q", call.path, code)
					}
				}
				if h := s.get("/api/channels/orders/events").Body; strings.Contains(h, `"data":1`) != test.ours {
					t.Errorf("stored: %s", h)
				}
				// Reading is CORS's business, not ours.
				if a := s.get("/api/notifications", test.header...); a.Status != 200 {
					t.Errorf("read: got %d", a.Status)
				}
			})
		})
	}
}

func TestAnAllowedOriginSeesEveryAnswerRefusalsToo(t *testing.T) {
	cfg := gateway.Config{CORSOrigins: []string{"https://app.test", "http://localhost:3000"}, MaxStreamsPerIP: 1}
	serve(t, cfg, func(t *testing.T, s *site) {
		s.open("/api/sse/time") // takes the only stream
		for _, call := range []struct {
			method, path, body string
			status             int
		}{
			{"GET", "/api/notifications", "", 200},
			{"POST", "/api/channels/orders/events", `{"data":1}`, 201},
			{"GET", "/api/sse/time", "", 429},
			{"GET", "/api/sse/channels/a%20b", "", 400},
			{"POST", "/api/notifications/create", "{}", 400},
			{"GET", "/api/tasks/nobody", "", 404},
			{"GET", "/nothing", "", 404},
			{"PATCH", "/api/notifications", "", 405},
		} {
			for _, origin := range cfg.CORSOrigins {
				a := s.do(call.method, call.path, call.body, "Origin", origin, "Sec-Fetch-Site", "cross-site")
				if call.method == "PATCH" || a.Status == call.status {
					if a.Header.Get("Access-Control-Allow-Origin") != origin ||
						a.Header.Get("Access-Control-Allow-Credentials") != "true" || !strings.Contains(a.Header.Get("Vary"), "Origin") {
						t.Errorf("%s %s for %s: headers %v", call.method, call.path, origin, a.Header)
					}
				}
				if a.Status != call.status {
					t.Errorf("%s %s for %s: got %d %s, want %d", call.method, call.path, origin, a.Status, a.Body, call.status)
				}
			}
			a := s.do(call.method, call.path, call.body, "Origin", "https://evil.test")
			if got := a.Header.Get("Access-Control-Allow-Origin"); got != "" {
				t.Errorf("%s %s for a foreign origin: Access-Control-Allow-Origin %q", call.method, call.path, got)
			}
		}
		st := s.open("/api/sse/time", "Origin", "https://app.test", "X-Test-Peer", "192.0.2.77:1")
		if st.Status != 200 || st.Header.Get("Access-Control-Allow-Origin") != "https://app.test" {
			t.Errorf("stream: %d %v", st.Status, st.Header)
		}
	})
}

func TestABrowsersPreflightIsAnswered(t *testing.T) {
	serve(t, gateway.Config{CORSOrigins: []string{"https://app.test"}}, func(t *testing.T, s *site) {
		ask := func(origin string) answer {
			return s.do("OPTIONS", "/api/channels/orders/events", "", "Origin", origin, "Sec-Fetch-Site", "cross-site",
				"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type,idempotency-key")
		}
		a := ask("https://app.test")
		for name, want := range map[string]string{
			"Access-Control-Allow-Origin": "https://app.test", "Access-Control-Allow-Methods": "POST",
			"Access-Control-Allow-Headers": "Idempotency-Key", "Access-Control-Allow-Credentials": "true",
		} {
			if got := a.Header.Get(name); !strings.Contains(got, want) {
				t.Errorf("%s: got %q, want %q in it", name, got, want)
			}
		}
		if a.Status != http.StatusNoContent {
			t.Errorf("got %d, want 204", a.Status)
		}
		if got := ask("https://evil.test").Header.Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("a foreign origin was allowed: %q", got)
		}
	})
}

func TestWithoutAllowedOriginsNoPageElsewhereReadsAnything(t *testing.T) {
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		for _, path := range []string{"/api/notifications", "/nothing", "/healthz"} {
			for name := range s.get(path, "Origin", "https://evil.test").Header {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s has %s", path, name)
				}
			}
		}
	})
}

// Whoever may PUBLISH to Redis may announce events that nobody stored. That is trusted to be an event, but it must stay
// one event: the streams of others are not to be written by it.
func TestAForgedAnnouncementCannotBreakOutOfItsFrame(t *testing.T) {
	for name, forged := range map[string]string{
		"by the type":           `"type":"x` + "\nid: 9-evil\ndata: broken out\n\nevent: y" + `","data":1}`,
		"by the escaped type":   `"type":"x\nid: 9-evil\ndata: broken out\n\nevent: y","data":1}`,
		"by the data":           `"type":"x","data":"a` + "\n\nid: 9-evil\ndata: broken out\n\n" + `"}`,
		"by a carriage return":  `"type":"x","data":"a` + "\r\rid: 9-evil\rdata: broken out\r\r" + `"}`,
		"by the data, spaced":   ` "type": "x", "data": {` + "\n\n" + `"id": "9-evil", "data": "broken out"}}`,
		"by a type with quotes": `"type":"x\",\"data\":\"broken out","data":1}`,
	} {
		t.Run(name, func(t *testing.T) {
			serve(t, gateway.Config{}, func(t *testing.T, s *site) {
				one, many := s.open("/api/sse/channels/orders"), s.open("/api/sse?channels=orders,other")
				s.post("/api/channels/orders/events", `{"data":"first"}`)
				first := one.next()
				many.next()
				_, nonce, _ := strings.Cut(first.LastEventID, "-")
				s.rdb.Publish(t.Context(), store.NewNames(store.DefaultPrefix, 0).Live("orders"),
					fmt.Sprintf(`{"id":"2-0123456789","prev":"%s","time":1,%s`, nonce, forged))
				for what, st := range map[string]*stream{"one": one, "many": many} {
					for _, e := range st.quiet() {
						if e.LastEventID == "9-evil" || e.Data == "broken out" || strings.ContainsAny(e.Type, "\"\\ ") {
							t.Errorf("stream of %s: %+v", what, e)
						}
					}
				}
				// And the true next event still arrives.
				if a := s.post("/api/channels/orders/events", `{"data":"second"}`); a.Status != 201 {
					t.Fatalf("publish: %d %s", a.Status, a.Body)
				}
				s.until("the true event", func() bool {
					return strings.Contains(one.raw.String(), `"second"`) && strings.Contains(many.raw.String(), `"second"`)
				})
			})
		})
	}
}
