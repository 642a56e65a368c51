package store

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Revocation says that what was issued to somebody before a moment is not valid any more.
type Revocation struct {
	Subject string // of all that was issued to it, or
	TokenID string // of the token with this id; one of the two is set
	At      int64  // the moment by Redis's clock, in microseconds since 1970; no two are equal
}

// maxRevocations bounds what is kept, by this replica and in Redis: 100 bytes each.
const maxRevocations = 100_000

// revocationsAtOnce bounds one reply of Redis.
const revocationsAtOnce = 10_000

// ErrManyRevocations is the error of a revocation when there are 100,000 already.
var ErrManyRevocations = errors.New("too many revocations")

//go:embed lua/revoke.lua
var revokeLua string

var revokeScript = redis.NewScript(revokeLua)

// The first letter of an entry of the key.
const (
	subjectEntry = "s"
	tokenEntry   = "j"
)

// Revoke keeps a revocation, of which At does not count, and returns it with At. Later ones of the same replace it. Redis
// keeps it for the time keep.
func (s *Store) Revoke(ctx context.Context, r Revocation, keep time.Duration) (Revocation, error) {
	entry := subjectEntry + r.Subject
	if r.TokenID != "" {
		entry = tokenEntry + r.TokenID
	}
	reply, err := s.scripts.run(ctx, revokeScript, []string{s.names.revoked()}, []any{entry, seconds(keep), maxRevocations}).Text()
	if err != nil {
		return r, fmt.Errorf("revoke: %w", err)
	}
	if r.At, err = strconv.ParseInt(reply, 10, 64); err != nil {
		return r, fmt.Errorf("revoke.lua answered %q: %w", reply, errUnreadable)
	}
	if r.At == 0 {
		return r, ErrManyRevocations
	}
	return r, nil
}

// Revocations returns what was revoked after a moment, the earliest first. It may be called for a moment 0, and costs one
// command, or more of them when there are more than 10,000.
func (s *Store) Revocations(ctx context.Context, after int64) ([]Revocation, error) {
	var all []Revocation
	for {
		page, err := s.rdb.ZRangeByScoreWithScores(ctx, s.names.revoked(), &redis.ZRangeBy{
			Min: "(" + strconv.FormatInt(after, 10), Max: "+inf", Count: revocationsAtOnce,
		}).Result()
		if err != nil {
			return nil, fmt.Errorf("read revocations: %w", err)
		}
		for _, z := range page {
			entry, _ := z.Member.(string)
			r := Revocation{At: int64(z.Score)} // less than 2^53, so it is exact
			switch {
			case len(entry) > 1 && entry[:1] == subjectEntry:
				r.Subject = entry[1:]
			case len(entry) > 1 && entry[:1] == tokenEntry:
				r.TokenID = entry[1:]
			default:
				return nil, fmt.Errorf("revocation %q: %w", entry, errUnreadable)
			}
			after = r.At
			all = append(all, r)
		}
		if len(page) < revocationsAtOnce {
			return all, nil
		}
	}
}
