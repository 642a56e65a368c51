package pubsub_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/pubsub"
	"sluice/store/kind"
	"sluice/store/storetest"
)

// publishRaw is redis-cli PUBLISH; it waits until somebody has subscribed.
func publishRaw(t testing.TB, rdb *redis.Client, channel, payload string) {
	t.Helper()
	waitFor(t, "a receiver of "+channel, func() bool {
		n, err := rdb.Publish(t.Context(), channel, payload).Result()
		if err != nil {
			t.Fatal(err)
		}
		return n > 0
	})
}

func TestARawPublishIsStoredOnceWithOneIDHoweverManyReplicasRun(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		replicas := []*replica{start(t, s.Addr, "a"), start(t, s.Addr, "b"), start(t, s.Addr, "c")}
		rdb := s.Client(t)
		for _, channel := range []string{"orders", kind.Notifications} {
			var viewers []*viewer
			for _, r := range replicas {
				viewers = append(viewers, r.open(t, pubsub.Request{Channels: []string{channel}}))
			}
			const messages = 60
			for range messages {
				publishRaw(t, rdb, channel, `the same`) // equal payloads are events of their own
			}
			var ids []string
			for i, v := range viewers {
				for j := range messages {
					f := v.next()
					if i == 0 {
						ids = append(ids, f.id)
					} else if f.id != ids[j] {
						t.Fatalf("replica %d has %s where the first has %s", i, f.id, ids[j])
					}
				}
			}
			slices.Sort(ids)
			if len(slices.Compact(ids)) != messages {
				t.Errorf("ids repeat: %v", ids)
			}
			h, err := replicas[0].store.History(t.Context(), channel)
			if err != nil || h.Tip.Position.Offset != messages {
				t.Errorf("channel %s: stored %d events, want %d (%v)", channel, h.Tip.Position.Offset, messages, err)
			}
		}
		// Nobody watches this task, and it is taken in all the same.
		publishRaw(t, rdb, "progress:t1", `{"progress":40}`)
		waitFor(t, "the task", func() bool {
			h, err := replicas[0].store.History(t.Context(), "progress:t1")
			return err == nil && len(h.Events) == 1
		})
	})
}

func TestRawMessagesKeepTheirOrder(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		a := start(t, s.Addr, "a")
		start(t, s.Addr, "b")
		v := a.open(t, pubsub.Request{Channels: []string{"orders"}})
		rdb := s.Client(t)
		publishRaw(t, rdb, "orders", "0")
		for i := 1; i <= 90; i++ {
			if err := rdb.Publish(t.Context(), "orders", i).Err(); err != nil {
				t.Fatal(err)
			}
		}
		v.want(numbers(0, 90)...)
	})
}

func TestAChannelInTheSettingsIsTakenInWhileNobodyWatches(t *testing.T) {
	s := storetest.Mini(t)
	a := start(t, s.Addr, "a", func(c *pubsub.Config) { c.Ingest = []string{"audit"} })
	publishRaw(t, s.Client(t), "audit", "x")
	waitFor(t, "the event", func() bool {
		h, err := a.store.History(t.Context(), "audit")
		return err == nil && len(h.Events) == 1
	})
}

// A message is only in the memory of those who follow its channel until it is stored. While one replica alone follows it,
// that must be for a round trip, also just after it has begun.
func TestTheOnlyFollowerOfAChannelStoresAtOnceThoughOtherReplicasRun(t *testing.T) {
	s := storetest.Real(t)
	a := start(t, s.Addr, "a")
	start(t, s.Addr, "b")
	rdb := s.Client(t)
	for i := range 5 {
		channel := fmt.Sprint("orders", i)
		v := a.open(t, pubsub.Request{Channels: []string{channel}})
		began := time.Now()
		publishRaw(t, rdb, channel, "1")
		v.want("1")
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("stored after %v", took)
		}
	}
}

func TestAReplicaThatStopsStoresWhatItWasCountedAsAReceiverOf(t *testing.T) {
	s := storetest.Real(t)
	a := start(t, s.Addr, "a")
	b := start(t, s.Addr, "b")
	v := a.open(t, pubsub.Request{Channels: []string{"orders"}}) // only a follows it, and for less than a second
	rdb := s.Client(t)
	received := 0
	stopped := make(chan struct{})
	for i := 0; ; i++ {
		n, err := rdb.Publish(t.Context(), "orders", i).Result()
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		received++
		if i == 500 {
			go func() {
				defer close(stopped)
				a.stop()
			}()
		}
	}
	<-stopped
	v.stream.Close()
	h, err := b.store.History(t.Context(), "orders")
	if err != nil || h.Tip.Position.Offset != uint64(received) {
		t.Errorf("stored %d of %d messages that had a receiver (%v)", h.Tip.Position.Offset, received, err)
	}
}
