package auth_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/gateway/auth"
)

// app is an application that knows sessions. It is safe for concurrent use.
type app struct {
	mu     sync.Mutex
	answer func(*http.Request) (*http.Response, error) // guarded by mu
	asked  []*http.Request                             // guarded by mu
}

// sessions is the answer of an application that knows the cookies session=<name>.
func sessions(names ...string) func(*http.Request) (*http.Response, error) {
	return func(q *http.Request) (*http.Response, error) {
		for _, name := range names {
			if q.Header.Get("Cookie") == "session="+name {
				return says(200, `{"sub":"`+name+`"}`), nil
			}
		}
		return says(401, "sign in"), nil
	}
}

func (a *app) RoundTrip(q *http.Request) (*http.Response, error) {
	a.mu.Lock()
	a.asked = append(a.asked, q)
	answer := a.answer
	a.mu.Unlock()
	return answer(q)
}

func (a *app) set(answer func(*http.Request) (*http.Response, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = answer
}

func (a *app) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.asked)
}

// withApp runs a test in a bubble, where time is free.
func withApp(t *testing.T, answer func(*http.Request) (*http.Response, error), test func(t *testing.T, d *door, a *app)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := &app{answer: answer}
		test(t, newDoor(t, auth.Config{AuthURL: "http://app.test/api/whoami", AuthMaxAge: 5 * time.Minute}, a.RoundTrip), a)
	})
}

// cookie is identify for a Cookie header.
func (d *door) cookie(text string) (auth.Identity, string) {
	d.t.Helper()
	return d.identify(request("/", "Cookie", text))
}

func TestTheApplicationIsAskedWhoSomebodyIs(t *testing.T) {
	withApp(t, nil, func(t *testing.T, d *door, a *app) {
		a.set(func(*http.Request) (*http.Response, error) {
			r := says(200, `{"sub":7,"subscribe":["team:7:*"],"publish":["chat"],"admin":true,"expires":"2000-01-01T02:00:00Z","other":1}`)
			r.Header.Set("Set-Cookie", "session=eve")
			return r, nil
		})
		r := request("/api/sse/notifications?x=1",
			"Cookie", "session=s; theme=dark", "Referer", "https://www.test/page?q=1", "Origin", "https://www.test", "Authorization", "Basic eDp5",
			"X-Forwarded-For", "6.6.6.6", "X-Secret", "x", "Last-Event-ID", "7-x", "Accept-Language", "de", "User-Agent", "curl", "Range", "bytes=0-1", "Connection", "close")
		r.Proto, r.Host = "https", "www.test"
		who, code := d.identify(r)
		if code != "" || who.Subject != "7" || !who.Admin || who.Subscribe.String() != "team:7:*" || who.Publish.String() != "chat" {
			t.Errorf("got %+v %q", who, code)
		}
		q := a.asked[0]
		if q.Method != http.MethodGet || q.URL.String() != "http://app.test/api/whoami" {
			t.Errorf("asked by %s %s", q.Method, q.URL)
		}
		want := http.Header{
			"Cookie": {"session=s; theme=dark"}, "Authorization": {"Basic eDp5"}, "Origin": {"https://www.test"}, "Referer": {"https://www.test/page?q=1"},
			"X-Forwarded-For": {"192.0.2.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"www.test"},
			"Accept": {"application/json"}, "User-Agent": {"sluice"},
		}
		if fmt.Sprint(q.Header) != fmt.Sprint(want) {
			t.Errorf("headers:\n got %v\nwant %v", q.Header, want)
		}
	})
}

func TestOnlyTheCookiesInTheSettingsAreHandedOn(t *testing.T) {
	a := &app{answer: sessions()}
	d := newDoor(t, auth.Config{AuthURL: "http://app.test/", AuthCookies: []string{"session", "__Secure-authjs.session-token*"}}, a.RoundTrip)
	for _, test := range []struct {
		sent []string
		want string
	}{
		{[]string{"theme=dark; session=a b; x=1"}, "session=a b"},
		{[]string{"session=1", "other=2; session=3"}, "session=1; session=3"},
		{[]string{`session="q;x=1`}, `session="q`},
		{[]string{"__Secure-authjs.session-token.0=a;__Secure-authjs.session-token.1=b"}, "__Secure-authjs.session-token.0=a; __Secure-authjs.session-token.1=b"},
		{[]string{"SESSION=1; session2=2; xsession=3"}, ""},
		{[]string{"; ;="}, ""},
	} {
		before := a.count()
		var header []string
		for _, s := range test.sent {
			header = append(header, "Cookie", s)
		}
		_, code := d.identify(request("/", header...))
		if test.want == "" {
			if a.count() != before || code != "" {
				t.Errorf("%q: asked although nothing is for the application (%q)", test.sent, code)
			}
			continue
		}
		if got := a.asked[len(a.asked)-1].Header.Get("Cookie"); got != test.want || a.count() != before+1 {
			t.Errorf("%q: got %q, want %q", test.sent, got, test.want)
		}
	}
}

func TestAnAnswerCountsForAMinuteAndARefusalForFiveSeconds(t *testing.T) {
	withApp(t, sessions("ada"), func(t *testing.T, d *door, a *app) {
		expect := func(cookie, who, code string, calls int) {
			t.Helper()
			if got, gotCode := d.cookie(cookie); got.Subject != who || gotCode != code || a.count() != calls {
				t.Errorf("%s: got %q %q after %d calls, want %q %q after %d", cookie, got.Subject, gotCode, a.count(), who, code, calls)
			}
		}
		expect("session=ada", "ada", "", 1)
		a.set(sessions())
		time.Sleep(59 * time.Second)
		expect("session=ada", "ada", "", 1)
		time.Sleep(2 * time.Second)
		expect("session=ada", "", "session_refused", 2)
		a.set(sessions("ada"))
		time.Sleep(4 * time.Second)
		expect("session=ada", "", "session_refused", 2)
		time.Sleep(2 * time.Second)
		expect("session=ada", "ada", "", 3)
	})
}

func TestASessionEndsWhenTheApplicationSaysAndIsAskedAboutAgainAfterAWhile(t *testing.T) {
	withApp(t, nil, func(t *testing.T, d *door, a *app) {
		start := time.Now()
		at := func(after time.Duration) int64 { return start.Add(after).Unix() }
		for _, test := range []struct {
			expires string
			until   int64
		}{
			{`null`, at(5 * time.Minute)},
			{fmt.Sprint(at(time.Hour)), at(5 * time.Minute)},
			{fmt.Sprint(at(2 * time.Minute)), at(2 * time.Minute)},
			{`"` + start.Add(2*time.Minute).Format(time.RFC3339) + `"`, at(2 * time.Minute)},
			{`"` + start.Add(2*time.Minute).In(time.FixedZone("", 7200)).Format(time.RFC3339Nano) + `"`, at(2 * time.Minute)},
			{fmt.Sprint(at(-time.Second)), 0},
			{fmt.Sprint(start.Add(time.Hour).UnixMilli()), -1}, // a mistake that is said
			{`"tomorrow"`, -1}, {`true`, -1}, {`""`, -1},
		} {
			a.set(func(*http.Request) (*http.Response, error) {
				return says(200, `{"sub":"ada","expires":`+test.expires+`}`), nil
			})
			who, code := d.cookie("session=" + test.expires)
			want := map[int64]string{0: "session_refused", -1: "auth_unavailable"}[min(test.until, 1)]
			if code != want || code == "" && (who.Until != test.until || who.Issued != start.Unix()) {
				t.Errorf("expires %s: until %d, issued %d %q; want %d %q", test.expires, who.Until, who.Issued, code, test.until, want)
			}
		}
		if !strings.Contains(d.log.String(), "expires in the answer") {
			t.Errorf("nobody is told: %s", d.log)
		}
		// An answer is not used longer than the session lasts.
		a.set(func(*http.Request) (*http.Response, error) {
			return says(200, fmt.Sprintf(`{"sub":"ada","expires":%d}`, time.Now().Add(10*time.Second).Unix())), nil
		})
		d.cookie("session=short")
		time.Sleep(11 * time.Second)
		before := a.count()
		if d.cookie("session=short"); a.count() != before+1 {
			t.Error("the application is not asked again after the session has ended")
		}
	})
}

func TestWhileTheApplicationIsAwayKnownSessionsGoOn(t *testing.T) {
	for name, away := range map[string]func(*http.Request) (*http.Response, error){
		"no connection": func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") },
		"an error":      func(*http.Request) (*http.Response, error) { return says(500, ""), nil },
		"a redirect": func(q *http.Request) (*http.Response, error) {
			if q.URL.Path == "/login" {
				return says(200, `{"sub":"ada"}`), nil
			}
			r := says(302, "")
			r.Header.Set("Location", "/login")
			return r, nil
		},
		"a page": func(*http.Request) (*http.Response, error) { return says(200, "<html>"), nil },
		"null":   func(*http.Request) (*http.Response, error) { return says(200, "null"), nil },
		"an answer that cannot be used": func(*http.Request) (*http.Response, error) {
			return says(200, `{"sub":"ada","subscribe":"all"}`), nil
		},
		"10 MB": func(*http.Request) (*http.Response, error) {
			return says(200, `{"sub":"eve"}`+strings.Repeat(" ", 10<<20)), nil
		},
		"nothing for ever": func(q *http.Request) (*http.Response, error) { <-q.Context().Done(); return nil, q.Context().Err() },
	} {
		t.Run("attack: "+name, func(t *testing.T) {
			withApp(t, sessions("ada"), func(t *testing.T, d *door, a *app) {
				start := time.Now()
				d.cookie("session=ada")
				a.set(away)
				time.Sleep(9 * time.Minute)
				who, code := d.cookie("session=ada")
				if who.Subject != "ada" || who.Until != start.Add(10*time.Minute).Unix() || who.Issued != start.Unix() {
					t.Errorf("a known session after 9 minutes: %+v %q", who, code)
				}
				began := time.Now()
				if _, code := d.cookie("session=new"); code != "auth_unavailable" || time.Since(began) > 6*time.Second {
					t.Errorf("a new session: %q after %v", code, time.Since(began))
				}
				time.Sleep(time.Minute)
				if _, code := d.cookie("session=ada"); code != "auth_unavailable" {
					t.Errorf("a known session after 10 minutes: %q", code)
				}
				a.set(sessions("ada"))
				if who, code := d.cookie("session=ada"); who.Subject != "ada" {
					t.Errorf("when the application is back: %q", code)
				}
				if n := d.Counts().Calls; n.Stale == 0 || n.Failed == 0 || n.Known != 2 {
					t.Errorf("counted %+v", n)
				}
				if log := d.log.String(); strings.Contains(log, "session=") || !strings.Contains(log, "GATEWAY_AUTH_URL") {
					t.Errorf("logged: %s", log)
				}
			})
		})
	}
}

func TestRequestsOfOneSessionThatComeTogetherAreOneQuestion(t *testing.T) {
	withApp(t, func(q *http.Request) (*http.Response, error) { time.Sleep(time.Second); return sessions("ada")(q) }, func(t *testing.T, d *door, a *app) {
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() {
				if who, code := d.cookie("session=ada"); who.Subject != "ada" {
					t.Errorf("got %q", code)
				}
			})
		}
		wg.Wait()
		if a.count() != 1 {
			t.Errorf("%d calls, want 1", a.count())
		}
	})
}

// The answer that one set of headers gets must not be given to another one.
func TestAttackACallbackPoisonedByAnotherUsersCookie(t *testing.T) {
	answer := func(q *http.Request) (*http.Response, error) {
		return says(200, `{"sub":"`+fmt.Sprintf("%x", fmt.Sprint(q.Header.Get("Cookie"), "|", q.Header.Get("Authorization"), "|", q.Header.Get("X-Forwarded-Proto")))+`"}`), nil
	}
	withApp(t, answer, func(t *testing.T, d *door, a *app) {
		seen := map[string]string{}
		for _, header := range [][]string{
			{"Cookie", "session=ada"}, {"Cookie", "session=grace"}, {"Cookie", "session=ada; session=grace"}, {"Cookie", "session=ada", "Authorization", "x"},
			{"Cookie", "session=ad", "Authorization", "a"}, {"Authorization", "session=ada"}, {"Cookie", "session=ada;session=grace"}, {"Cookie", "Session=ada"},
			{"Cookie", "session=ada", "Cookie", "session=eve"},
		} {
			for range 2 {
				who, code := d.identify(request("/", header...))
				if code != "" {
					t.Fatalf("%q: %q", header, code)
				}
				if other, used := seen[who.Subject]; used && other != fmt.Sprint(header) {
					t.Errorf("%q gets the session of %s", header, other)
				}
				seen[who.Subject] = fmt.Sprint(header)
			}
		}
		r := request("/", "Cookie", "session=ada")
		r.Proto = "https"
		if who, _ := d.identify(r); seen[who.Subject] != "" {
			t.Error("over https, a session gets the answer of http")
		}
	})
}

func TestAttackAFloodOfRandomCookies(t *testing.T) {
	var now, most int
	var mu sync.Mutex
	slow := func(q *http.Request) (*http.Response, error) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		time.Sleep(50 * time.Millisecond)
		mu.Lock()
		now--
		mu.Unlock()
		return sessions("ada")(q)
	}
	withApp(t, slow, func(t *testing.T, d *door, a *app) {
		d.cookie("session=ada")
		flood := func(client string, n int) map[string]int {
			codes := map[string]int{}
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() {
					r := request("/", "Cookie", fmt.Sprintf("session=%s-%d-%d", client, time.Now().UnixNano(), i))
					r.Client = netip.MustParsePrefix(client)
					_, code := d.identify(r)
					mu.Lock()
					codes[code]++
					mu.Unlock()
				})
			}
			wg.Wait()
			return codes
		}
		before := a.count()
		if codes := flood("203.0.113.1/32", 5000); codes["session_refused"] != 50 || codes["auth_busy"] != 4950 || a.count()-before != 50 || most > 8 {
			t.Errorf("one address: %v, %d calls, %d at a time", codes, a.count()-before, most)
		}
		if who, code := d.cookie("session=ada"); who.Subject != "ada" {
			t.Errorf("a known session meanwhile: %q", code)
		}
		time.Sleep(10 * time.Second)
		if codes := flood("203.0.113.1/32", 100); codes["session_refused"] != 10 {
			t.Errorf("ten seconds later: %v", codes)
		}
		r := request("/", "Cookie", "session=ada2")
		a.set(sessions("ada2"))
		if who, code := d.identify(r); who.Subject != "ada2" {
			t.Errorf("a new session from elsewhere: %q", code)
		}

		a.set(slow)
		var wg sync.WaitGroup
		for i := range 100 { // addresses
			wg.Go(func() { flood(fmt.Sprintf("198.51.100.%d/32", i), 20) })
		}
		wg.Wait()
		if most > 32 {
			t.Errorf("%d calls at the same time", most)
		}
		time.Sleep(time.Minute)
		if d.Counts().Calls.Crowded == 0 {
			t.Error("it is not counted")
		}
	})
}

// A whole office may have one address.
func TestManySessionsFromOneAddressAreLetIn(t *testing.T) {
	withApp(t, nil, func(t *testing.T, d *door, a *app) {
		var names []string
		for i := range 300 {
			names = append(names, fmt.Sprint("user", i))
		}
		a.set(sessions(names...))
		for chunk := range slices.Chunk(names, 40) {
			var wg sync.WaitGroup
			for _, name := range chunk {
				wg.Go(func() {
					if who, code := d.cookie("session=" + name); who.Subject != name {
						t.Errorf("%s: %q", name, code)
					}
				})
			}
			wg.Wait()
		}
	})
}

func TestWhatIsRememberedIsForgotten(t *testing.T) {
	withApp(t, sessions("ada"), func(t *testing.T, d *door, a *app) {
		for i := range 40 {
			d.cookie(fmt.Sprint("session=x", i))
		}
		d.cookie("session=ada")
		if n := d.Remembered(); n != 41 {
			t.Errorf("%d answers, want 41", n)
		}
		time.Sleep(time.Minute)
		if n := d.Remembered(); n != 1 {
			t.Errorf("%d answers after a minute, want 1", n)
		}
		time.Sleep(10 * time.Minute)
		if n := d.Remembered(); n != 0 {
			t.Errorf("%d answers after ten minutes more, want none", n)
		}
	})
}

func TestTheEndDoesNotWaitForAnApplicationThatHangs(t *testing.T) {
	withApp(t, func(q *http.Request) (*http.Response, error) { <-q.Context().Done(); return nil, q.Context().Err() }, func(t *testing.T, d *door, a *app) {
		go d.Identify(t.Context(), request("/", "Cookie", "session=x"))
		synctest.Wait()
		if a.count() != 1 {
			t.Fatal("not asked")
		}
	}) // Run has returned here, and the bubble has no goroutine left
}
