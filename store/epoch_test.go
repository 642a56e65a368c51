package store_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/store"
	"sluice/store/storetest"
)

// tipOf returns a channel's tip as Redis has it.
func tipOf(t *testing.T, s *store.Store, channel string) store.Tip {
	t.Helper()
	tips, errs := s.Tips(t.Context(), []string{channel}, true)
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	return tips[0]
}

func TestWhoOnlyReadsWritesNothing(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, rdb *redis.Client) {
		if err := s.CheckFormat(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			channel := fmt.Sprint("made-up-", i)
			tipOf(t, s, channel)
			if h := history(t, s, channel); h.Tip.Position != tipOf(t, s, channel).Position || len(h.Events) > 0 {
				t.Errorf("history of a channel without events: %+v", h)
			}
		}
		if keys := keysOf(t, rdb); len(keys) > 0 {
			t.Errorf("written for readers: %d keys, such as %s", len(keys), keys[0])
		}
		for _, key := range []string{"sluice:epoch", "sluice:format"} {
			if ttl := rdb.TTL(t.Context(), key).Val(); ttl != -1 {
				t.Errorf("TTL of %s: %v, want none", key, ttl)
			}
		}
	})
}

// The race that this was: a reader found no position, a publisher stored the first event, and the reader's EXPIRE came last.
func TestThePositionOfAnEventIsKeptAWeekWhoeverReadsAtTheSameTime(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, rdb *redis.Client) {
		for i := range 400 {
			channel := fmt.Sprint("c", i)
			var both sync.WaitGroup
			both.Go(func() { s.Tips(t.Context(), []string{channel}, true) })
			both.Go(func() {
				if _, _, err := s.Append(t.Context(), draft(t, channel, `1`), store.AppendOptions{}); err != nil {
					t.Error(err)
				}
			})
			both.Wait()
			if ttl := rdb.TTL(t.Context(), "sluice:meta:{"+channel+"}").Val(); ttl < 7*24*time.Hour {
				t.Fatalf("the position of channel %d is kept for %v", i, ttl)
			}
		}
	})
}

func TestAPlaceBeforeTheFirstEventLeadsToAllEvents(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, _ *redis.Client) {
		empty := tipOf(t, s, "c").Position
		if again := tipOf(t, s, "c").Position; again != empty || empty.Offset != 0 {
			t.Errorf("the place of a channel without events: %v, then %v", empty, again)
		}
		if other := tipOf(t, s, "d").Position; other.Nonce == empty.Nonce {
			t.Error("two channels have the same place")
		}
		appendEvent(t, s, "c", `1`)
		appendEvent(t, s, "c", `2`)
		h := history(t, s, "c")
		place := func(p store.Position) store.Position { return h.Resolve("c", s.Rule("c").MetaTTL, p) }
		if events, gap := h.After(place(empty)); datas(events) != "1 2" || gap != "" {
			t.Errorf("after the place: %s, gap %q", datas(events), gap)
		}
		forged := store.Position{Nonce: store.NewNonce()}
		if _, gap := h.After(place(forged)); gap != store.Reset {
			t.Errorf("after a forged place: gap %q", gap)
		}
		if p := h.Events[0].Position; place(p) != p {
			t.Errorf("the place of an event became another one")
		}
		for i := range config.HistorySize {
			appendEvent(t, s, "c", fmt.Sprint(3+i))
		}
		h = history(t, s, "c")
		if _, gap := h.After(place(empty)); gap != store.Trimmed {
			t.Errorf("after the first events were trimmed: gap %q", gap)
		}
	})
}

func TestAPlaceBeforeTheFirstEventCountsInItsEpochOnly(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, rdb *redis.Client) {
		before := tipOf(t, s, "c")
		if err := rdb.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if _, errs := s.Tips(t.Context(), []string{"c"}, true); !errors.Is(errs[0], store.ErrNoEpoch) || !store.Temporary(errs[0]) {
			t.Errorf("after FLUSHALL: got %v, want ErrNoEpoch", errs[0])
		}
		if h := history(t, s, "c"); h.Base != (store.Nonce{}) {
			t.Errorf("history after FLUSHALL: %+v", h)
		}
		if err := s.RenewEpoch(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		after := tipOf(t, s, "c")
		if after.Base == before.Base || after.Epoch.Same(before.Epoch) {
			t.Error("the epoch is the same after FLUSHALL")
		}
		if p := after.Resolve("c", s.Rule("c").MetaTTL, before.Position); p == after.Position {
			t.Error("a place of the earlier epoch counts")
		}
		if got := rdb.Get(t.Context(), "sluice:format").Val(); got != "2" {
			t.Errorf("the format after FLUSHALL is %q", got)
		}
	})
}

func TestAnEpochThatIsPutBackIsTheSame(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, rdb *redis.Client) {
		before := tipOf(t, s, "c")
		rdb.Del(t.Context(), "sluice:epoch")
		if err := s.RenewEpoch(t.Context(), before.Epoch); err != nil {
			t.Fatal(err)
		}
		if after := tipOf(t, s, "c"); !after.Epoch.Same(before.Epoch) || after.Position != before.Position {
			t.Errorf("%v, then %v", before, after)
		}
		// Whoever comes second keeps what the first one made.
		if err := s.RenewEpoch(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if after := tipOf(t, s, "c"); !after.Epoch.Same(before.Epoch) {
			t.Errorf("%v, then %v", before, after)
		}
	})
}

// Redis forgets a channel's position some days after its newest event. A place from before that would hide that events have
// come and gone.
func TestAPlaceBeforeTheFirstEventCountsForAsLongAsRedisKeepsPositions(t *testing.T) {
	server := storetest.Mini(t)
	rdb := server.Client(t)
	noon := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	on := func(days int) (*store.Store, store.Tip) {
		server.Mini.SetTime(noon.AddDate(0, 0, days))
		s := store.New(rdb, config)
		return s, tipOf(t, s, "c")
	}
	_, told := on(0)
	for days, counts := range map[int]bool{0: true, 1: true, 6: true, 7: false, 8: false, 400: false, -1: true, -2: false} {
		s, tip := on(days)
		keep := s.Rule("c").MetaTTL
		if keep != 7*24*time.Hour+config.HistoryTTL {
			t.Fatalf("positions are kept for %v: this is not the scenario", keep)
		}
		if got := tip.Resolve("c", keep, told.Position) == tip.Position; got != counts {
			t.Errorf("after %d days: counts %v, want %v", days, got, counts)
		}
	}
}

// A client was told that a channel is empty. Then Redis came back with events from before that: they are no news to it.
func TestAPlaceFromAfterTheChannelsBirthIsNotTheOneBeforeIt(t *testing.T) {
	server := storetest.Mini(t)
	noon := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	server.Mini.SetTime(noon)
	s := store.New(server.Client(t), config)
	if _, err := s.Dataset(t.Context()); err != nil {
		t.Fatal(err)
	}
	appendEvent(t, s, "c", `1`)
	keep := s.Rule("c").MetaTTL
	for days, counts := range map[int]bool{0: true, 1: true, 2: false, 5: false} {
		server.Mini.SetTime(noon.AddDate(0, 0, days))
		later := store.New(server.Client(t), config)
		tip := tipOf(t, later, "c")
		if got := tip.Resolve("c", keep, tip.Epoch.Empty("c").Position).Nonce == tip.Base; got != counts {
			t.Errorf("%d days after the first event: counts %v, want %v", days, got, counts)
		}
	}
}

func TestADatasetIsAnotherOneAfterARestart(t *testing.T) {
	server := storetest.Real(t)
	s := store.New(server.Client(t), config)
	if err := s.CheckFormat(t.Context()); err != nil {
		t.Fatal(err)
	}
	dataset := func() store.Dataset {
		d, err := s.Dataset(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	first := dataset()
	if first.Run == "" || first.Replication == "" || first.Epoch == nil || !first.Same(dataset()) {
		t.Errorf("%+v", first)
	}
	server.Real.Kill()
	server.Real.Start(t)
	if d := dataset(); d.Epoch != nil || d.Run == first.Run || d.Same(first) {
		t.Errorf("after a restart without data: %+v", d)
	}
}

func TestWithoutRightToInfoTheEpochIsReadAllTheSame(t *testing.T) {
	server := storetest.Real(t)
	s := store.New(restricted(t, server, server.Client(t), "-info"), config)
	if err := s.CheckFormat(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d, err := s.Dataset(t.Context()); err != nil || d.Epoch == nil || d.Run != "" || d.Replication != "" {
		t.Errorf("%+v, %v", d, err)
	}
}
