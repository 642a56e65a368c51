package pubsub_test

import (
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"

	"sluice/pubsub"
	"sluice/store/storetest"
)

func TestABurstOfFiftyThousandMessagesIsDeliveredWhole(t *testing.T) {
	s := storetest.Real(t)
	roomy := func(c *pubsub.Config) { c.FeedBytes = 64 << 20 } // the viewers take turns
	a, b := start(t, s.Addr, "a", roomy), start(t, s.Addr, "b", roomy)
	va := a.open(t, pubsub.Request{Channels: []string{"orders"}})
	vb := b.open(t, pubsub.Request{Channels: []string{"orders"}})
	const messages, together = 50_000, 1000
	rdb := s.Client(t)
	sent := make(chan error, 1)
	go func() {
		for i := 0; i < messages; i += together {
			if _, err := rdb.Pipelined(t.Context(), func(p redis.Pipeliner) error {
				for j := range together {
					p.Publish(t.Context(), "orders", i+j)
				}
				return nil
			}); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for i := range messages {
		for _, v := range []*viewer{va, vb} {
			if f := v.next(); f.kind != "event" || f.text != strconv.Itoa(i) {
				t.Fatalf("got %+v, want event %d", f, i)
			}
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}
