package auth

import (
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// NewToken returns a token that a gateway with these settings accepts, for somebody who tries the gateway out. Only Subject,
// Subscribe, Publish and Admin of who count. Patterns that are empty are left to the gateway's defaults.
func NewToken(cfg Config, who Identity, valid time.Duration) (string, error) {
	if cfg.JWTSecret == "" {
		return "", errors.New("tokens are signed with GATEWAY_JWT_SECRET, which is not set")
	}
	now := time.Now()
	claims := jwt.MapClaims{
		"sub": who.Subject, "iat": now.Unix(), "exp": now.Add(valid).Unix(), "jti": strings.ToLower(rand.Text()),
	}
	if cfg.JWTIssuer != "" {
		claims["iss"] = cfg.JWTIssuer
	}
	if cfg.JWTAudience != "" {
		claims["aud"] = cfg.JWTAudience
	}
	if who.Subscribe != (Patterns{}) {
		claims["subscribe"] = strings.Fields(who.Subscribe.list)
	}
	if who.Publish != (Patterns{}) {
		claims["publish"] = strings.Fields(who.Publish.list)
	}
	if who.Admin {
		claims["admin"] = true
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(cfg.JWTSecret))
}
