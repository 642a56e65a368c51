package demo

import (
	"sync"
	"time"

	"sluice/gateway/wire"
	"sluice/pubsub"
)

// Clock tells the time to all its streams, which share one frame a second. It is safe for concurrent use.
type Clock struct{ feed *pubsub.Feed }

// NewClock returns a clock. Run starts it.
func NewClock() *Clock { return &Clock{feed: pubsub.NewFeed(4 << 10)} }

// Stream returns a stream of the time. It begins with {"message":"Connected!"}.
func (c *Clock) Stream() *pubsub.Stream {
	return pubsub.NewStream(c.feed, wire.JSON(map[string]string{"message": "Connected!"}))
}

// Run starts a goroutine that writes {"time","timestamp"} every second: RFC 3339, and milliseconds since 1970. The
// function stop ends the goroutine and waits for its end.
func (c *Clock) Run() (stop func()) {
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
