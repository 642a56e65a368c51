package writer

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/gateway/wire"
	"sluice/pubsub"
	"sluice/store"
	"sluice/store/kind"
	"sluice/store/storetest"
)

// Streams that are far behind end in every way there is: their clients leave in the middle of a part, the loop drains,
// the loop is closed; and all the time more is published. Each is done with once, and nothing of it stays.
func TestStreamsThatEndWhileTheyCatchUpLeaveNothingBehind(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: storetest.Mini(t).Addr, ContextTimeoutEnabled: true})
	events := store.New(rdb, store.Config{HistorySize: 300, HistoryTTL: time.Hour, MaxBodyBytes: 65536})
	broker := pubsub.NewBroker(rdb, events, pubsub.Config{Replica: "r", FeedBytes: 1 << 20}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		broker.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		rdb.Close()
	})
	publish := func(data string) {
		d, err := kind.DraftJSON("orders", "", []byte(data))
		if err != nil {
			t.Error(err)
		}
		if _, _, err := events.Append(ctx, d, store.AppendOptions{}); err != nil {
			t.Error(err)
		}
	}
	const stored, size = 100, 5000
	filler := `"` + strings.Repeat("x", size) + `"`
	for range stored {
		publish(filler)
	}
	seed := uint64(os.Getpid())
	t.Logf("seed %d", seed)
	for _, how := range []string{"their clients leave", "the loop drains", "the loop is closed"} {
		t.Run(how, func(t *testing.T) {
			l, err := newLoop(testConfig(time.Second))
			if err != nil {
				t.Fatal(err)
			}
			l.start()
			defer l.close()
			const clients, each = 8, 40
			var opened, done atomic.Int64
			var wg sync.WaitGroup
			for i := range clients {
				r := rand.New(rand.NewPCG(seed, uint64(i)))
				wg.Go(func() {
					for n := range each {
						st, err := broker.Open(ctx, pubsub.Request{Channels: []string{"orders"}, Replay: stored, Encoder: wire.Plain{}})
						if err != nil {
							t.Error(err)
							return
						}
						server, client := tcpPair(t)
						fd, err := detach(server)
						server.Close()
						if err != nil {
							t.Error(err)
							return
						}
						opened.Add(1)
						calls := 0
						l.add(fd, nil, true, Stream{Source: st, Feeds: st.Feeds(), Done: func(error) {
							if calls++; calls > 1 {
								t.Error("a stream was done with twice")
							}
							st.Close()
							done.Add(1)
						}})
						if i == 0 && n == each/2 {
							switch how {
							case "the loop drains":
								l.drain(time.Second)
							case "the loop is closed":
								l.close()
							}
						}
						readSome(client, r.Int64N(stored*size)) // at most all there is
						publish(filler)
					}
				})
			}
			wg.Wait()
			l.close()
			if opened.Load() != clients*each || done.Load() != opened.Load() {
				t.Errorf("%d streams were opened, %d done with", opened.Load(), done.Load())
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			if len(l.groups) != 0 || len(l.free) != len(l.slots) {
				t.Errorf("%d groups are left, %d of %d slots are free", len(l.groups), len(l.free), len(l.slots))
			}
			if _, feeds := broker.Counts(); feeds != 0 {
				t.Errorf("%d feeds are left", feeds)
			}
		})
	}
}

// readSome reads up to n bytes, or until the stream ends, and closes the connection.
func readSome(client net.Conn, n int64) {
	_, _ = io.CopyN(io.Discard, client, n)
	_ = client.Close()
}
