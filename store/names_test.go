package store_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/store"
	"sluice/store/storetest"
)

func TestGatewaysWithDifferentPrefixesOrDatabasesShareNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, server *storetest.Server) {
		var stores []*store.Store
		for _, at := range []struct {
			prefix   string
			database int
		}{{"sluice", 0}, {"sluice", 1}, {"other", 0}} {
			rdb := redis.NewClient(&redis.Options{Addr: server.Addr, DB: at.database})
			t.Cleanup(func() { _ = rdb.Close() })
			cfg := config
			cfg.Prefix = at.prefix
			stores = append(stores, store.New(rdb, cfg))
		}
		names := make(map[string]bool)
		for _, s := range stores {
			n := s.Names()
			for _, name := range []string{n.Markers, n.PatternMarkers, n.Adopted, n.Live("orders"), n.Probe("a"), n.Session(store.Nonce{})} {
				if names[name] {
					t.Errorf("two gateways have the pub/sub channel %s", name)
				}
				names[name] = true
			}
			if channel, ok := n.ChannelOfLive(n.Live("orders")); !ok || channel != "orders" {
				t.Errorf("the channel of %s: %q, %v", n.Live("orders"), channel, ok)
			}
		}
		if channel, ok := stores[0].Names().ChannelOfLive(stores[1].Names().Live("orders")); ok {
			t.Errorf("takes another database's announcements for those of %q", channel)
		}
		for _, s := range stores { // each stores the same raw messages
			if a, err := s.Adopt(t.Context(), "", "orders", "A", 1, raw(t, "orders", "x", "y")); err != nil || a.Stored != 2 {
				t.Errorf("stored %+v, %v", a, err)
			}
		}
	})
}

// Old and new gateways run beside each other while they are replaced.
func TestNoNameIsOneOfTheFirstEdition(t *testing.T) {
	rdb := storetest.Mini(t).Client(t)
	s := store.New(rdb, config)
	if _, _, err := s.Append(t.Context(), draft(t, "orders", `1`), store.AppendOptions{IdempotencyKey: "k"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Adopt(t.Context(), "", "notifications", "A", 1, raw(t, "notifications", "x", `{"type":"info"}`)); err != nil {
		t.Fatal(err)
	}
	n := s.Names()
	for _, name := range append(rdb.Keys(t.Context(), "*").Val(), n.Markers, n.PatternMarkers, n.Adopted, n.Live("orders"), n.Probe("a"), n.Session(store.Nonce{})) {
		rest, ours := strings.CutPrefix(name, "sluice:")
		if !ours || strings.HasPrefix(rest, "{") || strings.HasPrefix(rest, "probe:") || rest == "markers" || rest == "pattern-markers" {
			t.Errorf("%s", name)
		}
	}
}

func TestWhatAnotherVersionWroteIsLeftAlone(t *testing.T) {
	each(t, func(t *testing.T, _ *store.Store, rdb *redis.Client) {
		cfg := config
		cfg.Prefix = "p"
		rdb.Set(t.Context(), "p:format", "99", 0)
		s := store.New(rdb, cfg)
		_, _, err1 := s.Append(t.Context(), draft(t, "orders", `1`), store.AppendOptions{})
		_, err2 := s.Adopt(t.Context(), "", "orders", "A", 1, raw(t, "orders", "x"))
		for _, err := range []error{s.CheckFormat(t.Context()), err1, err2} {
			other, ok := errors.AsType[*store.FormatError](err)
			if !ok || other.Found != "99" || store.TroubleOf(err).Code != "redis_format" || errors.Is(err, store.ErrUncertain) {
				t.Errorf("got %v, want a FormatError", err)
			}
		}
		if keys := rdb.Keys(t.Context(), "*").Val(); len(keys) != 1 {
			t.Errorf("written beside it: %v", keys)
		}
		// Whoever deletes it may go on without a restart.
		rdb.Del(t.Context(), "p:format")
		appendEvent(t, s, "orders", `1`)
		if got := rdb.Get(t.Context(), "p:format").Val(); got != "2" {
			t.Errorf("the format is %q", got)
		}
	})
}

func TestAFullRedisWithoutAFormatIsNoOtherVersion(t *testing.T) {
	rdb := storetest.Real(t, "--maxmemory", "1").Client(t)
	s := store.New(rdb, config)
	if err := s.CheckFormat(t.Context()); err != nil {
		t.Error(err)
	}
	if _, _, err := s.Append(t.Context(), draft(t, "orders", `1`), store.AppendOptions{}); store.TroubleOf(err).Code != "redis_full" {
		t.Errorf("append: got %v", err)
	}
	if err := rdb.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	appendEvent(t, s, "orders", `1`)
	if got := rdb.Get(t.Context(), "sluice:format").Val(); got != "2" {
		t.Errorf("the format is %q", got)
	}
}

func TestWhatAPrefixMayBe(t *testing.T) {
	for prefix, valid := range map[string]bool{
		"sluice": true, "a": true, "my-App_2.x": true, strings.Repeat("x", 32): true,
		"": false, strings.Repeat("x", 33): false, "a:b": false, "{a}": false, "a b": false, "ä": false, "progress": false,
	} {
		cfg := store.Config{Prefix: prefix, HistorySize: 1, HistoryTTL: time.Hour, MaxBodyBytes: 1024}
		if err := cfg.Validate(); (err == nil) != valid {
			t.Errorf("%q: %v", prefix, err)
		}
	}
}
