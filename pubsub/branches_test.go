package pubsub_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/pubsub"
	"sluice/store"
	"sluice/store/storetest"
)

// snapshot returns a function that puts the channel back to what Redis has stored of it now.
func snapshot(t *testing.T, rdb *redis.Client, channel string) (putBack func()) {
	t.Helper()
	ctx := t.Context()
	history, meta := "sluice:history:{"+channel+"}", "sluice:meta:{"+channel+"}"
	events, fields := rdb.LRange(ctx, history, 0, -1).Val(), rdb.HGetAll(ctx, meta).Val()
	return func() {
		t.Helper()
		if _, err := rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.Del(ctx, history, meta)
			p.RPush(ctx, history, events)
			p.HSet(ctx, meta, fields)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitPlace reads until the client is told a place other than before, and returns it.
func (v *viewer) awaitPlace() string {
	v.t.Helper()
	before := v.lastID
	waitFor(v.t, "a new place", func() bool {
		if err := v.take(); err != nil {
			v.t.Fatal(err)
		}
		for line := range strings.Lines(v.rest) {
			v.lastID, _, _ = strings.Cut(line, " ")
		}
		return v.lastID != before
	})
	return v.lastID
}

// A replica that does not hear of it has the lost events in memory, and the client's place is in the middle of them.
func TestAReplicaThatHasNotHeardOfARestoredRedisRepeatsNothing(t *testing.T) {
	s := storetest.Real(t, "--dbfilename", "dump.rdb")
	hole := newProxy(t, s.Addr)
	a, deaf := start(t, s.Addr, "a"), start(t, hole.addr, "deaf")
	v := a.open(t, pubsub.Request{Channels: []string{"orders"}})
	several := a.open(t, pubsub.Request{Channels: []string{"orders", "stock"}})
	w := deaf.open(t, pubsub.Request{Channels: []string{"orders"}})
	for i := range 10 {
		if i == 5 {
			if err := s.Client(t).Save(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		}
		a.append(t, "orders", strconv.Itoa(i))
	}
	for _, v := range []*viewer{v, several, w} {
		v.want(numbers(0, 9)...)
	}
	hole.swallow(true)
	s.Real.Kill()
	s.Real.Start(t) // with 0 to 4
	for _, r := range []pubsub.Request{
		{Channels: []string{"orders"}, LastEventID: v.awaitPlace()},
		{Channels: []string{"orders", "stock"}, LastEventID: several.awaitPlace()},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		r.Encoder = encoder{}
		if stream, err := deaf.Open(ctx, r); err == nil {
			sent, _, _ := stream.Next(&pubsub.Answer{})
			t.Errorf("a client comes back with %s, and gets\n%s", r.LastEventID, sent)
			stream.Close()
		}
	}
	hole.swallow(false)
	waitFor(t, "the replica to be ready", func() bool { return deaf.Ready() == nil })
	for _, old := range []*viewer{v, several} {
		q := pubsub.Request{Channels: []string{"orders"}, LastEventID: old.lastID}
		if old == several {
			q.Channels = append(q.Channels, "stock")
		}
		resumed := deaf.open(t, q)
		resumed.nothingMore(a, "orders")
	}
}

func TestABranchThatComesBackIsAnnouncedAsAReset(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		a, b := start(t, s.Addr, "a"), start(t, s.Addr, "b")
		v := a.open(t, pubsub.Request{Channels: []string{"orders"}})
		several := a.open(t, pubsub.Request{Channels: []string{"orders", "stock"}})
		all := []*viewer{v, several, b.open(t, pubsub.Request{Channels: []string{"orders"}})}
		want := func(texts ...string) {
			t.Helper()
			for _, v := range all {
				v.want(texts...)
			}
		}
		var older func()
		for i := range 10 {
			if i == 5 {
				older = snapshot(t, a.rdb, "orders")
			}
			a.append(t, "orders", strconv.Itoa(i))
		}
		want(numbers(0, 9)...)
		away := v.lastID
		newer := snapshot(t, a.rdb, "orders")
		older()
		for i := 100; i <= 102; i++ {
			a.append(t, "orders", strconv.Itoa(i))
		}
		want(numbers(100, 102)...)
		left := v.lastID
		newer()
		a.append(t, "orders", "200")
		for _, v := range all {
			v.wantGap("orders", store.Reset)
		}
		want(append(numbers(0, 9), "200")...)
		for _, r := range []*replica{a, b, start(t, s.Addr, "c")} {
			// The client of the branch that was left may have had some of what is stored; the one that was away has not.
			w := r.open(t, pubsub.Request{Channels: []string{"orders"}, LastEventID: left})
			w.wantGap("orders", store.Reset)
			w.want(append(numbers(0, 9), "200")...)
			r.open(t, pubsub.Request{Channels: []string{"orders"}, LastEventID: away}).want("200")
		}
		v.nothingMore(a, "orders")
	})
}

// Of a channel that never had an event nothing can be lost.
func TestAnEmptyChannelIsNotResetWhenRedisIsEmptied(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		a := start(t, s.Addr, "a")
		v := a.open(t, pubsub.Request{Channels: []string{"orders"}})
		old := strings.Fields(v.rest)[0] // the place at which the stream begins
		v.rest, v.lastID = "", old
		if err := s.Client(t).FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		id := v.awaitPlace()
		v.nothingMore(a, "orders")
		a.open(t, pubsub.Request{Channels: []string{"orders"}, LastEventID: id}).want(`"sentinel"`)
		a.open(t, pubsub.Request{Channels: []string{"orders"}, LastEventID: old}).wantGap("orders", store.Reset)
	})
}

// The list of a channel is read for a client that wants stored events. What the client got from it counts as delivered.
func TestRedisThatComesBackOlderThanTheFirstReadingIsNoResetForWhoHasSeenWhatIsStored(t *testing.T) {
	s := storetest.Mini(t)
	a := start(t, s.Addr, "a")
	for i := range 3 {
		a.append(t, "orders", strconv.Itoa(i))
	}
	older := snapshot(t, a.rdb, "orders")
	for i := range 3 {
		a.append(t, "orders", strconv.Itoa(3+i))
	}
	b := start(t, s.Addr, "b")
	v := b.open(t, pubsub.Request{Channels: []string{"orders"}, Replay: 4})
	v.want(numbers(2, 5)...)
	older()
	a.append(t, "orders", "100")
	v.want("100")
}

func TestAClientOfTheFirstEditionIsToldThatItsPlaceIsUnknown(t *testing.T) {
	a := start(t, storetest.Mini(t).Addr, "a")
	a.append(t, "orders", "1")
	// An id of several channels as the first edition made it: a hash, a nonce, an offset for each channel.
	v := a.open(t, pubsub.Request{Channels: []string{"orders", "stock"}, LastEventID: "miSvQiMyPRpFldQBzLex9j4ILl43KAGgPxhitcdrbJakB"})
	v.wantGap("orders", store.Unknown)
	v.wantGap("stock", store.Unknown)
	v.want("1")
}
