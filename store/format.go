package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"sluice/store/kind"
)

// formatNow is the format in which this package writes keys and announcements. The first edition wrote keys of other names
// and none that says so. A change of the format says how it rolls.
const formatNow = "2"

// formatCheck remembers that Redis has the format that this package writes.
type formatCheck struct {
	turn  chan struct{} // capacity 1: holds whoever asks Redis; others wait until their context ends
	known atomic.Bool
}

// begin takes the turn to ask Redis. After nil, end must be called.
func (c *formatCheck) begin(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("read the format of what Redis holds: %w", ctx.Err())
	}
}

func (c *formatCheck) end() { <-c.turn }

// FormatError is the error of a Redis that holds what another version of the gateway wrote.
type FormatError struct{ Prefix, Found string }

// Error says what to do about it.
func (e *FormatError) Error() string {
	return fmt.Sprintf("redis holds the data of another version of the gateway: "+
		"%s:format is %q, and this version reads and writes %q. Start the version that wrote it, "+
		"or choose another prefix or another database for this one, or delete the keys that begin with %s:",
		e.Prefix, e.Found, formatNow, e.Prefix)
}

// CheckFormat returns a *[FormatError] if Redis holds, under this Store's prefix, what another version of the gateway wrote.
// If nobody has written there, it notes the format of this version, and makes an epoch. Append, Adopt and Tips check it the
// first time, so a call is needed only to learn of it earlier. After it has returned nil once, Redis is not asked again.
func (s *Store) CheckFormat(ctx context.Context) error {
	if s.format.known.Load() {
		return nil
	}
	if err := s.format.begin(ctx); err != nil {
		return err
	}
	defer s.format.end()
	if s.format.known.Load() {
		return nil
	}
	return s.checkFormat(ctx, newEpochName())
}

// checkFormat is CheckFormat; an epoch that is missing gets the given name. it is the caller's turn.
func (s *Store) checkFormat(ctx context.Context, epoch string) error {
	p := s.rdb.Pipeline()
	set := p.SetArgs(ctx, s.names.format(), formatNow, redis.SetArgs{Mode: "NX"})
	get, has, now := p.Get(ctx, s.names.format()), s.epochOf(ctx, p, ""), p.Time(ctx)
	_, failed := p.Exec(ctx)
	switch found, err := get.Result(); {
	case err == nil && found == "" && failed != nil: // no connection: then the commands have no errors of their own
		return fmt.Errorf("read the format of what Redis holds: %w", failed)
	case errors.Is(err, redis.Nil) && set.Err() != nil:
		return nil //nolint:nilerr // Redis takes nothing now, and nobody has written there; the next call asks again
	case err != nil:
		return fmt.Errorf("read the format of what Redis holds: %w", err)
	case found != formatNow:
		return &FormatError{Prefix: s.cfg.Prefix, Found: found}
	}
	s.noteTime(now)
	if errors.Is(has.Err(), redis.Nil) {
		err := s.rdb.SetArgs(ctx, s.names.epoch(), epoch, redis.SetArgs{Mode: "NX"}).Err()
		_, refused := errors.AsType[redis.Error](err)
		switch {
		case err == nil, errors.Is(err, redis.Nil): // with Nil another replica was faster
		case refused:
			return nil // Redis takes nothing now; the next call asks again
		default:
			return fmt.Errorf("make an epoch: %w", err)
		}
	}
	s.format.known.Store(true)
	return nil
}

// maxPrefixLength is the greatest length of a prefix, in bytes.
const maxPrefixLength = 32

// checkPrefix reports, as a *[SettingError], why a prefix cannot be one.
func checkPrefix(prefix string) error {
	wrong := func(takes string) error { return &SettingError{Field: "Prefix", Value: prefix, Takes: takes} }
	for i := range len(prefix) {
		c := prefix[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && c != '.' && c != '_' && c != '-' {
			return wrong("letters, digits and . _ - are expected")
		}
	}
	switch {
	case prefix == "" || len(prefix) > maxPrefixLength:
		return wrong(fmt.Sprintf("1 to %d characters are expected", maxPrefixLength))
	case kind.Of(prefix + ":x").ByPattern():
		return wrong("the names of the gateway's own channels would be those of a task's") // they arrive by the pattern
	}
	return nil
}
