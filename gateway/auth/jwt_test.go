package auth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sluice/gateway/auth"
	"sluice/store/kind"
)

// keyPair is a private key and the algorithm that goes with it.
type keyPair struct {
	method  jwt.SigningMethod
	private crypto.Signer
}

func (k keyPair) public(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(k.private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func rsaKey(t testing.TB, bits int) keyPair {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{jwt.SigningMethodRS256, k}
}

func ecKey(t testing.TB, curve elliptic.Curve, method jwt.SigningMethod) keyPair {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{method, k}
}

func edKey(t testing.TB) keyPair {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{jwt.SigningMethodEdDSA, k}
}

// file writes a file and returns its name.
func file(t testing.TB, parts ...[]byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	if err := os.WriteFile(name, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// unsigned returns a token with this header and these claims, as JSON, and a signature.
func unsigned(header, claims, signature string) string {
	e := base64.RawURLEncoding
	return e.EncodeToString([]byte(header)) + "." + e.EncodeToString([]byte(claims)) + "." + signature
}

func TestATokenSaysWhoSomebodyIsAndWhatTheyMayDo(t *testing.T) {
	d := newDoor(t, auth.Config{JWTSecret: aSecret, DefaultPublish: []string{"chat.*"}}, nil)
	exp := time.Now().Add(time.Hour).Unix()
	who, code := d.bearer(hs(t, "exp", exp, "iat", 1000, "jti", "t1"))
	if code != "" || who.Subject != "ada" || who.Until != exp+10 || who.Issued != 1000 || who.TokenID != "t1" || who.Admin ||
		who.Subscribe.String() != "notifications" || who.Publish.String() != "chat.*" {
		t.Errorf("by default: %+v %q", who, code)
	}
	who, code = d.bearer(hs(t, "subscribe", []string{"team:7:*", "time"}, "publish", []string{}, "admin", true))
	if code != "" || who.Subscribe.String() != "team:7:*,time" || who.Publish.String() != "" || !who.Admin {
		t.Errorf("as it says: %+v %q", who, code)
	}
	who, code = d.bearer(hs(t, "subscribe", nil, "publish", json.RawMessage("null"), "admin", json.RawMessage("null")))
	if code != "" || who.Publish.String() != "chat.*" || who.Admin {
		t.Errorf("null is as good as nothing: %+v %q", who, code)
	}
	for _, method := range []jwt.SigningMethod{jwt.SigningMethodHS384, jwt.SigningMethodHS512} {
		if who, code := d.bearer(sign(t, method, []byte(aSecret), with())); who.Subject != "ada" {
			t.Errorf("%s: %q", method.Alg(), code)
		}
	}
}

func TestWhoASubjectCanBe(t *testing.T) {
	d := newDoor(t, auth.Config{JWTSecret: aSecret}, nil)
	for _, test := range []struct{ sub, want string }{
		{`"ada"`, "ada"}, {`"ada@example.com"`, "ada@example.com"}, {`"auth0|123"`, "auth0|123"}, {`42`, "42"}, {`-7`, "-7"}, {`"42"`, "42"},
		{`12345678901234567890123`, "12345678901234567890123"}, {`"a:b"`, "a:b"}, {`"` + strings.Repeat("x", 100) + `"`, strings.Repeat("x", 100)},
		{`"\u0061da"`, "ada"},

		{`""`, ""}, {`" ada"`, ""}, {`"ada "`, ""}, {`"a b"`, ""}, {`"*"`, ""}, {`"a*"`, ""}, {`"a,b"`, ""}, {`"a\u0000b"`, ""}, {`"a\r\nb"`, ""},
		{`"é"`, ""}, {`"a/b"`, ""}, {`"{x}"`, ""}, {`null`, ""}, {`true`, ""}, {`1.5`, ""}, {`1e3`, ""}, {`["ada"]`, ""}, {`{"a":1}`, ""},
		{`"` + strings.Repeat("x", 101) + `"`, ""}, {`1` + strings.Repeat("0", 100), ""}, {`"\ud800"`, ""},
	} {
		who, code := d.bearer(hs(t, "sub", json.RawMessage(test.sub)))
		wantCode := ""
		if test.want == "" {
			wantCode = "invalid_subject"
		}
		if who.Subject != test.want || code != wantCode {
			t.Errorf("%s: got %q %q, want %q", test.sub, who.Subject, code, test.want)
		}
	}
	if _, code := d.bearer(hs(t, "sub", nil)); code != "invalid_subject" {
		t.Errorf("no subject: %q", code)
	}
}

func TestClaimsOfAWrongTypeAreRefusedAndOnesOfAnotherNameAreNothing(t *testing.T) {
	d := newDoor(t, auth.Config{JWTSecret: aSecret}, nil)
	many := make([]string, 101)
	for i := range many {
		many[i] = "x"
	}
	for _, test := range []struct {
		name  string
		value any
		code  string
	}{
		{"subscribe", "orders", "invalid_claims"}, {"subscribe", []any{1}, "invalid_claims"}, {"subscribe", map[string]any{}, "invalid_claims"},
		{"subscribe", []string{"*a"}, "invalid_claims"}, {"subscribe", []string{"a b"}, "invalid_claims"}, {"subscribe", []string{""}, "invalid_claims"},
		{"subscribe", many, "invalid_claims"}, {"publish", []string{"a\nb"}, "invalid_claims"},
		{"admin", "true", "invalid_claims"}, {"admin", 1, "invalid_claims"}, {"admin", []bool{true}, "invalid_claims"},
		{"exp", "tomorrow", "invalid_token"}, {"exp", true, "invalid_token"}, {"exp", 1e300, "invalid_token"}, {"exp", -5, "invalid_token"},
		{"exp", time.Now().Add(time.Hour).UnixMilli(), "invalid_token"}, {"nbf", "x", "invalid_token"}, {"iat", "x", "invalid_token"},
		{"jti", 7, "invalid_token"}, {"iss", 7, "invalid_token"}, {"aud", 7, "invalid_token"},
	} {
		if _, code := d.bearer(hs(t, test.name, test.value)); code != test.code {
			t.Errorf("%s=%v: got %q, want %q", test.name, test.value, code, test.code)
		}
	}
	who, code := d.bearer(hs(t, "ADMIN", true, "Subscribe", []string{"*"}, "Sub", "eve"))
	if code != "" || who.Subject != "ada" || who.Admin || who.Subscribe.String() != "notifications" {
		t.Errorf("claims in capitals: %+v %q", who, code)
	}
}

func TestAttackATokenWithoutASignature(t *testing.T) {
	claims := `{"sub":"ada","exp":99999999999,"admin":true}`
	key := rsaKey(t, 2048)
	for _, cfg := range []auth.Config{{JWTSecret: aSecret}, {JWTKeyFile: file(t, key.public(t))}} {
		d := newDoor(t, cfg, nil)
		for _, alg := range []string{`"none"`, `"None"`, `"NONE"`, `"nOnE"`, `""`, `null`, `"HS256"`, `"RS256"`, `"EdDSA"`, `"XS256"`, `1`, `["none"]`} {
			for _, signature := range []string{"", "AA", "e30"} {
				if who, code := d.bearer(unsigned(`{"alg":`+alg+`,"typ":"JWT"}`, claims, signature)); code != "invalid_token" {
					t.Errorf("alg %s, signature %q: %+v %q", alg, signature, who, code)
				}
			}
		}
		if _, code := d.bearer(unsigned(`{}`, claims, "")); code != "invalid_token" {
			t.Errorf("no alg: %q", code)
		}
	}
}

// The public key is known to everybody. Who takes it for the secret of an HMAC lets everybody in.
func TestAttackAPublicKeyAsTheSecret(t *testing.T) {
	for name, key := range map[string]keyPair{"RSA": rsaKey(t, 2048), "EC": ecKey(t, elliptic.P256(), jwt.SigningMethodES256), "Ed25519": edKey(t)} {
		text := key.public(t)
		block, _ := pem.Decode(text)
		d := newDoor(t, auth.Config{JWTKeyFile: file(t, text)}, nil)
		if who, code := d.bearer(sign(t, key.method, key.private, with())); who.Subject != "ada" {
			t.Fatalf("%s: a good token: %q", name, code)
		}
		for _, asSecret := range [][]byte{text, []byte(strings.TrimSpace(string(text))), block.Bytes, []byte(base64.StdEncoding.EncodeToString(block.Bytes)), {}} {
			for _, method := range []jwt.SigningMethod{jwt.SigningMethodHS256, jwt.SigningMethodHS384, jwt.SigningMethodHS512} {
				if _, code := d.bearer(sign(t, method, asSecret, with())); code != "invalid_token" {
					t.Errorf("%s: %s with the public key: %q", name, method.Alg(), code)
				}
			}
		}
	}
}

func TestAttackAKeyThatTheTokenBrings(t *testing.T) {
	mine, theirs := edKey(t), edKey(t)
	d := newDoor(t, auth.Config{JWTKeyFile: file(t, mine.public(t))}, nil)
	x := base64.RawURLEncoding.EncodeToString(theirs.private.Public().(ed25519.PublicKey))
	for name, header := range map[string][]any{
		"nothing": nil, "jwk": {"jwk", map[string]string{"kty": "OKP", "crv": "Ed25519", "x": x}}, "jku": {"jku", "https://evil.test/keys"},
		"x5u": {"x5u", "https://evil.test/cert"}, "a path": {"kid", "../../../../dev/null"}, "SQL": {"kid", "x' UNION SELECT 'a"}, "a kid of another type": {"kid", 7},
	} {
		if _, code := d.bearer(sign(t, theirs.method, theirs.private, with(), header...)); code != "invalid_token" {
			t.Errorf("%s: %q", name, code)
		}
	}
	if _, code := d.bearer(sign(t, mine.method, mine.private, with(), "crit", []string{"exp"}, "b64", false)); code != "invalid_token" {
		t.Errorf("an extension that is not known: %q", code)
	}
}

func TestAttackAnExpiredToken(t *testing.T) {
	d := newDoor(t, auth.Config{JWTSecret: aSecret}, nil)
	now := time.Now()
	for _, test := range []struct {
		name string
		exp  any
		code string
	}{
		{"an hour ago", now.Add(-time.Hour).Unix(), "token_expired"},
		{"a little ago, within what clocks differ", now.Add(-2 * time.Second).Unix(), ""},
		{"longer ago than clocks differ", now.Add(-12 * time.Second).Unix(), "token_expired"},
		{"at the beginning of time", 0, "token_expired"},
		{"never", nil, "invalid_claims"},
		{"null", json.RawMessage("null"), "invalid_claims"},
		{"a fraction of a second", float64(now.Add(time.Hour).Unix()) + 0.5, ""},
	} {
		if _, code := d.bearer(hs(t, "exp", test.exp)); code != test.code {
			t.Errorf("%s: got %q, want %q", test.name, code, test.code)
		}
	}
}

func TestAttackATokenThatIsNotValidYet(t *testing.T) {
	d := newDoor(t, auth.Config{JWTSecret: aSecret}, nil)
	if _, code := d.bearer(hs(t, "nbf", time.Now().Add(time.Minute).Unix())); code != "token_not_valid_yet" {
		t.Errorf("in a minute: %q", code)
	}
	if _, code := d.bearer(hs(t, "nbf", time.Now().Add(3*time.Second).Unix())); code != "" {
		t.Errorf("within what clocks differ: %q", code)
	}
}

func TestAttackATokenForAnotherAudienceOrFromAnotherIssuer(t *testing.T) {
	d := newDoor(t, auth.Config{JWTSecret: aSecret, JWTAudience: "sluice", JWTIssuer: "https://issuer.test/"}, nil)
	for _, test := range []struct {
		aud, iss any
		code     string
	}{
		{"sluice", "https://issuer.test/", ""},
		{[]string{"other", "sluice"}, "https://issuer.test/", ""},
		{"other", "https://issuer.test/", "wrong_audience"},
		{[]string{"other"}, "https://issuer.test/", "wrong_audience"},
		{"sluice2", "https://issuer.test/", "wrong_audience"},
		{"Sluice", "https://issuer.test/", "wrong_audience"},
		{nil, "https://issuer.test/", "invalid_claims"},
		{[]string{}, "https://issuer.test/", "invalid_claims"},
		{"sluice", "https://evil.test/", "wrong_issuer"},
		{"sluice", "https://issuer.test", "wrong_issuer"},
		{"sluice", nil, "invalid_claims"},
	} {
		if _, code := d.bearer(hs(t, "aud", test.aud, "iss", test.iss)); code != test.code {
			t.Errorf("aud %v iss %v: got %q, want %q", test.aud, test.iss, code, test.code)
		}
	}
}

func TestAttackATokenThatWasChanged(t *testing.T) {
	d := newDoor(t, auth.Config{JWTSecret: aSecret}, nil)
	good := hs(t)
	parts := strings.Split(good, ".")
	claims := base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"eve","exp":99999999999}`))
	for name, token := range map[string]string{
		"other claims": parts[0] + "." + claims + "." + parts[2], "another secret": sign(t, jwt.SigningMethodHS256, []byte(strings.ToUpper(aSecret)), with()),
		"no signature": parts[0] + "." + parts[1] + ".", "a dot more": good + ".", "half": good[:len(good)/2] + "..", "two dots": "..", "spaces": parts[0] + ". ." + parts[2],
		"padding": good + "=", "a signature of another algorithm": sign(t, jwt.SigningMethodHS512, []byte(aSecret), with())[:20] + good[20:],
		"nothing in it": unsigned(`{"alg":"HS256"}`, `null`, parts[2]), "no object": unsigned(`{"alg":"HS256"}`, `[1]`, parts[2]),
		"too long": parts[0] + "." + parts[1] + "." + strings.Repeat("A", 9000),
	} {
		if _, code := d.bearer(token); code != "invalid_token" && code != "invalid_credential" {
			t.Errorf("%s: got %q", name, code)
		}
	}
}

func TestTheKeyDecidesWhichAlgorithmsAreAccepted(t *testing.T) {
	r, e256, e384 := rsaKey(t, 2048), ecKey(t, elliptic.P256(), jwt.SigningMethodES256), ecKey(t, elliptic.P384(), jwt.SigningMethodES384)
	d := newDoor(t, auth.Config{JWTKeyFile: file(t, r.public(t), e256.public(t))}, nil)
	for _, key := range []keyPair{r, {jwt.SigningMethodRS512, r.private}, {jwt.SigningMethodPS256, r.private}, e256} {
		if who, code := d.bearer(sign(t, key.method, key.private, with())); who.Subject != "ada" {
			t.Errorf("%s: %q", key.method.Alg(), code)
		}
	}
	for _, key := range []keyPair{e384, rsaKey(t, 2048), edKey(t)} {
		if _, code := d.bearer(sign(t, key.method, key.private, with())); code != "invalid_token" {
			t.Errorf("%s with another key: %q", key.method.Alg(), code)
		}
	}
}

// FuzzToken: whatever is presented, nobody is let in whose token was not signed, and it does not break anything.
func FuzzToken(f *testing.F) {
	for _, s := range []string{hs(f), hs(f, "admin", true), "..", "a.b.c", unsigned(`{"alg":"none"}`, `{"sub":"a","exp":9e9}`, ""), "sluice_a_b", unsigned(`{"alg":"HS256","crit":[]}`, `{}`, "AA")} {
		f.Add(s)
	}
	cfg := auth.Config{JWTSecret: aSecret}
	a, err := auth.New(cfg, nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, token string) {
		r := request("/")
		r.HTTP.Header["Authorization"] = []string{"Bearer " + token}
		s, err := a.Identify(t.Context(), r)
		if err != nil {
			return
		}
		who := s.Value()
		parsed, err := jwt.Parse(strings.Trim(token, " "), func(*jwt.Token) (any, error) { return []byte(aSecret), nil }, jwt.WithLeeway(time.Minute))
		if err != nil || !parsed.Valid || kind.CheckUser(who.Subject) != nil {
			t.Errorf("%q lets %+v in: %v", token, who, err)
		}
	})
}

func publicRSA(k keyPair) *rsa.PublicKey { return k.private.Public().(*rsa.PublicKey) }

// certificate returns a certificate for a key, signed by itself.
func certificate(t testing.TB, k keyPair) []byte {
	t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.private.Public(), k.private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
