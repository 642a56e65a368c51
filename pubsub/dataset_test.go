package pubsub_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/pubsub"
	"sluice/store"
	"sluice/store/storetest"
)

// rare keeps channels from being compared in rounds during a test.
func rare(c *pubsub.Config) { c.CheckEvery = time.Hour }

// keysBesides returns all keys but the two that every gateway makes.
func keysBesides(t *testing.T, rdb *redis.Client) (keys []string) {
	t.Helper()
	for _, key := range rdb.Keys(t.Context(), "*").Val() {
		if key != "sluice:format" && key != "sluice:epoch" {
			keys = append(keys, key)
		}
	}
	return keys
}

func TestStreamsOfMadeUpNamesWriteNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		a := start(t, s.Addr, "a")
		for i := range 20 {
			var names []string
			for j := range 50 {
				names = append(names, fmt.Sprintf("made-up-%d-%d", i, j))
			}
			v := a.open(t, pubsub.Request{Channels: names, Replay: 10})
			again := a.open(t, pubsub.Request{Channels: names, LastEventID: v.place()})
			if again.rest != "" && !strings.Contains(again.rest, " at ") {
				t.Fatalf("a client that comes back is told %q", again.rest)
			}
		}
		if keys := keysBesides(t, a.rdb); len(keys) > 0 {
			t.Errorf("written for readers: %d keys, such as %s", len(keys), keys[0])
		}
	})
}

// place reads what is there, and returns the last event id.
func (v *viewer) place() string {
	for line := range strings.Lines(v.rest) {
		if id, _, ok := strings.Cut(line, " "); ok && id != "gap" {
			v.lastID = id
		}
	}
	return v.lastID
}

// told waits until the client was told another place than before, and fails if it is told anything else.
func (v *viewer) told(before string) (place string) {
	v.t.Helper()
	waitFor(v.t, "another place", func() bool {
		if err := v.take(); err != nil {
			v.t.Fatal(err)
		}
		return v.place() != before
	})
	for line := range strings.Lines(v.rest) {
		if !strings.Contains(line, " at ") {
			v.t.Fatalf("told %q", line)
		}
	}
	return v.lastID
}

func TestAfterFlushAllConnectedClientsOfAnEmptyChannelAreToldTheirPlace(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		a, b := start(t, s.Addr, "a", rare), start(t, s.Addr, "b", rare)
		one := a.open(t, pubsub.Request{Channels: []string{"empty"}})
		several := b.open(t, pubsub.Request{Channels: []string{"empty", "other"}})
		first, both := one.place(), several.place()
		if err := a.rdb.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		second, now := one.told(first), several.told(both)
		// Of a client that was away nobody knows what it has missed.
		away := b.open(t, pubsub.Request{Channels: []string{"empty"}, LastEventID: first})
		away.wantGap("empty", store.Reset)
		back := b.open(t, pubsub.Request{Channels: []string{"empty"}, LastEventID: second})
		backToo := a.open(t, pubsub.Request{Channels: []string{"empty", "other"}, LastEventID: now})
		a.append(t, "empty", `1`)
		for _, v := range []*viewer{one, several, away, back, backToo} {
			v.want(`1`)
		}
		if keys := a.rdb.Exists(t.Context(), "sluice:format", "sluice:epoch").Val(); keys != 2 {
			t.Errorf("%d of the keys format and epoch came back", keys)
		}
	})
}

func TestAnEpochThatIsDeletedAloneIsPutBack(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		a, b := start(t, s.Addr, "a"), start(t, s.Addr, "b", rare)
		orders := a.open(t, pubsub.Request{Channels: []string{"orders"}})
		empty := a.open(t, pubsub.Request{Channels: []string{"empty"}})
		a.append(t, "orders", `1`)
		orders.want(`1`)
		epoch := a.rdb.Get(t.Context(), "sluice:epoch").Val()
		for range 3 {
			looks := a.Looks()
			waitFor(t, "the replica to have seen the epoch", func() bool { return a.Looks() > looks+1 })
			a.rdb.Del(t.Context(), "sluice:epoch")
			waitFor(t, "an epoch", func() bool { return a.rdb.Exists(t.Context(), "sluice:epoch").Val() == 1 })
		}
		if got := a.rdb.Get(t.Context(), "sluice:epoch").Val(); got != epoch {
			t.Errorf("the epoch is %q, and was %q", got, epoch)
		}
		for _, r := range []*replica{a, b} {
			v := r.open(t, pubsub.Request{Channels: []string{"empty"}, LastEventID: empty.place()})
			v.nothingMore(r, "empty")
			empty.want(`"sentinel"`)
			empty = v
		}
		orders.nothingMore(a, "orders")
	})
}

// A copy of another dataset is as good as none: it may have other events, where the replica has seen none.
func TestADatasetOfAnotherEpochIsComparedWithAllChannels(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		a := start(t, s.Addr, "a", rare)
		orders := a.open(t, pubsub.Request{Channels: []string{"orders"}})
		empty := a.open(t, pubsub.Request{Channels: []string{"empty"}})
		a.append(t, "orders", `1`)
		orders.want(`1`)
		before := empty.place()

		other := storetest.Mini(t) // where another gateway has stored events
		far := start(t, other.Addr, "far")
		far.append(t, "orders", `2`)
		far.append(t, "empty", `3`)
		pipe := a.rdb.TxPipeline()
		pipe.FlushAll(t.Context())
		for _, key := range far.rdb.Keys(t.Context(), "*").Val() {
			switch far.rdb.Type(t.Context(), key).Val() {
			case "string":
				pipe.Set(t.Context(), key, far.rdb.Get(t.Context(), key).Val(), 0)
			case "hash":
				pipe.HSet(t.Context(), key, far.rdb.HGetAll(t.Context(), key).Val())
			case "list":
				pipe.RPush(t.Context(), key, far.rdb.LRange(t.Context(), key, 0, -1).Val())
			}
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		orders.wantGap("orders", store.Reset)
		orders.want(`2`)
		empty.want(`3`)
		away := a.open(t, pubsub.Request{Channels: []string{"empty"}, LastEventID: before})
		away.wantGap("empty", store.Reset)
		away.want(`3`)
	})
}
