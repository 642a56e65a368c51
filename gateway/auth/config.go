package auth

import (
	"cmp"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sluice/store"
)

// The methods, and how to say that there is none.
const (
	methodJWT      = "jwt"
	methodCallback = "callback"
	methodKeys     = "keys"
	methodNone     = "none"
)

// revokeFor is for how long something is revoked, unless the settings say otherwise.
const revokeFor = 24 * time.Hour

// Config holds the settings that say who is let in and what they may do.
type Config struct {
	Auth             []string      `desc:"jwt, callback and keys, separated by commas; empty: all whose settings are given; none: whoever reaches the gateway may do everything"`
	JWTSecret        string        `split_words:"true" desc:"secret of at least 32 bytes that tokens are signed with (HS256, HS384, HS512)"`
	JWTKeyFile       string        `split_words:"true" desc:"file with the public keys that tokens are signed with, in PEM form (RS, PS, ES, EdDSA)"`
	JwksURL          string        `split_words:"true" desc:"http or https address of the issuer's keys (JWKS); they are fetched again every 5 minutes"`
	JWTIssuer        string        `split_words:"true" desc:"the iss that a token must have; empty: any"`
	JWTAudience      string        `split_words:"true" desc:"the aud that a token must have; empty: any"`
	JWTCookie        string        `split_words:"true" default:"sluice_token" desc:"cookie that may have a token"`
	AuthURL          string        `split_words:"true" desc:"http or https address at which the gateway asks the application who somebody is"`
	AuthCookies      []string      `split_words:"true" desc:"cookies, separated by commas, that the application is sent, a star at the end for all that begin so; empty: all"`
	AuthMaxAge       time.Duration `split_words:"true" default:"5m" desc:"time after which a stream ends so that the application is asked again; while it is away, sessions go on for twice as long"`
	RevokeFor        time.Duration `split_words:"true" default:"24h" desc:"how long what was revoked stays revoked; it should be as long as a token is valid"`
	APIKeys          string        `split_words:"true" desc:"API keys, separated by semicolons, as \"gateway key\" prints them"`
	APIKeysFile      string        `split_words:"true" desc:"file with API keys, one in a line"`
	DefaultSubscribe []string      `split_words:"true" default:"notifications" desc:"patterns, separated by commas, of what users may read whose token or session does not say it"`
	DefaultPublish   []string      `split_words:"true" desc:"the same of what they may publish on"`
	Anonymous        []string      `desc:"the same of what may be read without a credential"`
}

// Validate reports, as a *store.SettingError, which setting is wrong. It removes blanks around the entries of lists.
func (c *Config) Validate() error {
	for _, list := range [][]string{c.Auth, c.AuthCookies, c.DefaultSubscribe, c.DefaultPublish, c.Anonymous} {
		for i := range list {
			list[i] = strings.TrimSpace(list[i])
		}
	}
	for _, name := range c.AuthCookies {
		if !isCookieName(strings.TrimSuffix(name, "*")) {
			return &store.SettingError{Field: "AuthCookies", Value: name, Takes: "names of cookies are expected"}
		}
	}
	if c.JWTCookie != "" && !isCookieName(c.JWTCookie) {
		return &store.SettingError{Field: "JWTCookie", Value: c.JWTCookie, Takes: "the name of a cookie is expected"}
	}
	if c.AuthMaxAge != 0 {
		if err := store.CheckRange("AuthMaxAge", c.AuthMaxAge, 10*time.Second, 24*time.Hour); err != nil {
			return err
		}
	}
	if c.RevokeFor != 0 {
		if err := store.CheckRange("RevokeFor", c.RevokeFor, time.Minute, 365*24*time.Hour); err != nil {
			return err
		}
	}
	_, err := c.methods()
	return err
}

// On reports whether the settings let in only who belongs.
func (c *Config) On() bool { return len(c.Names()) > 0 }

// OpenToAll reports whether the settings say, in so many words, that everybody is let in.
func (c *Config) OpenToAll() bool { return slices.Equal(c.Auth, []string{methodNone}) }

// Names returns the methods that are on.
func (c *Config) Names() []string {
	var given []string
	for _, s := range c.secrets() {
		if s.value != "" && !slices.Contains(given, s.method) {
			given = append(given, s.method)
		}
	}
	switch {
	case c.OpenToAll():
		return nil
	case len(c.Auth) > 0:
		return c.Auth
	default:
		return given
	}
}

// secretSetting is a setting that switches a method on.
type secretSetting struct{ method, field, value string }

func (c *Config) secrets() []secretSetting {
	return []secretSetting{
		{methodJWT, "JWTSecret", c.JWTSecret}, {methodJWT, "JWTKeyFile", c.JWTKeyFile}, {methodJWT, "JwksURL", c.JwksURL},
		{methodCallback, "AuthURL", c.AuthURL},
		{methodKeys, "APIKeys", c.APIKeys}, {methodKeys, "APIKeysFile", c.APIKeysFile},
	}
}

// methods is what the settings mean.
type methods struct {
	names         []string
	jwt, callback bool
	keys          keySource // nil: they are at JwksURL
	apiKeys       apiKeys
	defaults      defaults
	anonymous     Patterns
}

// methods reads the settings, and the files that they name. Its errors are *store.SettingError.
func (c *Config) methods() (m methods, err error) {
	if err := c.checkCombination(); err != nil {
		return m, err
	}
	m.names = c.Names()
	m.jwt, m.callback = slices.Contains(m.names, methodJWT), slices.Contains(m.names, methodCallback)
	if m.keys, err = c.tokenKeys(); err != nil {
		return m, err
	}
	if m.apiKeys, err = c.readKeys(); err != nil {
		return m, err
	}
	if err := cmp.Or(checkURL("JwksURL", c.JwksURL), checkURL("AuthURL", c.AuthURL)); err != nil {
		return m, err
	}
	for _, l := range []struct {
		field string
		list  []string
		to    *Patterns
	}{
		{"DefaultSubscribe", c.DefaultSubscribe, &m.defaults.subscribe},
		{"DefaultPublish", c.DefaultPublish, &m.defaults.publish},
		{"Anonymous", c.Anonymous, &m.anonymous},
	} {
		if *l.to, err = NewPatterns(l.list); err != nil {
			return m, &store.SettingError{
				Field: l.field, Value: strings.Join(l.list, ","), Takes: "patterns of channels are expected, for example orders.*",
			}
		}
	}
	return m, cmp.Or(checkText("JWTIssuer", c.JWTIssuer), checkText("JWTAudience", c.JWTAudience))
}

// checkCombination reports which settings do not go together.
func (c *Config) checkCombination() error {
	all := []string{methodJWT, methodCallback, methodKeys}
	byMethod := map[string][]string{}
	for _, s := range c.secrets() {
		if s.value == "" {
			continue
		}
		byMethod[s.method] = append(byMethod[s.method], s.field)
		if c.OpenToAll() {
			return &store.SettingError{
				Field: s.field, Secret: true, Takes: "it has no effect beside GATEWAY_AUTH=none: remove one of them",
			}
		}
		if len(byMethod[s.method]) > 1 {
			return &store.SettingError{
				Field: s.field, Secret: true, Takes: "there is another setting for the same already: remove one of them",
			}
		}
	}
	for _, name := range c.Auth {
		switch {
		case c.OpenToAll():
		case !slices.Contains(all, name):
			return &store.SettingError{Field: "Auth", Value: name, Takes: "jwt, callback and keys are expected, or none alone"}
		case len(byMethod[name]) == 0:
			return &store.SettingError{Field: "Auth", Value: name, Takes: settingsOf[name] + " is missing"}
		}
	}
	return nil
}

// settingsOf says which settings a method needs.
var settingsOf = map[string]string{
	methodJWT:      "GATEWAY_JWT_SECRET, GATEWAY_JWT_KEY_FILE or GATEWAY_JWKS_URL",
	methodCallback: "GATEWAY_AUTH_URL",
	methodKeys:     "GATEWAY_API_KEYS or GATEWAY_API_KEYS_FILE",
}

// tokenKeys returns the keys that tokens are signed with, or nil if there are none or they are fetched.
func (c *Config) tokenKeys() (keySource, error) {
	switch {
	case c.JWTSecret != "":
		if len(c.JWTSecret) < minSecret {
			return nil, &store.SettingError{
				Field: "JWTSecret", Secret: true, Takes: "at least 32 bytes are expected, for example from openssl rand -base64 48",
			}
		}
		return secret(c.JWTSecret), nil
	case c.JWTKeyFile != "":
		keys, err := readKeyFile(c.JWTKeyFile)
		if err != nil {
			return nil, &store.SettingError{Field: "JWTKeyFile", Value: c.JWTKeyFile, Takes: err.Error()}
		}
		return keys, nil
	default:
		return nil, nil
	}
}

// readKeys returns the API keys, or nil if there are none.
func (c *Config) readKeys() (apiKeys, error) {
	text, field, separator := c.APIKeys, "APIKeys", ";"
	if c.APIKeysFile != "" {
		content, err := os.ReadFile(c.APIKeysFile)
		if err != nil {
			return nil, &store.SettingError{Field: "APIKeysFile", Value: c.APIKeysFile, Takes: err.Error()}
		}
		text, field, separator = string(content), "APIKeysFile", "\n"
	}
	if text == "" && field == "APIKeys" {
		return nil, nil
	}
	keys, err := parseKeys(strings.Split(text, separator))
	if err != nil {
		return nil, &store.SettingError{Field: field, Secret: true, Takes: err.Error()}
	}
	return keys, nil
}

// checkURL reports why text cannot be an address that the gateway calls. It may have a password, so it is not shown.
func checkURL(field, text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return &store.SettingError{Field: field, Secret: true, Takes: "an address that starts with http:// or https:// is expected"}
	}
	return nil
}

// checkText reports why text cannot be a claim.
func checkText(field, text string) error {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return &store.SettingError{Field: field, Value: text, Takes: "a text without control characters is expected"}
	}
	return nil
}
