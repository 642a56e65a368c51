package main

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAWrongSettingIsNamedWithWhatItGotAndWhatItTakes(t *testing.T) {
	for _, test := range []struct{ name, value, takes string }{
		{"ADDR", "8080", "host:port"},
		{"ADDR", "localhost", "host:port"},
		{"ADDR", "::1:8080", "host:port"},
		{"REDIS_WAIT", "5", "a time with its unit"},
		{"REDIS_WAIT", "-1s", "0s to 24h"},
		{"REDIS_WAIT", "25h0m0s", "0s to 24h"},
		{"HISTORY_SIZE", "many", "a whole number"},
		{"HISTORY_SIZE", "1.5", "a whole number"},
		{"HISTORY_SIZE", "0", "1 to 100000"},
		{"HISTORY_SIZE", "100001", "1 to 100000"},
		{"HISTORY_TTL", "1d", "a time with its unit"},
		{"HISTORY_TTL", "0s", "1s to 8760h"},
		{"PREFIX", "a:b", "letters, digits"},
		{"PREFIX", "progress", "a task's"},
		{"INGEST", "orders,a b", "letters, digits"},
		{"INGEST", "orders,,bills", "names of channels"},
		{"INGEST", "sluice:x", "names of channels"},
		{"MAX_STREAMS_PER_IP", "-1", "a number from 0"},
		{"MAX_STREAMS_PER_IP", "unlimited", "a whole number"},
		{"TRUSTED_PROXIES", "10.0.0.1", "10.1.2.0/24"},
		{"TRUSTED_PROXIES", "10.0.0.0/33", "10.1.2.0/24"},
		{"TRUSTED_PROXIES", "nginx", "10.1.2.0/24"},
		{"MAX_BODY_BYTES", "64K", "a whole number"},
		{"MAX_BODY_BYTES", "1023", "1024 to 1048576"},
		{"MAX_BODY_BYTES", "1048577", "1024 to 1048576"},
		{"HEARTBEAT", "0s", "1s to 1h"},
		{"HEARTBEAT", "30", "a time with its unit"},
		{"RETRY", "99ms", "100ms to 1h"},
		{"DRAIN_TIME", "-1s", "0s to 1h"},
		{"FEED_BYTES", "1", "65536"},
		{"ADMIT_RATE", "-1", "a number from 0"},
		{"ADMIT_RATE", "10/s", "a whole number"},
		{"CORS_ORIGINS", "*", "origins are expected"},
		{"CORS_ORIGINS", "www.example.com", "origins are expected"},
		{"CORS_ORIGINS", "https://a.test,ftp://b.test", "origins are expected"},
		{"CORS_ORIGINS", "https://a.test/app", "origins are expected"},
		{"CORS_ORIGINS", "https://a.test?x", "origins are expected"},
		{"CORS_ORIGINS", "https://a.test#x", "origins are expected"},
		{"CORS_ORIGINS", "https://me@a.test", "origins are expected"},
		{"CORS_ORIGINS", "https://*.a.test", "origins are expected"},
		{"CORS_ORIGINS", "null", "origins are expected"},
		{"WRITER", "fast", "epoll, goroutine or auto"},
		{"AUTH", "basic", "jwt, callback and keys"},
		{"AUTH", "jwt", "GATEWAY_JWT_SECRET"},
		{"JWT_KEY_FILE", "/does/not/exist", "no such file"},
		{"JWT_COOKIE", "a b", "name of a cookie"},
		{"AUTH_COOKIES", "a b", "names of cookies"},
		{"AUTH_MAX_AGE", "9s", "10s to 24h"},
		{"DEFAULT_SUBSCRIBE", "a*b", "patterns of channels"},
		{"ANONYMOUS", "a b", "patterns of channels"},
		{"DEMO", "yes", "on or off"},
		{"CONSOLE", "false", "on or off"},
		{"ADMIN_ADDR", "9090", "host:port"},
		{"REPLICA", "a b", "letters, digits"},
		{"REPLICA", "a\r\nSet-Cookie: x", "letters, digits"},
		{"LOG_LEVEL", "LOUD", "DEBUG, INFO, WARN or ERROR"},
		{"LOG_FORMAT", "xml", "auto, text or json"},
	} {
		name := "GATEWAY_" + test.name
		_, err := loadWith(name + "=" + test.value)
		if err == nil {
			t.Errorf("%s=%q is taken", name, test.value)
			continue
		}
		// Of a list it is enough to show the part that is wrong.
		got := func(part string) bool { return strings.Contains(err.Error(), `"`+part+`"`) }
		shown := slices.ContainsFunc(append(strings.Split(test.value, ","), test.value), got) || test.name == "REPLICA"
		if text := err.Error(); !strings.HasPrefix(text, name) || !shown || !strings.Contains(text, test.takes) || strings.Contains(text, "\n") {
			t.Errorf("%s=%q: the error is %q; want one line with the name, the value and %q", name, test.value, text, test.takes)
		}
	}
}

func TestASharedLogThatIsSmallerThanAnEventIsRefused(t *testing.T) {
	_, err := loadWith("GATEWAY_FEED_BYTES=100000", "GATEWAY_MAX_BODY_BYTES=100001")
	if err == nil || !strings.HasPrefix(err.Error(), `GATEWAY_FEED_BYTES="100000"`) || !strings.Contains(err.Error(), "GATEWAY_MAX_BODY_BYTES on is expected, which is 100001") {
		t.Errorf("got %v, want an error that names both settings", err)
	}
	if _, err := loadWith("GATEWAY_FEED_BYTES=100000", "GATEWAY_MAX_BODY_BYTES=100000"); err != nil {
		t.Errorf("a log as large as the largest event: %v", err)
	}
}

// The URL may hold a password, so it is the one setting whose value is not shown.
func TestAWrongRedisURLIsNamedButNotShown(t *testing.T) {
	for _, url := range []string{
		"localhost:6379", "http://me:secret@redis.test", "redis//me:secret@redis.test", "redis://me:secret@redis.test:port", "me:secret@redis.test",
		"redis://me:se cret@redis.test", "redis://me:secret@redis.test/%zz", "tcp://me:secret@redis.test", "redis://me:secret@redis.test/first",
		"redis://me:secret@redis.test?unknown=1", "redis://me:secret@redis.test?db=x",
	} {
		cfg, err := loadWith("GATEWAY_REDIS_URL=" + url)
		if err == nil { // good enough to be tried, then
			_, err = redisOptions(cfg.RedisURL)
		}
		if err == nil || !strings.HasPrefix(err.Error(), "GATEWAY_REDIS_URL") || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: the error is %v; want one line with the name and without the password", url, err)
		}
	}
}

func TestAWrongSecretIsNamedButNotShown(t *testing.T) {
	for name, value := range map[string]string{
		"JWT_SECRET": "a-short-secret", "API_KEYS": "shop:a-short-secret:orders", "AUTH_URL": "a-short-secret@app.test", "JWKS_URL": "a-short-secret",
	} {
		_, err := loadWith("GATEWAY_" + name + "=" + value)
		if err == nil || !strings.HasPrefix(err.Error(), "GATEWAY_"+name) || strings.Contains(err.Error(), "a-short-secret") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: the error is %v; want one line with the name and without the value", name, err)
		}
	}
}

func TestAMisspeltSettingIsNamedWithTheOneThatIsMeant(t *testing.T) {
	for name, meant := range map[string]string{
		"GATEWAY_ADR": "GATEWAY_ADDR", "GATEWAY_ADDRESS": "GATEWAY_ADDR", "GATEWAY_REDISURL": "GATEWAY_REDIS_URL",
		"GATEWAY_REDIS_URI": "GATEWAY_REDIS_URL", "GATEWAY_MAX_STREAM_PER_IP": "GATEWAY_MAX_STREAMS_PER_IP",
		"GATEWAY_TRUSTED_PROXY": "GATEWAY_TRUSTED_PROXIES", "GATEWAY_HEART_BEAT": "GATEWAY_HEARTBEAT", "GATEWAY_CORS_ORIGIN": "GATEWAY_CORS_ORIGINS",
		"GATEWAY_addr": "GATEWAY_ADDR", "GATEWAY_HISTORY": "GATEWAY_HISTORY_TTL", "GATEWAY_LOGLEVEL": "GATEWAY_LOG_LEVEL",
	} {
		_, err := loadWith(name + "=x")
		if err == nil || !strings.HasPrefix(err.Error(), name+" ") || !strings.Contains(err.Error(), meant) {
			t.Errorf("%s: the error is %v; want %s in it", name, err, meant)
		}
	}
	for _, name := range []string{"GATEWAY_COMPLETELY_UNKNOWN", "GATEWAY_X"} {
		if _, err := loadWith(name + "=x"); err == nil || !strings.HasPrefix(err.Error(), name+" ") || !strings.Contains(err.Error(), "gateway help") {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
	// Also if it is empty: it was meant to do something.
	if _, err := loadWith("GATEWAY_ADR="); err == nil {
		t.Error("GATEWAY_ADR= is taken")
	}
}

func TestVariablesOfOthersAreNoneOfOurBusiness(t *testing.T) {
	for _, entry := range []string{"GATEWAYS=1", "GATEWAY=1", "gateway_addr=x", "MY_GATEWAY_ADDR=x", "ADDR=x", "REDIS_URL=x", "REPLICA=a b", "CORS_ORIGINS=*", "MAX_STREAMS_PER_IP=x"} {
		if cfg, err := loadWith(entry); err != nil || cfg.Addr != "127.0.0.1:8080" || cfg.RedisURL != "" || len(cfg.Server.CORSOrigins) != 0 {
			t.Errorf("%s: %v, %+v", entry, err, cfg)
		}
	}
}

// Kubernetes puts these into every container of a namespace that has a Service named gateway, as Docker's links did.
func TestTheVariablesOfAServiceNamedGatewayDoNotStopTheStart(t *testing.T) {
	if _, err := loadWith("GATEWAY_SERVICE_HOST=10.96.0.7", "GATEWAY_SERVICE_PORT=80", "GATEWAY_SERVICE_PORT_HTTP=80", "GATEWAY_PORT=tcp://10.96.0.7:80",
		"GATEWAY_PORT_80_TCP=tcp://10.96.0.7:80", "GATEWAY_PORT_80_TCP_PROTO=tcp", "GATEWAY_PORT_80_TCP_PORT=80", "GATEWAY_PORT_80_TCP_ADDR=10.96.0.7"); err != nil {
		t.Error(err)
	}
	if _, err := loadWith("GATEWAY_PORT=9000"); err == nil || !strings.Contains(err.Error(), "GATEWAY_ADDR") {
		t.Errorf("GATEWAY_PORT=9000 is meant for us: %v", err)
	}
}

func TestSetButEmptyIsUnset(t *testing.T) {
	unset := configOf(t)
	var empty []string
	for _, s := range settings(&Config{}) {
		empty = append(empty, s.name+"=")
	}
	if got := configOf(t, empty...); !reflect.DeepEqual(got, unset) {
		t.Errorf("all variables empty:\n got %+v\nwant %+v", got, unset)
	}
}

func TestSettingsMayHaveBlanksInTheirLists(t *testing.T) {
	cfg := configOf(t, "GATEWAY_INGEST=orders, bills", "GATEWAY_TRUSTED_PROXIES=10.0.0.0/8, 2001:db8::/32",
		"GATEWAY_CORS_ORIGINS=https://a.test/, http://localhost:3000")
	if want := []string{"orders", "bills"}; !slices.Equal(cfg.Broker.Ingest, want) {
		t.Errorf("INGEST: got %q, want %q", cfg.Broker.Ingest, want)
	}
	if want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}; !slices.Equal(cfg.Server.TrustedProxies, want) {
		t.Errorf("TRUSTED_PROXIES: got %v, want %v", cfg.Server.TrustedProxies, want)
	}
	if want := []string{"https://a.test", "http://localhost:3000"}; !slices.Equal(cfg.Server.CORSOrigins, want) {
		t.Errorf("CORS_ORIGINS: got %q, want %q", cfg.Server.CORSOrigins, want)
	}
}

func TestSettingsTakeEffect(t *testing.T) {
	cfg := configOf(t, "GATEWAY_ADDR=:9000", "GATEWAY_REDIS_URL=rediss://redis.test:6380/2", "GATEWAY_HISTORY_TTL=90m", "GATEWAY_LOG_LEVEL=debug",
		"GATEWAY_HEARTBEAT=15s", "GATEWAY_MAX_STREAMS_PER_IP=7", "GATEWAY_DRAIN_TIME=0s")
	if cfg.Addr != ":9000" || cfg.Store.HistoryTTL != 90*time.Minute || cfg.LogLevel.String() != "DEBUG" || cfg.Server.Heartbeat != 15*time.Second ||
		cfg.Server.MaxStreamsPerIP != 7 || cfg.Server.DrainTime != 0 {
		t.Errorf("got %+v", cfg)
	}
	o, err := redisOptions(cfg.RedisURL)
	if err != nil || o.Addr != "redis.test:6380" || o.DB != 2 || o.TLSConfig == nil {
		t.Errorf("Redis options: %+v, %v", o, err)
	}
}

func TestEverySettingHasOneOwnerADescriptionAndAName(t *testing.T) {
	owners := make(map[string]int)
	for _, s := range settings(&Config{}) {
		owners[s.name]++
		if owners[s.name] > 1 {
			t.Errorf("%s belongs to several parts", s.name)
		}
		if s.desc == "" {
			t.Errorf("%s has no description", s.name)
		}
		// What help, the README and the errors call it is what is read.
		if cfg, err := loadWith(s.name + "=\x01"); err == nil {
			t.Errorf("%s is not read: %+v", s.name, cfg)
		}
	}
	if len(owners) != 39 {
		t.Errorf("%d settings, want 39", len(owners))
	}
}
