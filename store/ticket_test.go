package store_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/store"
	"sluice/store/storetest"
)

func TestATicketIsOneStreamsTheNewest(t *testing.T) {
	storetest.Each(t, func(t *testing.T, server *storetest.Server) {
		s, rdb, ctx := store.New(server.Client(t), config), server.Client(t), t.Context()
		if _, err := s.TicketOf(ctx, "T"); !errors.Is(err, store.ErrNoTicket) {
			t.Errorf("a ticket that was not made: %v", err)
		}
		if err := s.UseTicket(ctx, "T", "p", "one"); !errors.Is(err, store.ErrNoTicket) {
			t.Errorf("a ticket that was not made is used: %v", err)
		}
		if err := s.MakeTicket(ctx, "T", []byte("ada")); err != nil {
			t.Fatal(err)
		}
		if err := s.KeepTicket(ctx, "T", "one"); !errors.Is(err, store.ErrOtherTicket) {
			t.Errorf("a ticket that nobody uses is kept: %v", err)
		}
		for _, holder := range []string{"one", "two", "three"} {
			if who, err := s.TicketOf(ctx, "T"); err != nil || string(who) != "ada" {
				t.Errorf("made by %q, %v", who, err)
			}
			if err := s.UseTicket(ctx, "T", "p", holder); err != nil {
				t.Errorf("%s uses it: %v", holder, err)
			}
		}
		if err := s.UseTicket(ctx, "T", "q", "four"); !errors.Is(err, store.ErrOtherTicket) {
			t.Errorf("used with other parameters: %v", err)
		}
		if err := s.KeepTicket(ctx, "T", "two"); !errors.Is(err, store.ErrOtherTicket) {
			t.Errorf("an older stream keeps it: %v", err)
		}
		if err := s.KeepTicket(ctx, "T", "three"); err != nil {
			t.Errorf("the newest stream keeps it: %v", err)
		}
		lost, last, err := s.TakenTickets(ctx, 0)
		if err != nil || !slices.Equal(lost, []string{"one", "two"}) {
			t.Errorf("%v have lost it, %v", lost, err)
		}
		if lost, again, err := s.TakenTickets(ctx, last); err != nil || len(lost) > 0 || again != last {
			t.Errorf("then %v, %d, %v", lost, again, err)
		}
		for _, key := range rdb.Keys(ctx, "*").Val() {
			ttl := rdb.TTL(ctx, key).Val()
			if key != "sluice:format" && key != "sluice:epoch" && (ttl <= 0 || ttl > 75*time.Second) || strings.HasSuffix(key, "T") {
				t.Errorf("%s lives for %v", key, ttl)
			}
		}
	})
}
