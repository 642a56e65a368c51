package auth_test

import (
	"crypto/elliptic"
	"log/slog"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sluice/gateway/auth"
)

// BenchmarkIdentify is what each method costs for one request. The application's answer is known.
func BenchmarkIdentify(b *testing.B) {
	key, line, _ := auth.NewKey("shop", []string{"orders.*"})
	rs, es, ed := rsaKey(b, 2048), ecKey(b, elliptic.P256(), jwt.SigningMethodES256), edKey(b)
	app := &app{answer: sessions("ada")}
	exp := jwt.MapClaims{"sub": "ada", "exp": time.Now().Add(24 * time.Hour).Unix(), "iat": time.Now().Unix(), "jti": "0123456789abcdef"}
	pair := func(k keyPair) (auth.Config, []string) {
		return auth.Config{JWTKeyFile: file(b, k.public(b))}, []string{"Authorization", "Bearer " + sign(b, k.method, k.private, exp)}
	}
	for _, method := range []struct {
		name string
		of   func() (auth.Config, []string)
	}{
		{"nobody", func() (auth.Config, []string) { return auth.Config{JWTSecret: aSecret}, nil }},
		{"HS256", func() (auth.Config, []string) {
			return auth.Config{JWTSecret: aSecret}, []string{"Authorization", "Bearer " + sign(b, jwt.SigningMethodHS256, []byte(aSecret), exp)}
		}},
		{"RS256", func() (auth.Config, []string) { return pair(rs) }},
		{"ES256", func() (auth.Config, []string) { return pair(es) }},
		{"EdDSA", func() (auth.Config, []string) { return pair(ed) }},
		{"key", func() (auth.Config, []string) {
			return auth.Config{APIKeys: line}, []string{"Authorization", "Bearer " + key}
		}},
		{"callback", func() (auth.Config, []string) {
			return auth.Config{AuthURL: "http://app.test/", AuthMaxAge: time.Hour}, []string{"Cookie", "session=ada"}
		}},
	} {
		b.Run("method="+method.name, func(b *testing.B) {
			cfg, header := method.of()
			a, err := auth.New(cfg, app, slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			r := request("/api/sse/notifications?replay=10", header...)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.Identify(b.Context(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
