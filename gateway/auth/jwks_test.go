package auth_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sluice/gateway/auth"
)

// jwk returns a key as it stands in a JWK Set, with more members.
func (k keyPair) jwk(kid string, more ...string) map[string]string {
	e := base64.RawURLEncoding.EncodeToString
	m := map[string]string{"kid": kid, "use": "sig"}
	switch p := k.private.Public().(type) {
	case *rsa.PublicKey:
		m["kty"], m["n"], m["e"] = "RSA", e(p.N.Bytes()), e(big.NewInt(int64(p.E)).Bytes())
	case *ecdsa.PublicKey:
		b, _ := p.Bytes()
		m["kty"], m["crv"], m["x"], m["y"] = "EC", p.Curve.Params().Name, e(b[1:1+len(b)/2]), e(b[1+len(b)/2:])
	case ed25519.PublicKey:
		m["kty"], m["crv"], m["x"] = "OKP", "Ed25519", e(p)
	}
	for i := 0; i < len(more); i += 2 {
		m[more[i]] = more[i+1]
	}
	return m
}

// issuer is an address with keys. It is safe for concurrent use.
type issuer struct {
	mu      sync.Mutex
	answer  func() (*http.Response, error) // guarded by mu
	fetches int                            // guarded by mu
}

func (i *issuer) RoundTrip(*http.Request) (*http.Response, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fetches++
	return i.answer()
}

func (i *issuer) set(answer func() (*http.Response, error)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = answer
}

func (i *issuer) has(keys ...map[string]string) {
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	i.set(func() (*http.Response, error) { return says(200, string(text)), nil })
}

func (i *issuer) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetches
}

// withIssuer runs a test in a bubble, where time is free, with an issuer that has these keys.
func withIssuer(t *testing.T, keys []map[string]string, test func(t *testing.T, d *door, i *issuer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		i.has(keys...)
		test(t, newDoor(t, auth.Config{JwksURL: "https://issuer.test/keys"}, i.RoundTrip), i)
	})
}

func TestTokensAreCheckedWithTheKeysOfAnAddress(t *testing.T) {
	keys := []keyPair{rsaKey(t, 2048), ecKey(t, elliptic.P256(), jwt.SigningMethodES256), edKey(t)}
	all := []map[string]string{keys[0].jwk("r"), keys[1].jwk("e"), keys[2].jwk("d")}
	withIssuer(t, all, func(t *testing.T, d *door, i *issuer) {
		for n, kid := range []string{"r", "e", "d"} {
			for _, header := range [][]any{{"kid", kid}, nil} {
				if who, code := d.bearer(sign(t, keys[n].method, keys[n].private, with(), header...)); who.Subject != "ada" {
					t.Errorf("key %s, header %v: %q", kid, header, code)
				}
			}
		}
		if i.count() != 1 {
			t.Errorf("%d fetches, want 1", i.count())
		}
		if _, code := d.bearer(sign(t, keys[2].method, keys[2].private, with(), "kid", "r")); code != "invalid_token" {
			t.Errorf("a token with the id of another key: %q", code)
		}
	})
}

func TestANewKeyIsFetchedAndAnOldOneForgotten(t *testing.T) {
	old, young := edKey(t), edKey(t)
	withIssuer(t, []map[string]string{old.jwk("old")}, func(t *testing.T, d *door, i *issuer) {
		d.bearer(sign(t, old.method, old.private, with(), "kid", "old"))
		time.Sleep(time.Minute)
		i.has(young.jwk("young"))
		if who, code := d.bearer(sign(t, young.method, young.private, with(), "kid", "young")); who.Subject != "ada" {
			t.Errorf("the new key: %q", code)
		}
		if _, code := d.bearer(sign(t, old.method, old.private, with(), "kid", "old")); code != "invalid_token" {
			t.Errorf("the old key: %q", code)
		}
		i.has(old.jwk("old"))
		time.Sleep(6 * time.Minute) // nobody asks
		if _, code := d.bearer(sign(t, young.method, young.private, with(), "kid", "young")); code != "invalid_token" {
			t.Errorf("a key that was withdrawn six minutes ago: %q", code)
		}
	})
}

func TestWhileTheAddressDoesNotAnswerTheKnownKeysStay(t *testing.T) {
	big := strings.Repeat(" ", 600<<10)
	for name, answer := range map[string]func() (*http.Response, error){
		"no connection":   func() (*http.Response, error) { return nil, errors.New("connection refused") },
		"an error":        func() (*http.Response, error) { return says(500, ""), nil },
		"no page":         func() (*http.Response, error) { return says(404, "<html>"), nil },
		"no JSON":         func() (*http.Response, error) { return says(200, "<html>"), nil },
		"no keys":         func() (*http.Response, error) { return says(200, `{"keys":[]}`), nil },
		"an empty object": func() (*http.Response, error) { return says(200, `{}`), nil },
		"too large":       func() (*http.Response, error) { return says(200, `{"keys":[]`+big+`}`), nil },
		"a redirect": func() (*http.Response, error) {
			r := says(302, "")
			r.Header.Set("Location", "https://evil.test/keys")
			return r, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			key := edKey(t)
			withIssuer(t, []map[string]string{key.jwk("k")}, func(t *testing.T, d *door, i *issuer) {
				token := sign(t, key.method, key.private, jwt.MapClaims{"sub": "ada", "exp": time.Now().Add(24 * time.Hour).Unix()}, "kid", "k")
				d.bearer(token)
				i.set(answer)
				time.Sleep(time.Hour)
				if who, code := d.bearer(token); who.Subject != "ada" {
					t.Errorf("after an hour: %q", code)
				}
				if i.count() < 10 {
					t.Errorf("only %d fetches in an hour", i.count())
				}
				if d.Counts().KeysFailed == 0 || d.Counts().KeysFetched != 1 || !strings.Contains(d.log.String(), "keys for tokens not fetched") {
					t.Errorf("it is not said: %+v %s", d.Counts(), d.log)
				}
			})
		})
	}
}

func TestBeforeTheFirstKeyIsKnownClientsAreAskedToComeBack(t *testing.T) {
	key := edKey(t)
	withIssuer(t, nil, func(t *testing.T, d *door, i *issuer) {
		token := sign(t, key.method, key.private, with(), "kid", "k")
		if _, code := d.bearer(token); code != "auth_unavailable" {
			t.Errorf("got %q", code)
		}
		i.has(key.jwk("k"))
		time.Sleep(15 * time.Second)
		if who, code := d.bearer(token); who.Subject != "ada" {
			t.Errorf("15 s after the address answers: %q", code)
		}
	})
}

func TestAttackAFloodOfUnknownKeyIDs(t *testing.T) {
	mine, theirs := edKey(t), edKey(t)
	withIssuer(t, []map[string]string{mine.jwk("mine")}, func(t *testing.T, d *door, i *issuer) {
		good := sign(t, mine.method, mine.private, with(), "kid", "mine")
		began := time.Now()
		for n := range 10_000 {
			if _, code := d.bearer(sign(t, theirs.method, theirs.private, with(), "kid", fmt.Sprint(n))); code != "invalid_token" {
				t.Fatalf("got %q", code)
			}
			if n%100 == 0 {
				time.Sleep(100 * time.Millisecond)
				if who, code := d.bearer(good); who.Subject != "ada" {
					t.Fatalf("a good token meanwhile: %q", code)
				}
			}
		}
		if most := int(time.Since(began)/(10*time.Second)) + 2; i.count() > most {
			t.Errorf("%d fetches in %v, want %d at most", i.count(), time.Since(began), most)
		}
	})
}

func TestAttackAnAddressThatHangs(t *testing.T) {
	key := edKey(t)
	withIssuer(t, []map[string]string{key.jwk("k")}, func(t *testing.T, d *door, i *issuer) {
		good := sign(t, key.method, key.private, with(), "kid", "k")
		d.bearer(good)
		time.Sleep(time.Minute)
		i.set(func() (*http.Response, error) { time.Sleep(time.Second); return nil, errors.New("timeout") })
		began := time.Now()
		if _, code := d.bearer(sign(t, key.method, key.private, with(), "kid", "other")); code != "invalid_token" || time.Since(began) > 6*time.Second {
			t.Errorf("an unknown key: %q after %v", code, time.Since(began))
		}
		began = time.Now()
		if who, code := d.bearer(good); who.Subject != "ada" || time.Since(began) > 0 {
			t.Errorf("a known key waits: %q after %v", code, time.Since(began))
		}
	})
}

func TestOnlyPublicKeysForSignaturesCount(t *testing.T) {
	good, enc, es := edKey(t), edKey(t), ecKey(t, elliptic.P256(), jwt.SigningMethodES256)
	all := []map[string]string{
		good.jwk("good"), enc.jwk("enc", "use", "enc"), es.jwk("es", "alg", "ES512"), {"kty": "oct", "kid": "oct", "k": "AAAA"},
		{"kty": "new", "kid": "new"}, rsaKey(t, 1024).jwk("short"),
	}
	withIssuer(t, all, func(t *testing.T, d *door, i *issuer) {
		if who, code := d.bearer(sign(t, good.method, good.private, with(), "kid", "good")); who.Subject != "ada" {
			t.Fatalf("a good key: %q", code)
		}
		for name, token := range map[string]string{
			"a key to encrypt with": sign(t, enc.method, enc.private, with(), "kid", "enc"),
			"another algorithm":     sign(t, es.method, es.private, with(), "kid", "es"),
			"a secret":              sign(t, jwt.SigningMethodHS256, []byte{0, 0, 0}, with(), "kid", "oct"),
		} {
			if _, code := d.bearer(token); code != "invalid_token" {
				t.Errorf("%s: %q", name, code)
			}
		}
	})
}
