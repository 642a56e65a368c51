package pubsub_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"sluice/pubsub"
	"sluice/store"
	"sluice/store/kind"
)

// farAway returns a dialer to a Redis for which each round trip takes some (fake) time.
func farAway(m *miniredis.Miniredis, roundTrip time.Duration, wg *sync.WaitGroup) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		timer := time.NewTimer(roundTrip)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		far, err := m.Dial()
		if err != nil {
			return nil, err
		}
		near, middle := net.Pipe()
		for _, way := range [][2]net.Conn{{middle, far}, {far, middle}} {
			wg.Go(func() { late(way[0], way[1], roundTrip/2) })
		}
		return near, nil
	}
}

// late copies from one connection to another, each byte after some time. It closes both when one is closed.
func late(from, to net.Conn, delay time.Duration) {
	type piece struct {
		data []byte
		due  time.Time
	}
	pieces := make(chan piece, 1000)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer to.Close()
		for p := range pieces {
			time.Sleep(time.Until(p.due)) // fake: the time that it takes
			if _, err := to.Write(p.data); err != nil && !errors.Is(err, io.ErrClosedPipe) {
				return
			}
		}
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			break
		}
		pieces <- piece{append([]byte(nil), buf[:n]...), time.Now().Add(delay)}
	}
	close(pieces)
	wg.Wait()
	from.Close()
}

func TestAReplicaWorksThoughARoundTripToRedisTakesTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := miniredis.NewMiniRedis()
		var wg sync.WaitGroup
		rdb := redis.NewClient(&redis.Options{ // with the timeouts of cmd/gateway
			Dialer: farAway(m, 2*time.Second, &wg), ContextTimeoutEnabled: true, DialerRetries: 1, MaxRetries: -1,
			DialTimeout: 5 * time.Second, ReadTimeout: 4 * time.Second, WriteTimeout: 4 * time.Second, PipelinePoolSize: -1,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		})
		s := store.New(rdb, store.Config{HistorySize: 100, HistoryTTL: time.Hour, MaxBodyBytes: 4096})
		b := pubsub.NewBroker(rdb, s, pubsub.Config{Replica: "a", FeedBytes: 1 << 20}, slog.New(slog.NewTextHandler(t.Output(), nil)))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			b.Run(ctx)
		}()
		began := time.Now()
		for b.Ready() != nil && time.Since(began) < 2*time.Minute {
			time.Sleep(100 * time.Millisecond) // fake
		}
		if err := b.Ready(); err != nil {
			t.Errorf("after %v not ready: %v", time.Since(began), err)
		}
		t.Logf("ready after %v", time.Since(began))
		d, err := kind.DraftJSON(kind.Notifications, "", []byte(`{"type":"info","title":"t","message":"m"}`))
		if err != nil {
			t.Fatal(err)
		}
		st, err := b.Open(ctx, pubsub.Request{Channels: []string{kind.Notifications}, Encoder: encoder{}})
		if err != nil {
			t.Fatal(err)
		}
		v := &viewer{t: t, stream: st}
		if _, _, err := s.Append(ctx, d, store.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
		if f := v.next(); f.kind != "event" {
			t.Errorf("got %+v, want the event", f)
		}
		for range 60 { // it stays ready
			time.Sleep(time.Second) // fake
			if err := b.Ready(); err != nil {
				t.Fatalf("not ready any more: %v", err)
			}
		}
		st.Close()
		cancel()
		<-ended
		s.Close()
		_ = rdb.Close()
		m.Close()
		wg.Wait()
	})
}
