package store

import (
	"cmp"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/store/kind"
)

// Store keeps events in Redis. It is safe for concurrent use and holds no events of its own.
type Store struct {
	rdb     redis.UniversalClient
	cfg     Config
	names   Names
	scripts *batcher
	format  formatCheck
	refusal atomic.Pointer[Refusal] // of the newest publish; nil if Redis took it
	epoch   atomic.Pointer[Epoch]   // the newest that was read
	clock   atomic.Pointer[redisClock]
}

// Config holds the settings of a Store.
type Config struct {
	Prefix       string        `default:"sluice" desc:"begins the names of all keys and pub/sub channels of the gateway's own; gateways with different ones share a Redis without sharing events"`
	HistorySize  int           `split_words:"true" default:"100" desc:"events kept per general channel"`
	HistoryTTL   time.Duration `split_words:"true" default:"24h" desc:"how long a general channel's history is kept after its newest event"`
	MaxBodyBytes int           `split_words:"true" default:"65536" desc:"largest body of a publish, and largest PUBLISH payload, in bytes"`
}

// Validate reports, as a *[SettingError], which setting is wrong.
func (c *Config) Validate() error {
	return cmp.Or(
		checkPrefix(c.Prefix),
		CheckRange("HistorySize", c.HistorySize, 1, 100_000),
		CheckRange("HistoryTTL", c.HistoryTTL, time.Second, 365*24*time.Hour),
		CheckRange("MaxBodyBytes", c.MaxBodyBytes, 1024, 1<<20),
	)
}

// New returns a Store on rdb. The caller closes first the Store, then rdb.
func New(rdb redis.UniversalClient, cfg Config) *Store {
	cfg.Prefix = cmp.Or(cfg.Prefix, DefaultPrefix)
	database := 0
	if one, ok := rdb.(*redis.Client); ok { // others, such as a cluster's, have one database
		database = one.Options().DB
	}
	s := &Store{rdb: rdb, cfg: cfg, names: NewNames(cfg.Prefix, database)}
	s.format.turn = make(chan struct{}, 1)
	s.scripts = &batcher{rdb: rdb, together: s.appendStep, mayWrite: s.CheckFormat}
	return s
}

// Close waits for calls of Append and Adopt that Redis has not answered although their callers have given up. That
// takes ten seconds at most, because calls have a timeout. No method may be called after it.
func (s *Store) Close() { s.scripts.wait() }

// Names returns the names of the gateway's own pub/sub channels.
func (s *Store) Names() Names { return s.names }

// Rule returns how much of a channel is kept.
func (s *Store) Rule(channel string) kind.Rule {
	return kind.Of(channel).Rule(kind.Keep(s.cfg.HistorySize, s.cfg.HistoryTTL))
}

// MaxBodyBytes returns how many bytes the body of a publish, or the payload of a raw PUBLISH, may have. The packages
// that receive them refuse larger ones; Append does not check it.
func (s *Store) MaxBodyBytes() int { return s.cfg.MaxBodyBytes }
