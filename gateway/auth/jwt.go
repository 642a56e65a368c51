package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// leeway is by how much the clocks of two machines may differ.
	leeway = 10 * time.Second
	// maxToken bounds a token, in bytes. Checking one costs more the longer it is.
	maxToken = 8 << 10
	// minSecret is the least length of a secret, in bytes: that of a SHA-256 (RFC 7518, section 3.2).
	minSecret = 32
	// minRSA is the least length of an RSA key, in bits (RFC 7518, section 3.3).
	minRSA = 2048
)

// keySource has the keys that tokens are signed with. It is safe for concurrent use.
type keySource interface {
	// algorithms returns the algorithms that are accepted. A source has secrets or public keys, never both, so that nobody
	// can sign a token with a public key as if it were a secret.
	algorithms() []string
	// verificationKey returns the key for a token: a []byte, a public key, or a jwt.VerificationKeySet.
	verificationKey(ctx context.Context, kid, alg string) (any, error)
}

var errNoKey = errors.New("there is no such key")

// secret is the key source of HMAC.
type secret []byte

func (secret) algorithms() []string { return []string{"HS256", "HS384", "HS512"} }

func (s secret) verificationKey(context.Context, string, string) (any, error) { return []byte(s), nil }

// asymmetric are the algorithms whose keys are public.
var asymmetric = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// publicKey is a key with what is known about it.
type publicKey struct {
	id, alg string // empty: not known
	key     crypto.PublicKey
}

// fits reports whether tokens with an algorithm may be signed with the key.
func (k publicKey) fits(alg string) bool {
	if k.alg != "" && k.alg != alg {
		return false
	}
	switch key := k.key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")
	case *ecdsa.PublicKey:
		curve := map[string]string{"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
		return curve[alg] == key.Curve.Params().Name
	case ed25519.PublicKey:
		return alg == "EdDSA"
	default:
		return false
	}
}

// usable reports whether a public key is of a kind and length that are accepted.
func usable(key any) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() >= minRSA
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return true
	default:
		return false
	}
}

// publicKeys are the keys of a file, or of one answer of a JWKS address.
type publicKeys []publicKey

func (ks publicKeys) algorithms() []string {
	var all []string
	for _, alg := range asymmetric {
		for _, k := range ks {
			if k.fits(alg) {
				all = append(all, alg)
				break
			}
		}
	}
	return all
}

// verificationKey returns the keys that a token may be signed with. A token without a key's id is tried with all that fit.
func (ks publicKeys) verificationKey(_ context.Context, kid, alg string) (any, error) {
	var set jwt.VerificationKeySet
	for _, k := range ks {
		if (kid == "" || k.id == "" || k.id == kid) && k.fits(alg) {
			set.Keys = append(set.Keys, k.key)
		}
	}
	if len(set.Keys) == 0 {
		return nil, errNoKey
	}
	return set, nil
}

// verifier checks tokens. It is safe for concurrent use.
type verifier struct {
	keys     keySource
	parser   *jwt.Parser
	defaults defaults
}

func newVerifier(keys keySource, issuer, audience string, d defaults) *verifier {
	options := []jwt.ParserOption{
		jwt.WithValidMethods(keys.algorithms()), jwt.WithExpirationRequired(), jwt.WithLeeway(leeway), jwt.WithStrictDecoding(),
	}
	if issuer != "" {
		options = append(options, jwt.WithIssuer(issuer))
	}
	if audience != "" {
		options = append(options, jwt.WithAudience(audience))
	}
	return &verifier{keys: keys, parser: jwt.NewParser(options...), defaults: d}
}

// verify returns who holds a token. Its errors are *DeniedError.
func (v *verifier) verify(ctx context.Context, token string) (Identity, error) {
	if len(token) > maxToken {
		return Identity{}, denied("invalid_token", "The token is too long")
	}
	var c claims
	_, err := v.parser.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) {
		if _, extended := t.Header["crit"]; extended { // RFC 7515, section 4.1.11: who does not know the extension refuses
			return nil, errors.New("the token has an extension that is not known here")
		}
		kid, isText := t.Header["kid"].(string)
		if _, has := t.Header["kid"]; has && !isText {
			return nil, errNoKey
		}
		return v.keys.verificationKey(ctx, kid, t.Method.Alg())
	})
	if err != nil {
		return Identity{}, tokenDenied(err)
	}
	who, err := c.members.rights(v.defaults)
	if err != nil {
		return Identity{}, err
	}
	// Until then the token is accepted.
	who.Until, who.Issued, who.TokenID = c.expires.Add(leeway).Unix(), c.issued, c.id
	return who, nil
}

// tokenDenied says what is wrong with a token, once its signature is good. Of the others it says only that they are wrong.
func tokenDenied(err error) *DeniedError {
	if d := asDenied(err); d != nil {
		return d
	}
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return denied("token_expired", "The token has expired")
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return denied("token_not_valid_yet", "The token is not valid yet")
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return denied("wrong_audience", "The token is for another audience")
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return denied("wrong_issuer", "The token is from another issuer")
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return denied("invalid_claims", "The token lacks a claim: exp is required, and iss and aud if this gateway checks them")
	default:
		return denied("invalid_token", "The token is not valid")
	}
}

// claims are those of a token. They are read twice: first what says whether the token is valid, and, when it is, the rest.
type claims struct {
	members  members
	expires  *jwt.NumericDate
	before   *jwt.NumericDate // the token is not valid before
	issued   int64            // 0: not known
	issuer   string
	audience jwt.ClaimStrings
	id       string
}

// UnmarshalJSON reads the claims. A claim of a wrong type makes the token invalid.
func (c *claims) UnmarshalJSON(text []byte) error {
	if err := json.Unmarshal(text, &c.members); err != nil {
		return err
	}
	for name, read := range map[string]func([]byte) error{
		"exp": func(b []byte) (err error) { c.expires, err = date(b); return err },
		"nbf": func(b []byte) (err error) { c.before, err = date(b); return err },
		"iat": func(b []byte) (err error) { c.issued, err = seconds(b); return err },
		"iss": func(b []byte) error { return json.Unmarshal(b, &c.issuer) },
		"jti": func(b []byte) error { return json.Unmarshal(b, &c.id) },
		"aud": func(b []byte) error { return json.Unmarshal(b, &c.audience) },
	} {
		if text, ok := c.members.of(name); ok {
			if err := read(text); err != nil {
				return err
			}
		}
	}
	return nil
}

func date(text []byte) (*jwt.NumericDate, error) {
	s, err := seconds(text)
	return jwt.NewNumericDate(time.Unix(s, 0)), err
}

// The methods of jwt.Claims.

func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return c.expires, nil }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return c.before, nil }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil } // it is not checked
func (c *claims) GetIssuer() (string, error)                   { return c.issuer, nil }
func (c *claims) GetSubject() (string, error)                  { return "", nil } // members.rights reads it
func (c *claims) GetAudience() (jwt.ClaimStrings, error)       { return c.audience, nil }
