package gateway

import (
	"cmp"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"sluice/gateway/auth"
	"sluice/store"
)

// Config holds the settings of a Server. The zero value of a limit means that there is none.
type Config struct {
	MaxStreamsPerIP int           `split_words:"true" default:"0" desc:"streams one client address may have open on this replica; 0: no limit"`
	TrustedProxies  Networks      `split_words:"true" desc:"networks (CIDR), separated by commas, of proxies whose X-Forwarded-For is believed"`
	Heartbeat       time.Duration `default:"15s" desc:"silence after which a stream gets a comment; Next.js rewrites give up after 30s without one"`
	Retry           time.Duration `default:"3s" desc:"reconnection time told to clients; each gets between half and one and a half of it"`
	DrainTime       time.Duration `split_words:"true" default:"10s" desc:"time over which streams are closed when the gateway stops; with the embedded Redis they are closed at once"`
	AdmitRate       int           `split_words:"true" default:"0" desc:"new streams per second; the surplus waits or is told to come back; 0: no limit"`
	// Authenticator finds out who makes a request; nil: everybody may do everything.
	Authenticator *auth.Authenticator `ignored:"true"`

	CORSOrigins []string `split_words:"true" desc:"origins, separated by commas, whose pages may use the gateway"`
	// Demo and Console are on or off; the empty text stands for on.
	Demo    string `default:"on" desc:"on or off: POST /api/tasks/start and /api/activity/simulate, which publish made-up events"`
	Console string `default:"on" desc:"on or off: the pages at /, /notifications, /progress, /activity and /console"`
	// AdminAddr is where ServeAdmin is to listen. If it is not empty, what is for operators is not served elsewhere.
	AdminAddr string `split_words:"true" desc:"address of /metrics, /healthz, /readyz and /debug/pprof; empty: they are at GATEWAY_ADDR, without pprof"`
	// Writer is WriterAuto, WriterEpoll or WriterGoroutine; the empty text stands for WriterAuto.
	Writer string `default:"auto" desc:"how streams are written: epoll (Linux), goroutine (one each), or auto: epoll where possible"`
}

// Validate reports, as a *store.SettingError, which setting is wrong. It removes blanks and a slash at the end from the
// CORSOrigins.
func (c *Config) Validate() error {
	for i, text := range c.CORSOrigins {
		c.CORSOrigins[i] = strings.TrimSuffix(strings.TrimSpace(text), "/")
		if checkOrigin(c.CORSOrigins[i]) != nil {
			return &store.SettingError{
				Field: "CORSOrigins", Value: text, Takes: "origins are expected, for example https://www.example.com",
			}
		}
	}
	if !slices.Contains([]string{"", WriterAuto, WriterEpoll, WriterGoroutine}, c.Writer) {
		return &store.SettingError{Field: "Writer", Value: c.Writer, Takes: "epoll, goroutine or auto is expected"}
	}
	for field, value := range map[string]string{"Demo": c.Demo, "Console": c.Console} {
		if !slices.Contains([]string{"", "on", off}, value) {
			return &store.SettingError{Field: field, Value: value, Takes: "on or off is expected"}
		}
	}
	if c.AdminAddr != "" {
		if _, _, err := net.SplitHostPort(c.AdminAddr); err != nil {
			return &store.SettingError{Field: "AdminAddr", Value: c.AdminAddr, Takes: "host:port is expected, for example 127.0.0.1:9090"}
		}
	}
	return cmp.Or(
		store.CheckRange("MaxStreamsPerIP", c.MaxStreamsPerIP, 0, 1<<30),
		store.CheckRange("Heartbeat", c.Heartbeat, time.Second, time.Hour),
		store.CheckRange("Retry", c.Retry, 100*time.Millisecond, time.Hour),
		store.CheckRange("DrainTime", c.DrainTime, 0, time.Hour),
		store.CheckRange("AdmitRate", c.AdmitRate, 0, 1<<30),
	)
}

// off is the value of Demo and Console that switches them off.
const off = "off"

// checkOrigin reports why origin cannot be one of Config.CORSOrigins.
func checkOrigin(origin string) error {
	u, err := url.Parse(origin)
	if err != nil {
		return err
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.User != nil {
		return errors.New("an origin is http or https, without a user")
	}
	// The CORS middleware takes a star for a pattern, http.CrossOriginProtection takes it literally.
	if strings.ContainsAny(origin, "*?#") {
		return errors.New("an origin is a scheme, a host and maybe a port")
	}
	return http.NewCrossOriginProtection().AddTrustedOrigin(origin)
}

// Networks is a list of networks, separated by commas as a text.
type Networks []netip.Prefix

// UnmarshalText reads the list. Its error is a *store.SettingError without a field.
func (n *Networks) UnmarshalText(text []byte) error {
	*n = nil
	for entry := range strings.SplitSeq(string(text), ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(entry))
		if err != nil {
			return &store.SettingError{Value: entry, Takes: "networks are expected, for example 10.1.2.0/24"}
		}
		*n = append(*n, p)
	}
	return nil
}
