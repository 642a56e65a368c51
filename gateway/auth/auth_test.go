package auth_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sluice/gateway/auth"
)

// aSecret is long enough.
const aSecret = "0123456789abcdef0123456789abcdef"

// door is an Authenticator that is asked by tests.
type door struct {
	t *testing.T
	*auth.Authenticator
	log *logged
}

// logged is what was logged; it is safe for concurrent use.
type logged struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// remote is what the gateway calls: the application, or the issuer of tokens.
type remote func(*http.Request) (*http.Response, error)

func (r remote) RoundTrip(q *http.Request) (*http.Response, error) { return r(q) }

// says returns a response.
func says(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}}
}

// newDoor starts an Authenticator with these settings. r may be nil.
func newDoor(t *testing.T, cfg auth.Config, r remote) *door {
	t.Helper()
	if cfg.JWTCookie == "" {
		cfg.JWTCookie = "sluice_token"
	}
	if cfg.AuthMaxAge == 0 {
		cfg.AuthMaxAge = 5 * time.Minute
	}
	if cfg.DefaultSubscribe == nil {
		cfg.DefaultSubscribe = []string{"notifications"}
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	d := &door{t: t, log: &logged{}}
	var transport http.RoundTripper
	if r != nil {
		transport = r
	}
	var err error
	if d.Authenticator, err = auth.New(cfg, transport, slog.New(slog.NewTextHandler(d.log, nil))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { d.Run(ctx); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	return d
}

// request returns a request; names and values of header alternate.
func request(target string, header ...string) auth.Request {
	r, err := http.NewRequest(http.MethodGet, "http://gateway.test"+target, nil)
	if err != nil {
		panic(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return auth.Request{HTTP: r, Address: "192.0.2.1", Client: netip.MustParsePrefix("192.0.2.1/32"), Proto: "http", Host: "gateway.test"}
}

// identify returns who makes a request, and the code of the refusal if there is one.
func (d *door) identify(r auth.Request) (auth.Identity, string) {
	d.t.Helper()
	s, err := d.Identify(context.Background(), r)
	if err == nil {
		return s.Value(), ""
	}
	refusal, ok := errors.AsType[*auth.DeniedError](err)
	if !ok || refusal.Message == "" || refusal.Code == "" {
		d.t.Fatalf("the error %#v is no whole *DeniedError", err)
	}
	if want := map[bool]int{true: 503, false: 401}[strings.HasPrefix(refusal.Code, "auth_")]; refusal.Status != want && refusal.Status != 403 {
		d.t.Errorf("%s: status %d, want %d", refusal.Code, refusal.Status, want)
	}
	return auth.Identity{}, refusal.Code
}

// bearer is identify for a credential in the Authorization header.
func (d *door) bearer(credential string) (auth.Identity, string) {
	d.t.Helper()
	return d.identify(request("/", "Authorization", "Bearer "+credential))
}

// with returns claims that are good, but for these; a nil value removes one.
func with(changes ...any) jwt.MapClaims {
	c := jwt.MapClaims{"sub": "ada", "exp": time.Now().Add(time.Hour).Unix()}
	for i := 0; i < len(changes); i += 2 {
		name := changes[i].(string)
		if c[name] = changes[i+1]; c[name] == nil {
			delete(c, name)
		}
	}
	return c
}

// sign returns a token.
func sign(t testing.TB, method jwt.SigningMethod, key any, c jwt.MapClaims, header ...any) string {
	t.Helper()
	token := jwt.NewWithClaims(method, c)
	for i := 0; i < len(header); i += 2 {
		token.Header[header[i].(string)] = header[i+1]
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// hs returns a token that is signed with aSecret.
func hs(t testing.TB, changes ...any) string {
	t.Helper()
	return sign(t, jwt.SigningMethodHS256, []byte(aSecret), with(changes...))
}

func TestTheFirstCredentialDecidesAlsoIfItIsBad(t *testing.T) {
	key, line, err := auth.NewKey("shop", []string{"orders.*"})
	if err != nil {
		t.Fatal(err)
	}
	var asked int
	d := newDoor(t, auth.Config{
		JWTSecret: aSecret, APIKeys: line, AuthURL: "http://app.test/whoami", AuthCookies: []string{"session"}, Anonymous: []string{"time"},
	}, func(q *http.Request) (*http.Response, error) {
		asked++
		if q.Header.Get("Cookie") == "session=grace" || q.Header.Get("Authorization") == "Basic Z3JhY2U6eA==" {
			return says(200, `{"sub":"grace"}`), nil
		}
		return says(401, ""), nil
	})
	good, bad := hs(t), hs(t, "exp", 1)
	for _, test := range []struct {
		name   string
		header []string
		who    string // subject or key; "" nobody
		code   string
	}{
		{"nothing", nil, "", ""},
		{"a token", []string{"Authorization", "Bearer " + good}, "ada", ""},
		{"a scheme in small letters", []string{"Authorization", "bearer " + good}, "ada", ""},
		{"a key", []string{"Authorization", "Bearer " + key}, "shop", ""},
		{"a cookie with a token", []string{"Cookie", "sluice_token=" + good}, "ada", ""},
		{"a cookie of the application", []string{"Cookie", "session=grace"}, "grace", ""},
		{"an Authorization of the application", []string{"Authorization", "Basic Z3JhY2U6eA=="}, "grace", ""},
		{"a cookie of nobody's", []string{"Cookie", "theme=dark"}, "", ""},
		{"an empty cookie for a token", []string{"Cookie", "sluice_token="}, "", ""},
		{"a token before cookies", []string{"Authorization", "Bearer " + good, "Cookie", "session=grace"}, "ada", ""},
		{"a token's cookie before the application's", []string{"Cookie", "session=grace; sluice_token=" + good}, "ada", ""},

		{"an expired token, a good cookie", []string{"Authorization", "Bearer " + bad, "Cookie", "session=grace"}, "", "token_expired"},
		{"an expired token's cookie, a good session", []string{"Cookie", "session=grace; sluice_token=" + bad}, "", "token_expired"},
		{"a bad key, a good cookie", []string{"Authorization", "Bearer sluice_shop_x", "Cookie", "session=grace"}, "", "invalid_key"},
		{"an unknown Authorization, a good cookie", []string{"Authorization", "Basic eDp4", "Cookie", "sluice_token=" + good}, "", "session_refused"},
		{"an empty Authorization, a good cookie", []string{"Authorization", "", "Cookie", "sluice_token=" + good}, "", "session_refused"},
		{"a session that the application does not know", []string{"Cookie", "session=x"}, "", "session_refused"},
		{"two Authorizations", []string{"Authorization", "Bearer " + good, "Authorization", "Bearer " + good}, "", "invalid_credential"},
		{"attack: another's token beside the user's", []string{"Cookie", "sluice_token=" + good + "; sluice_token=" + hs(t, "sub", "eve")}, "", "invalid_credential"},
		{"the same token twice", []string{"Cookie", "sluice_token=" + good + "; sluice_token=" + good}, "ada", ""},
	} {
		who, code := d.identify(request("/api", test.header...))
		if got := who.Subject + who.Key; got != test.who || code != test.code {
			t.Errorf("%s: got %q %q, want %q %q", test.name, got, code, test.who, test.code)
		}
		if code == "" && who.Known() != (test.who != "") {
			t.Errorf("%s: known %v", test.name, who.Known())
		}
	}
	if nobody, _ := d.identify(request("/api")); !nobody.MayRead("time") || nobody.MayRead("notifications") || nobody.MayPublish("time") {
		t.Errorf("nobody may %+v", nobody)
	}
	if asked == 0 {
		t.Error("the application was never asked")
	}
}

func TestACredentialForAMethodThatIsOffIsRefused(t *testing.T) {
	key, line, _ := auth.NewKey("shop", []string{"orders"})
	for _, test := range []struct {
		name       string
		cfg        auth.Config
		credential string
	}{
		{"a key", auth.Config{JWTSecret: aSecret}, key},
		{"a token", auth.Config{APIKeys: line}, hs(t)},
		{"something opaque", auth.Config{JWTSecret: aSecret}, "1|laravel"},
	} {
		if _, code := newDoor(t, test.cfg, nil).bearer(test.credential); code != "invalid_credential" {
			t.Errorf("%s: got %q", test.name, code)
		}
	}
	d := newDoor(t, auth.Config{APIKeys: line}, nil)
	if who, code := d.identify(request("/", "Cookie", "sluice_token="+hs(t)+"; session=x")); code != "" || who.Known() {
		t.Errorf("cookies that no method knows: %+v %q", who, code)
	}
}

func TestAttackATokenInTheURL(t *testing.T) {
	key, line, _ := auth.NewKey("shop", []string{"orders"})
	d := newDoor(t, auth.Config{JWTSecret: aSecret, APIKeys: line}, nil)
	good := hs(t)
	for _, query := range []string{
		"token=" + good, "ticket=" + good, "access_token=" + good, "lastEventId=" + good, good, "a=1&b=Bearer+" + good, "a=b;jwt=" + good,
		"x=" + strings.ReplaceAll(good, ".", "%2E"), "x=%65yJ" + good[3:], "key=" + key, "ticket=" + strings.ReplaceAll(key, "_", "%5F"),
	} {
		for _, header := range [][]string{nil, {"Authorization", "Bearer " + good}} {
			if _, code := d.identify(request("/api/sse/notifications?"+query, header...)); code != "credential_in_url" {
				t.Errorf("%s: got %q", query, code)
			}
		}
	}
	for _, query := range []string{"", "channels=orders,eyJ.a", "lastEventId=mAAAAeyJ", "ticket=abc.def", "channels=sluice_shop_x", "x=%zz"} {
		if _, code := d.identify(request("/api/sse?"+query, "Authorization", "Bearer "+good)); code != "" {
			t.Errorf("%s: got %q", query, code)
		}
	}
}

func TestEqualIdentitiesAreOneSession(t *testing.T) {
	d := newDoor(t, auth.Config{JWTSecret: aSecret}, nil)
	token, other := hs(t, "jti", "1"), hs(t, "jti", "2")
	open := func(token string) auth.Session {
		s, err := d.Identify(t.Context(), request("/", "Authorization", "Bearer "+token))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if first, again := open(token), open(token); first != again || first == open(other) {
		t.Error("sessions are not told by their tokens")
	}
}
