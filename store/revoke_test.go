package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/store"
	"sluice/store/storetest"
)

func TestEachRevocationIsReadOnceInItsOrder(t *testing.T) {
	storetest.Each(t, func(t *testing.T, server *storetest.Server) {
		s := store.New(server.Client(t), config)
		if list, err := s.Revocations(t.Context(), 0); err != nil || len(list) != 0 {
			t.Errorf("at first: %v, %v", list, err)
		}
		var made []store.Revocation
		for _, r := range []store.Revocation{{Subject: "ada"}, {TokenID: "ada"}, {Subject: "s"}, {Subject: "ada"}} {
			r, err := s.Revoke(t.Context(), r, time.Hour)
			if err != nil || time.Since(time.UnixMicro(r.At)).Abs() > time.Minute {
				t.Fatalf("%+v, %v", r, err)
			}
			made = append(made, r)
		}
		want := made[1:] // the fourth replaces the first
		for after, want := range map[int64][]store.Revocation{0: want, want[0].At: want[1:], want[2].At: nil} {
			if list, err := s.Revocations(t.Context(), after); err != nil || fmt.Sprint(list) != fmt.Sprint(want) {
				t.Errorf("after %d: %v, %v; want %v", after, list, err, want)
			}
		}
		// A clock that was set back does not hide a revocation.
		rdb := server.Client(t)
		future := time.Now().Add(time.Hour).UnixMicro()
		if err := rdb.ZAdd(t.Context(), "sluice:revoked", redis.Z{Score: float64(future), Member: "sx"}).Err(); err != nil {
			t.Fatal(err)
		}
		if r, err := s.Revoke(t.Context(), store.Revocation{Subject: "bob"}, time.Hour); err != nil || r.At != future+1 {
			t.Errorf("after the clock was set back: %+v, %v", r, err)
		}
		if ttl := rdb.TTL(t.Context(), "sluice:revoked").Val(); ttl <= 0 || ttl > time.Hour {
			t.Errorf("the key lives for %v", ttl)
		}
	})
}

func TestRevocationsAreBounded(t *testing.T) {
	server := storetest.Mini(t)
	s, rdb := store.New(server.Client(t), config), server.Client(t)
	now := float64(time.Now().UnixMicro())
	entries := make([]redis.Z, 100_000)
	for i := range entries {
		entries[i] = redis.Z{Score: now + float64(i), Member: fmt.Sprintf("su%d", i)}
	}
	if err := rdb.ZAdd(t.Context(), "sluice:revoked", entries...).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Revoke(t.Context(), store.Revocation{Subject: "one more"}, time.Hour); !errors.Is(err, store.ErrManyRevocations) {
		t.Errorf("one more: %v", err)
	}
	if _, err := s.Revoke(t.Context(), store.Revocation{Subject: "u7"}, time.Hour); err != nil {
		t.Errorf("one of them again: %v", err)
	}
	if list, err := s.Revocations(t.Context(), 0); err != nil || len(list) != 100_000 || list[99_999].Subject != "u7" {
		t.Errorf("%d are read, %v", len(list), err)
	}
}
