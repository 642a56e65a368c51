package auth_test

import (
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"sluice/gateway/auth"
	"sluice/store"
)

func TestWhichMethodsAreOnFollowsFromTheSettings(t *testing.T) {
	_, line, _ := auth.NewKey("shop", []string{"orders"})
	for _, test := range []struct {
		name string
		cfg  auth.Config
		want []string
	}{
		{"nothing", auth.Config{}, nil},
		{"none", auth.Config{Auth: []string{"none"}}, nil},
		{"a secret", auth.Config{JWTSecret: aSecret}, []string{"jwt"}},
		{"an address of keys", auth.Config{JwksURL: "https://issuer.test/keys"}, []string{"jwt"}},
		{"all", auth.Config{JWTSecret: aSecret, AuthURL: "http://app.test", APIKeys: line}, []string{"jwt", "callback", "keys"}},
		{"one of two", auth.Config{Auth: []string{"keys"}, JWTSecret: aSecret, APIKeys: line}, []string{"keys"}},
		{"blanks", auth.Config{Auth: []string{" keys", "jwt "}, JWTSecret: aSecret, APIKeys: line}, []string{"keys", "jwt"}},
	} {
		if err := test.cfg.Validate(); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		a, err := auth.New(test.cfg, nil, nil)
		if got := test.cfg.Names(); !slices.Equal(got, test.want) || err != nil || (a != nil) != (test.want != nil) || test.cfg.On() != (a != nil) {
			t.Errorf("%s: got %q, %v, %v", test.name, got, a != nil, err)
		}
	}
	if cfg := (auth.Config{Auth: []string{"none"}}); !cfg.OpenToAll() || (&auth.Config{}).OpenToAll() {
		t.Error("open to all only if the settings say so")
	}
}

func TestSettingsThatLetInOthersThanMeantAreRefused(t *testing.T) {
	_, line, _ := auth.NewKey("shop", []string{"orders"})
	rsa, short := rsaKey(t, 2048), rsaKey(t, 1024)
	private, err := x509.MarshalPKCS8PrivateKey(rsa.private)
	if err != nil {
		t.Fatal(err)
	}
	zeros := strings.Repeat("0", 64)
	for _, test := range []struct {
		name  string
		cfg   auth.Config
		field string
		takes string
	}{
		{"a secret beside none", auth.Config{Auth: []string{"none"}, JWTSecret: aSecret}, "JWTSecret", "GATEWAY_AUTH=none"},
		{"a URL beside none", auth.Config{Auth: []string{"none"}, AuthURL: "http://app.test"}, "AuthURL", "GATEWAY_AUTH=none"},
		{"keys beside none", auth.Config{Auth: []string{"none"}, APIKeysFile: "x"}, "APIKeysFile", "GATEWAY_AUTH=none"},
		{"none among others", auth.Config{Auth: []string{"jwt", "none"}, JWTSecret: aSecret}, "Auth", "none alone"},
		{"an unknown method", auth.Config{Auth: []string{"basic"}}, "Auth", "jwt, callback and keys"},
		{"an empty method", auth.Config{Auth: []string{""}}, "Auth", "jwt, callback and keys"},
		{"a method without its settings", auth.Config{Auth: []string{"jwt", "keys"}, JWTSecret: aSecret}, "Auth", "GATEWAY_API_KEYS"},
		{"a secret and public keys", auth.Config{JWTSecret: aSecret, JwksURL: "https://issuer.test"}, "JwksURL", "another setting"},
		{"keys twice", auth.Config{APIKeys: line, APIKeysFile: "x"}, "APIKeysFile", "another setting"},
		{"a short secret", auth.Config{JWTSecret: aSecret[1:]}, "JWTSecret", "32 bytes"},
		{"no file", auth.Config{JWTKeyFile: "/does/not/exist"}, "JWTKeyFile", "no such file"},
		{"an empty file", auth.Config{JWTKeyFile: file(t)}, "JWTKeyFile", "PEM"},
		{"a private key", auth.Config{JWTKeyFile: file(t, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))}, "JWTKeyFile", "private key"},
		{"a short key", auth.Config{JWTKeyFile: file(t, short.public(t))}, "JWTKeyFile", "2048"},
		{"a broken key", auth.Config{JWTKeyFile: file(t, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}))}, "JWTKeyFile", "asn1"},
		{"something else", auth.Config{JWTKeyFile: file(t, pem.EncodeToMemory(&pem.Block{Type: "DH PARAMETERS"}))}, "JWTKeyFile", "PUBLIC KEY"},
		{"no URL", auth.Config{AuthURL: "app.test/whoami"}, "AuthURL", "http"},
		{"a URL of a file", auth.Config{JwksURL: "file:///etc/passwd"}, "JwksURL", "http"},
		{"a URL beside a secret", auth.Config{JWTSecret: aSecret, AuthURL: "x"}, "AuthURL", "http"},
		{"a key without rights", auth.Config{APIKeys: "shop:" + zeros}, "APIKeys", "pattern"},
		{"a key with empty rights", auth.Config{APIKeys: "shop:" + zeros + ":"}, "APIKeys", "pattern"},
		{"a key without a digest", auth.Config{APIKeys: "shop:secret:orders"}, "APIKeys", "64 hexadecimal digits"},
		{"a key without a name", auth.Config{APIKeys: ":" + zeros + ":orders"}, "APIKeys", "name of a key"},
		{"two keys of one name", auth.Config{APIKeys: line + ";" + line}, "APIKeys", "two keys"},
		{"a key with a wrong pattern", auth.Config{APIKeys: "shop:" + zeros + ":a*b"}, "APIKeys", "letters"},
		{"no key", auth.Config{APIKeys: ";"}, "APIKeys", "no key"},
		{"a wrong pattern", auth.Config{DefaultSubscribe: []string{"a*b"}}, "DefaultSubscribe", "patterns"},
		{"another", auth.Config{Anonymous: []string{"a b"}}, "Anonymous", "patterns"},
		{"a cookie's name with a blank", auth.Config{AuthCookies: []string{"a b"}}, "AuthCookies", "names of cookies"},
		{"all cookies", auth.Config{AuthCookies: []string{"*"}}, "AuthCookies", "names of cookies"},
		{"a line end", auth.Config{JWTIssuer: "a\nb"}, "JWTIssuer", "control"},
	} {
		err := test.cfg.Validate()
		s, ok := errors.AsType[*store.SettingError](err)
		if !ok || s.Field != test.field || !strings.Contains(s.Takes, test.takes) {
			t.Errorf("%s: got %v, want %s and %q", test.name, err, test.field, test.takes)
			continue
		}
		if text := s.Error(); strings.Contains(text, aSecret[1:]) || strings.Contains(text, "secret:orders") || strings.Contains(text, "app.test") {
			t.Errorf("%s: the error shows what is secret: %s", test.name, text)
		}
	}
}

func TestACertificateOrSeveralKeysMayBeInTheFile(t *testing.T) {
	one, two := rsaKey(t, 2048), ecKey(t, elliptic.P521(), jwt.SigningMethodES512)
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(publicRSA(one))})
	third := edKey(t)
	d := newDoor(t, auth.Config{JWTKeyFile: file(t, []byte("a note\n"), pkcs1, two.public(t), certificate(t, third))}, nil)
	for _, key := range []keyPair{one, two, third} {
		if who, code := d.bearer(sign(t, key.method, key.private, with())); who.Subject != "ada" {
			t.Errorf("%s: %q", key.method.Alg(), code)
		}
	}
}

func TestATokenForTryingOutIsAccepted(t *testing.T) {
	cfg := auth.Config{JWTSecret: aSecret, JWTIssuer: "me", JWTAudience: "you"}
	list, _ := auth.NewPatterns([]string{"orders.*", "time"})
	token, err := auth.NewToken(cfg, auth.Identity{Subject: "ada", Subscribe: list, Admin: true}, 0)
	if err != nil {
		t.Fatal(err)
	}
	who, code := newDoor(t, cfg, nil).bearer(token)
	if code != "" || who.Subject != "ada" || who.Subscribe != list || who.Publish.String() != "" || !who.Admin || who.TokenID == "" || who.Issued == 0 {
		t.Errorf("%+v %q", who, code)
	}
	if _, err := auth.NewToken(auth.Config{}, auth.Identity{Subject: "ada"}, 0); err == nil || !strings.Contains(err.Error(), "GATEWAY_JWT_SECRET") {
		t.Errorf("without a secret: %v", err)
	}
}
