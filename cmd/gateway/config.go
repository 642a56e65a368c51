package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/kelseyhightower/envconfig"

	"sluice/gateway"
	"sluice/gateway/auth"
	"sluice/pubsub"
	"sluice/store"
)

// Config holds all settings. Each part of the program owns the settings that concern it: their names, defaults and
// descriptions, and which values are valid.
type Config struct {
	Process
	Store  store.Config
	Broker pubsub.Config
	Auth   auth.Config
	Server gateway.Config

	// listening is called, if it is not nil, once the gateway listens at addr and its parts run. Tests use it.
	listening func(addr string)
}

// parts returns the parts of the settings, in the order in which users see them.
func (c *Config) parts() []part { return []part{&c.Process, &c.Store, &c.Broker, &c.Auth, &c.Server} }

// part is the settings of one part of the program: a pointer to a struct whose fields envconfig can fill.
type part interface {
	// Validate checks what the types of the fields cannot exclude. Its error is a *store.SettingError.
	Validate() error
}

// Process holds the settings of the process itself: where it listens, where Redis is, what it logs.
type Process struct {
	Addr      string        `default:"127.0.0.1:8080" desc:"address to listen on; only this machine can reach the default one"`
	RedisURL  string        `split_words:"true" desc:"redis://, rediss:// or unix:// URL; empty: an embedded Redis that forgets everything when the gateway stops"`
	RedisWait time.Duration `split_words:"true" default:"0s" desc:"how long to wait for Redis at the start before giving up; 0s: for ever"`
	LogLevel  slog.Level    `split_words:"true" default:"INFO" desc:"DEBUG, INFO, WARN or ERROR"`
	LogFormat string        `split_words:"true" default:"auto" desc:"text, json, or auto: text on a terminal"`
}

// Validate reports, as a *store.SettingError, which setting is wrong.
func (p *Process) Validate() error {
	if _, _, err := net.SplitHostPort(p.Addr); err != nil {
		return &store.SettingError{
			Field: "Addr", Value: p.Addr, Takes: "host:port is expected, for example 127.0.0.1:8080 or :8080",
		}
	}
	if p.RedisURL != "" {
		u, err := url.Parse(p.RedisURL)
		if err != nil || !slices.Contains([]string{"redis", "rediss", "unix"}, u.Scheme) {
			return &store.SettingError{
				Field: "RedisURL", Secret: true, Takes: "a URL that starts with redis://, rediss:// or unix:// is expected",
			}
		}
	}
	if !slices.Contains([]string{"auto", "text", "json"}, p.LogFormat) {
		return &store.SettingError{Field: "LogFormat", Value: p.LogFormat, Takes: "auto, text or json is expected"}
	}
	return store.CheckRange("RedisWait", p.RedisWait, 0, 24*time.Hour)
}

// prefix begins the name of every environment variable. The rest is the name of a field in upper case, its words
// separated by underscores.
const prefix = "GATEWAY"

// loadConfig reads the settings from the environment. Its errors name the variable, its value, and what is expected.
func loadConfig() (Config, error) {
	var cfg Config
	if err := checkNames(os.Environ(), &cfg); err != nil {
		return cfg, err
	}
	if err := unsetEmpty(); err != nil {
		return cfg, err
	}
	for _, p := range cfg.parts() {
		if err := envconfig.Process(prefix, p); err != nil {
			return cfg, unreadable(err)
		}
		if err := p.Validate(); err != nil {
			return cfg, wrong(err)
		}
	}
	if err := cfg.checkTogether(); err != nil {
		return cfg, wrong(err)
	}
	return cfg, nil
}

// checkOpen returns an error if others than this machine could reach a gateway that lets in everybody, and nobody has said
// that this is meant.
func (c *Config) checkOpen() error {
	if c.Auth.On() || c.Auth.OpenToAll() || isLoopback(c.Addr) {
		return nil
	}
	return fmt.Errorf("%s=%q: without authentication the gateway listens on this machine only. Set GATEWAY_JWT_SECRET, "+
		"GATEWAY_JWKS_URL, GATEWAY_AUTH_URL or GATEWAY_API_KEYS. Or set GATEWAY_AUTH=none, if everybody who reaches the address "+
		"may read and publish everything", variable("Addr"), c.Addr)
}

// isLoopback reports whether only this machine can reach an address.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// checkTogether checks what no part can know by itself.
func (c *Config) checkTogether() error {
	if c.Broker.FeedBytes >= c.Store.MaxBodyBytes {
		return nil
	}
	return &store.SettingError{
		Field: "FeedBytes", Value: strconv.Itoa(c.Broker.FeedBytes),
		Takes: fmt.Sprintf("a number from %s on is expected, which is %d: the largest event must fit",
			variable("MaxBodyBytes"), c.Store.MaxBodyBytes),
	}
}

// unsetEmpty removes the variables that are set to the empty text. Compose sets them for ${NAME:-}, and envconfig would
// take the empty text for a value.
func unsetEmpty() error {
	for _, entry := range os.Environ() {
		if name, value, _ := strings.Cut(entry, "="); value == "" && strings.HasPrefix(name, prefix+"_") {
			if err := os.Unsetenv(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// unreadable returns the error for a variable whose text is not of its field's type.
func unreadable(err error) error {
	p, ok := errors.AsType[*envconfig.ParseError](err)
	if !ok {
		return err
	}
	if s, ok := errors.AsType[*store.SettingError](p.Err); ok {
		return fmt.Errorf("%s=%q: %s", p.KeyName, s.Value, s.Takes)
	}
	return fmt.Errorf("%s=%q: %s is expected", p.KeyName, p.Value, expected(p.TypeName))
}

// wrong returns the error of a part's Validate with the variable's name in place of the field's.
func wrong(err error) error {
	s, ok := errors.AsType[*store.SettingError](err)
	if !ok {
		return err
	}
	named := *s
	named.Field = variable(s.Field)
	return &named
}

// expected says in words which values a type accepts.
func expected(typeName string) string {
	switch typeName {
	case "int":
		return "a whole number"
	case "time.Duration":
		return "a time with its unit, for example 30s or 24h,"
	case "slog.Level":
		return "DEBUG, INFO, WARN or ERROR"
	default:
		return "a " + typeName
	}
}

// setting is one variable as users see it.
type setting struct{ name, standard, desc string }

// settings returns all settings, in the order of the parts.
func settings(cfg *Config) []setting {
	var all []setting
	for _, p := range cfg.parts() {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(p).Elem()) {
			if f.Tag.Get("ignored") == "true" {
				continue
			}
			all = append(all, setting{
				name: variable(f.Name), standard: f.Tag.Get("default"), desc: f.Tag.Get("desc"),
			})
		}
	}
	return all
}

// variable returns the name of the environment variable for a field.
func variable(field string) string { return prefix + "_" + strings.ToUpper(words(field)) }

// words puts underscores between the words of a field's name, as envconfig does: Redis_URL for RedisURL, CORS_Origins for
// CORSOrigins.
func words(name string) string {
	upper := func(i int) bool { return i >= 0 && i < len(name) && name[i] >= 'A' && name[i] <= 'Z' }
	var b strings.Builder
	for i := range len(name) {
		if i > 0 && upper(i) && (!upper(i-1) || i+1 < len(name) && !upper(i+1)) {
			b.WriteByte('_')
		}
		b.WriteByte(name[i])
	}
	return b.String()
}

// printHelp lists the settings.
func printHelp(out io.Writer) error {
	_, err := fmt.Fprint(out, "Sluice streams events from Redis and HTTP to browsers.\n\n"+
		"  gateway              serve\n"+
		"  gateway healthcheck  exit 0 if the gateway is ready, 1 if not\n"+
		"  gateway token        print a token for trying out (gateway token -h)\n"+
		"  gateway key          make an API key (gateway key -h)\n"+
		"  gateway version\n\nSettings (environment variables):\n\n")
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, s := range settings(&Config{}) {
		standard := s.standard
		if standard == "" {
			standard = "(empty)"
		}
		if _, err := fmt.Fprintf(w, "  %s\t%s\t%s\n", s.name, standard, s.desc); err != nil {
			return err
		}
	}
	return w.Flush()
}
