package gateway_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"

	"sluice/gateway"
	"sluice/gateway/auth"
)

// protectTwo is protect for two replicas on one Redis.
func protectTwo(t *testing.T, who auth.Config, app application, test func(t *testing.T, a, b *site)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		hanging := time.AfterFunc(15*time.Minute, func() { panic(t.Name() + " hangs") })
		t.Cleanup(func() { hanging.Stop() })
		mini := miniredis.NewMiniRedis()
		mini.ClockTTL(true)
		t.Cleanup(mini.Close)
		replicas := make([]*site, 2)
		for i, name := range []string{"a", "b"} {
			replicas[i] = newReplica(t, name, gateway.Config{Authenticator: newAuthenticator(t, who, app)}, mini)
			replicas[i].waitReady()
		}
		test(t, replicas[0], replicas[1])
	})
}

// revoke revokes, and fails the test if that is refused.
func (s *site) revoke(what string, who []string) {
	s.t.Helper()
	if a := s.post("/api/revocations", what, who...); a.Status != 204 {
		s.t.Fatalf("revoke %s: %d %s", what, a.Status, a.Body)
	}
}

func admin(t *testing.T) []string {
	t.Helper()
	return credential(t, auth.Identity{Subject: "root", Admin: true})
}

// deny checks the status of a refusal by any replica, and returns its code.
func deny(t *testing.T, what string, a answer, status int) string {
	t.Helper()
	if a.Status != status || code(a) == "" {
		t.Errorf("%s: %d %s, want %d", what, a.Status, a.Body, status)
	}
	return code(a)
}

// wantRevoked checks that a stream ends for good within a second.
func (st *stream) wantRevoked() {
	st.t.Helper()
	began := time.Now()
	all := st.ended()
	if len(all) != 1 || all[0].Type != "revoked" || fields(st.t, all[0].Data)["code"] != "revoked" || time.Since(began) > time.Second {
		st.t.Errorf("after %v the stream ends with %+v", time.Since(began), all)
	}
}

func TestARevocationEndsStreamsOnEveryReplicaWithinASecondAndOnlyThese(t *testing.T) {
	protectTwo(t, tokens, nil, func(t *testing.T, a, b *site) {
		ada, bob := token(t, "ada", "orders", "orders"), token(t, "bob", "orders", "orders")
		here, there, others := a.open("/api/sse/channels/orders", ada...), b.open("/api/sse/channels/orders", ada...), b.open("/api/sse/channels/orders", bob...)
		a.revoke(`{"sub":"ada"}`, admin(t))
		here.wantRevoked()
		there.wantRevoked()
		for _, s := range []*site{a, b} {
			for _, got := range []answer{
				s.get("/api/sse/channels/orders", ada...), s.get("/api/channels/orders/events", ada...), s.post("/api/channels/orders/events", `{"data":1}`, ada...),
			} {
				if c := deny(t, "a revoked token", got, 401); c != "revoked" {
					t.Errorf("a revoked token: %s", c)
				}
			}
			if got := s.metric("sluice_revocations"); got != "1" {
				t.Errorf("%s revocations are known, want 1", got)
			}
		}
		if got := b.metric(`sluice_streams_closed_total{reason="revoked"}`); got != "1" {
			t.Errorf("%s ends are counted, want 1", got)
		}
		// Signing in again works at once, also for what is revoked once more and on a replica that starts later.
		again := token(t, "ada", "orders", "orders")
		st := b.open("/api/sse/channels/orders", again...)
		b.post("/api/channels/orders/events", `{"data":7}`, again...)
		if e := st.next(); e.Data != "7" {
			t.Errorf("after signing in again: %+v", e)
		}
		if e := others.next(); e.Data != "7" {
			t.Errorf("another user's stream: %+v", e)
		}
		b.revoke(`{"sub":"ada"}`, admin(t))
		st.wantRevoked()
		late := newReplica(t, "c", gateway.Config{Authenticator: newAuthenticator(t, tokens, nil)}, a.mini)
		late.waitReady()
		if c := deny(t, "on a new replica", late.get("/api/sse/channels/orders", again...), 401); c != "revoked" {
			t.Errorf("on a new replica: %s", c)
		}
		if st := late.open("/api/sse/channels/orders", token(t, "ada", "orders", "")...); st.Status != 200 {
			t.Errorf("on a new replica, with a new token: %d %s", st.Status, st.Body)
		}
	})
}

func TestOneTokenIsRevokedByItsIdAndOthersOfTheUserAreNot(t *testing.T) {
	protectTwo(t, tokens, nil, func(t *testing.T, a, b *site) {
		one, other := token(t, "ada", "orders", ""), token(t, "ada", "orders", "")
		first, second := b.open("/api/sse/channels/orders", one...), b.open("/api/sse/channels/orders", other...)
		a.revoke(`{"jti":"`+fields(t, claimsOf(t, one[1]))["jti"].(string)+`"}`, admin(t))
		first.wantRevoked()
		a.rdb.Publish(t.Context(), "orders", "1")
		if e := second.next(); e.Data != "1" {
			t.Errorf("the other token's stream: %+v", e)
		}
	})
}

func TestARevocationForgetsWhatTheApplicationSaidBefore(t *testing.T) {
	asked, signedIn := 0, true
	app := func(*http.Request) (int, string) {
		if asked++; signedIn {
			return 200, `{"sub":"ada","subscribe":["orders"]}`
		}
		return 401, ""
	}
	key, line, err := auth.NewKey("desk", []string{"orders", "/revoke"})
	if err != nil {
		t.Fatal(err)
	}
	protectTwo(t, auth.Config{AuthURL: "http://app.test/", APIKeys: line}, app, func(t *testing.T, a, b *site) {
		st := b.open("/api/sse/channels/orders", "Cookie", "session=1")
		a.revoke(`{"sub":"ada"}`, []string{"Authorization", "Bearer " + key})
		st.wantRevoked()
		if a := b.get("/api/channels/orders/events", "Cookie", "session=1"); a.Status != 200 || asked != 2 {
			t.Errorf("the application, asked %d times, knows the session: %d %s", asked, a.Status, a.Body)
		}
		signedIn = false
		a.revoke(`{"sub":"ada"}`, []string{"Authorization", "Bearer " + key})
		if a := b.get("/api/channels/orders/events", "Cookie", "session=1"); a.Status != 401 || asked != 3 {
			t.Errorf("the application, asked %d times, does not: %d %s", asked, a.Status, a.Body)
		}
	})
}

func TestOnlyAnAdminAndAKeyWithTheRightRevoke(t *testing.T) {
	_, line, err := auth.NewKey("shop", []string{"orders"})
	if err != nil {
		t.Fatal(err)
	}
	protect(t, auth.Config{JWTSecret: tokenSecret, APIKeys: line}, gateway.Config{}, nil, func(t *testing.T, s *site) {
		refused(t, "nobody", s.post("/api/revocations", `{"sub":"ada"}`), 401)
		refused(t, "a user", s.post("/api/revocations", `{"sub":"ada"}`, token(t, "ada", "*", "*")...), 403)
		for _, body := range []string{`{}`, `{"sub":"ada","jti":"1"}`, `{"sub":"a b"}`, `{"jti":"a\u0000"}`, `{"jti":"` + strings.Repeat("x", 257) + `"}`, `[]`, ``} {
			refused(t, body, s.post("/api/revocations", body, admin(t)...), 400)
		}
	})
	serve(t, gateway.Config{}, func(t *testing.T, s *site) {
		refused(t, "without authentication", s.post("/api/revocations", `{"sub":"ada"}`), 404)
	})
}

func TestWhatIsRevokedIsKeptForItsTimeAndNotLonger(t *testing.T) {
	cfg := tokens
	cfg.RevokeFor = time.Minute
	protect(t, cfg, gateway.Config{}, nil, func(t *testing.T, s *site) {
		ada := token(t, "ada", "orders", "")
		s.revoke(`{"sub":"ada"}`, admin(t))
		time.Sleep(50 * time.Second)
		deny(t, "within the time", s.get("/api/channels/orders/events", ada...), 401)
		time.Sleep(80 * time.Second)
		if a := s.get("/api/channels/orders/events", ada...); a.Status != 200 {
			t.Errorf("after the time: %d %s", a.Status, a.Body)
		}
		if s.mini.Exists("sluice:revoked") {
			t.Error("Redis keeps what is over")
		}
	})
}

func TestAttackARevocationWhileAReplicaIsCutOff(t *testing.T) {
	protectTwo(t, tokens, nil, func(t *testing.T, a, b *site) {
		ada := token(t, "ada", "orders", "")
		st := b.open("/api/sse/channels/orders", ada...)
		b.back.cut()
		time.Sleep(3 * time.Second)
		a.revoke(`{"sub":"ada"}`, admin(t))
		a.rdb.Publish(t.Context(), "orders", `"secret"`)
		began := time.Now()
		if got := deny(t, "while it is cut off", b.get("/api/sse/channels/orders", ada...), 503); got != "revocations_unknown" || time.Since(began) > 3*time.Second {
			t.Errorf("a new stream gets %s after %v", got, time.Since(began))
		}
		deny(t, "another user", b.get("/api/sse/channels/orders", token(t, "bob", "orders", "")...), 503)
		b.back.mend()
		if all := st.ended(); len(all) != 1 || all[0].Type != "revoked" {
			t.Errorf("the stream ends with %+v", all)
		}
		deny(t, "when it is back", b.get("/api/sse/channels/orders", ada...), 401)
	})
}

// claimsOf returns the claims of a token, as JSON.
func claimsOf(t *testing.T, header string) string {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(header, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
