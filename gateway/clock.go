package gateway

import (
	"sync"
	"time"

	"sluice/gateway/wire"
	"sluice/pubsub"
)

// clock is the feed of the time stream. All its streams share one frame a second.
type clock struct{ feed *pubsub.Feed }

func newClock() *clock { return &clock{feed: pubsub.NewFeed(4 << 10)} }

// connected is what a time stream starts with.
func (c *clock) connected() []byte { return wire.JSON(map[string]string{"message": "Connected!"}) }

// run writes the time every second until stop is called, which waits for the end.
func (c *clock) run() (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case now := <-tick.C:
				c.feed.Write(wire.JSON(struct {
					Time      string `json:"time"`
					Timestamp int64  `json:"timestamp"`
				}{now.UTC().Format(time.RFC3339), now.UnixMilli()}))
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}
