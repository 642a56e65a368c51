package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/kelseyhightower/envconfig"

	"sluice/gateway"
	"sluice/store/kind"
)

// Config is what the environment says. Each field is the variable GATEWAY_ and its name in upper case with underscores.
type Config struct {
	Addr            string        `default:"127.0.0.1:8080" desc:"address to listen on; only this machine can reach the default one"`
	RedisURL        string        `split_words:"true" desc:"redis://, rediss:// or unix:// URL; empty: an embedded Redis that forgets everything when the gateway stops"`
	RedisWait       time.Duration `split_words:"true" default:"0s" desc:"how long to wait for Redis at the start before giving up; 0s: for ever"`
	HistorySize     int           `split_words:"true" default:"100" desc:"events kept per general channel"`
	HistoryTTL      time.Duration `split_words:"true" default:"24h" desc:"how long a general channel's history is kept after its newest event"`
	Ingest          []string      `desc:"general channels, separated by commas, whose PUBLISH messages are stored even while nobody watches"`
	MaxStreamsPerIP int           `split_words:"true" default:"0" desc:"streams one client address may have open on this replica; 0: no limit"`
	TrustedProxies  []string      `split_words:"true" desc:"networks (CIDR), separated by commas, of proxies whose X-Forwarded-For is believed"`
	MaxBodyBytes    int           `split_words:"true" default:"65536" desc:"largest body of a publish, and largest PUBLISH payload, in bytes"`
	Heartbeat       time.Duration `default:"30s" desc:"silence after which a stream gets a comment"`
	Retry           time.Duration `default:"3s" desc:"reconnection time told to clients; each gets between half and one and a half of it"`
	DrainTime       time.Duration `split_words:"true" default:"10s" desc:"time over which streams are closed when the gateway stops; with the embedded Redis they are closed at once"`
	FeedBytes       int           `split_words:"true" default:"1048576" desc:"bytes of frames that streams on the same channels share; one further behind is closed and resumes. Above 256 MiB in all, 64 KiB each"`
	AdmitRate       int           `split_words:"true" default:"0" desc:"new streams per second; the surplus waits or is told to come back; 0: no limit"`
	CORSOrigins     []string      `split_words:"true" desc:"origins, separated by commas, whose pages may use the gateway"`
	Writer          string        `default:"auto" desc:"how streams are written: epoll (Linux), goroutine (one each), or auto: epoll where possible"`
	Replica         string        `desc:"name of this replica; empty: the host's name and a random ending"`
	LogLevel        slog.Level    `split_words:"true" default:"INFO" desc:"DEBUG, INFO, WARN or ERROR"`
	LogFormat       string        `split_words:"true" default:"auto" desc:"text, json, or auto: text on a terminal"`

	proxies []netip.Prefix    // TrustedProxies, parsed
	ready   func(addr string) // tests: called when the gateway listens
}

const prefix = "GATEWAY"

// loadConfig reads the settings from the environment.
func loadConfig() (Config, error) {
	var cfg Config
	if err := checkNames(os.Environ(), &cfg); err != nil {
		return cfg, err
	}
	// Set but empty means unset: that is what compose makes of ${NAME:-}, and envconfig would take it for a value.
	for _, entry := range os.Environ() {
		if name, value, _ := strings.Cut(entry, "="); value == "" && strings.HasPrefix(name, prefix+"_") {
			if err := os.Unsetenv(name); err != nil {
				return cfg, err
			}
		}
	}
	if err := envconfig.Process(prefix, &cfg); err != nil {
		if p, ok := errors.AsType[*envconfig.ParseError](err); ok {
			return cfg, fmt.Errorf("%s=%q: %s is expected", p.KeyName, p.Value, expected(p.TypeName))
		}
		return cfg, err
	}
	return cfg, cfg.validate()
}

// expected says in words what a type takes.
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

// settings returns the variables' names, without those of tests.
func settings(cfg *Config) []setting {
	var all []setting
	t := reflect.TypeOf(*cfg)
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		all = append(all, setting{
			name: prefix + "_" + strings.ToUpper(words(f.Name)), standard: f.Tag.Get("default"), desc: f.Tag.Get("desc"),
		})
	}
	return all
}

// setting is one variable.
type setting struct{ name, standard, desc string }

// words splits a field's name as envconfig does: RedisURL is Redis_URL, CORSOrigins is CORS_Origins.
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

// checkNames finds misspelt variables.
func checkNames(environ []string, cfg *Config) error {
	var known []string
	for _, s := range settings(cfg) {
		known = append(known, s.name)
	}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, prefix+"_") || slices.Contains(known, name) || isServiceLink(name, value) {
			continue
		}
		nearest, best := "", 1+len(name)/3
		for _, k := range known {
			if d := distance(name, k); d < best {
				nearest, best = k, d
			}
		}
		if nearest != "" {
			return fmt.Errorf("%s is not a setting; is %s meant? (gateway help lists all)", name, nearest)
		}
		return fmt.Errorf("%s is not a setting (gateway help lists all)", name)
	}
	return nil
}

// serviceLink matches the variables that Kubernetes (and docker --link) put into every container when a service is
// called "gateway".
var serviceLink = regexp.MustCompile(`^GATEWAY_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// isServiceLink reports whether a variable is such a one. GATEWAY_PORT is only if it holds a URL: else somebody means a
// setting.
func isServiceLink(name, value string) bool {
	return serviceLink.MatchString(name) && (name != prefix+"_PORT" || strings.Contains(value, "://"))
}

// distance is the number of letters to add, drop or change to get from a to b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// validate checks what the types do not say. Its errors name the variable, what it got, and what it takes.
func (c *Config) validate() error {
	wrong := func(name string, value any, takes string) error {
		return fmt.Errorf("%s_%s=%q: %s", prefix, name, fmt.Sprint(value), takes)
	}
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		return wrong("ADDR", c.Addr, "host:port is expected, for example 127.0.0.1:8080 or :8080")
	}
	if c.RedisURL != "" {
		u, err := url.Parse(c.RedisURL)
		if err != nil || !slices.Contains([]string{"redis", "rediss", "unix"}, u.Scheme) {
			// The URL may hold a password: it is not shown.
			return fmt.Errorf("%s_REDIS_URL: a URL that starts with redis://, rediss:// or unix:// is expected", prefix)
		}
	}
	for _, r := range []struct {
		name        string
		value       int
		least, most int
	}{
		{"HISTORY_SIZE", c.HistorySize, 1, 100_000},
		{"MAX_STREAMS_PER_IP", c.MaxStreamsPerIP, 0, 1 << 30},
		{"MAX_BODY_BYTES", c.MaxBodyBytes, 1024, 1 << 20},
		{"FEED_BYTES", c.FeedBytes, 64 << 10, 1 << 30},
		{"ADMIT_RATE", c.AdmitRate, 0, 1 << 30},
	} {
		if r.value < r.least || r.value > r.most {
			return wrong(r.name, r.value, fmt.Sprintf("a number from %d to %d is expected", r.least, r.most))
		}
	}
	for _, r := range []struct {
		name        string
		value       time.Duration
		least, most time.Duration
	}{
		{"REDIS_WAIT", c.RedisWait, 0, 24 * time.Hour},
		{"HISTORY_TTL", c.HistoryTTL, time.Second, 365 * 24 * time.Hour},
		{"HEARTBEAT", c.Heartbeat, time.Second, time.Hour},
		{"RETRY", c.Retry, 100 * time.Millisecond, time.Hour},
		{"DRAIN_TIME", c.DrainTime, 0, time.Hour},
	} {
		if r.value < r.least || r.value > r.most {
			return wrong(r.name, r.value, fmt.Sprintf("a time from %v to %v is expected", r.least, r.most))
		}
	}
	for i, name := range c.Ingest {
		c.Ingest[i] = strings.TrimSpace(name)
		if err := kind.CheckChannel(c.Ingest[i]); err != nil {
			return wrong("INGEST", name, "names of channels are expected: "+err.Error())
		}
	}
	c.proxies = nil
	for _, text := range c.TrustedProxies {
		p, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil {
			return wrong("TRUSTED_PROXIES", text, "networks are expected, for example 10.1.2.0/24")
		}
		c.proxies = append(c.proxies, p)
	}
	for i, text := range c.CORSOrigins {
		origin := strings.TrimSuffix(strings.TrimSpace(text), "/")
		u, err := url.Parse(origin)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil || gateway.CheckOrigin(origin) != nil {
			return wrong("CORS_ORIGINS", text, "origins are expected, for example https://www.example.com")
		}
		c.CORSOrigins[i] = origin
	}
	if c.Replica != "" && kind.CheckChannel(c.Replica) != nil {
		return wrong("REPLICA", c.Replica, "a name of letters, digits and : . _ - is expected")
	}
	if !slices.Contains([]string{gateway.WriterAuto, gateway.WriterEpoll, gateway.WriterGoroutine}, c.Writer) {
		return wrong("WRITER", c.Writer, "epoll, goroutine or auto is expected")
	}
	if !slices.Contains([]string{"auto", "text", "json"}, c.LogFormat) {
		return wrong("LOG_FORMAT", c.LogFormat, "auto, text or json is expected")
	}
	return nil
}

// printHelp lists the settings.
func printHelp(out io.Writer) error {
	_, err := fmt.Fprint(out, "Sluice streams events from Redis and HTTP to browsers.\n\n"+
		"  gateway              serve\n"+
		"  gateway healthcheck  exit 0 if the gateway at GATEWAY_ADDR is ready, 1 if not\n"+
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
