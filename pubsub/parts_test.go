package pubsub_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"sluice/pubsub"
	"sluice/store"
	"sluice/store/storetest"
)

// wide is an event's data of some size with a number in it.
func wide(n int) string { return fmt.Sprintf(`"%d %s"`, n, strings.Repeat("x", 3000)) }

// numbered takes the number out of wide data.
func numbered(t *testing.T, text string) int {
	t.Helper()
	number, _, _ := strings.Cut(strings.TrimPrefix(text, `"`), " ")
	n, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAStreamFarBehindGetsAllOfItInPartsWhilePublishingGoesOn(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		publisher, reader := start(t, s.Addr, "publisher"), start(t, s.Addr, "reader")
		const stored, later = 60, 35 // fewer than are kept
		channels := []string{"orders", "stock"}
		from := publisher.open(t, pubsub.Request{Channels: channels})
		id := strings.Fields(from.rest)[1]
		for i := range stored {
			for _, c := range channels {
				publisher.append(t, c, wide(i))
			}
		}
		v := reader.open(t, pubsub.Request{Channels: channels, Resume: true, LastEventID: id})
		if !v.stream.More || len(v.rest) < 64<<10 || len(v.rest) > 64<<10+4096 {
			t.Fatalf("the stream starts with %d bytes, more: %v", len(v.rest), v.stream.More)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := range later {
				for _, c := range channels {
					publisher.append(t, c, wide(stored+i))
				}
			}
		})
		defer wg.Wait()
		next := map[string]int{}
		for range len(channels) * (stored + later) {
			f := v.next()
			if n := numbered(t, f.text); f.kind != "event" || n != next[f.channel] {
				t.Fatalf("got %s %d of %s, want event %d", f.kind, n, f.channel, next[f.channel])
			}
			next[f.channel]++
		}
		if v.parts < 5 {
			t.Errorf("the stream came in %d parts", v.parts)
		}
		v.nothingMore(publisher, "stock")
	})
}

func TestWhatIsTrimmedBetweenTwoPartsIsAGap(t *testing.T) {
	a := start(t, storetest.Mini(t).Addr, "a")
	for i := range 100 {
		a.append(t, "orders", wide(i))
	}
	v := a.open(t, pubsub.Request{Channels: []string{"orders"}, Replay: 100})
	var last int
	for strings.Contains(v.rest, "\n") { // the first part
		if line, rest, _ := strings.Cut(v.rest, "\n"); strings.HasPrefix(line, "event") {
			last = numbered(t, strings.SplitN(line, " ", 4)[3])
			v.rest = rest
		} else {
			v.rest = rest
		}
	}
	if !v.stream.More || last > 30 {
		t.Fatalf("the first part goes to event %d, more: %v", last, v.stream.More)
	}
	for i := range 60 { // 100 are kept: 60 to 159
		a.append(t, "orders", wide(100+i))
	}
	waitFor(t, "the replica to have seen them", func() bool { return a.Stats().Announced.Load() >= 60 })
	v.wantGap("orders", store.Trimmed)
	for i := 60; i < 160; i++ {
		if n := numbered(t, v.next().text); n != i {
			t.Fatalf("got event %d, want %d", n, i)
		}
	}
	v.nothingMore(a, "orders")
}

func TestANewBranchBetweenTwoPartsIsFollowedFromTheLastCommonEvent(t *testing.T) {
	server := storetest.Mini(t)
	a := start(t, server.Addr, "a")
	a.open(t, pubsub.Request{Channels: []string{"orders"}}) // so that the replica hears of all of them
	for i := range 30 {
		a.append(t, "orders", wide(i))
	}
	snapshot := a.rdb.LRange(t.Context(), "sluice:{orders}:history", 0, -1).Val()
	meta := a.rdb.HGetAll(t.Context(), "sluice:{orders}:meta").Val()
	for i := 30; i < 60; i++ {
		a.append(t, "orders", wide(i))
	}
	v := a.open(t, pubsub.Request{Channels: []string{"orders"}, Replay: 60})
	for i := 0; ; i++ {
		if i == 32 { // the client has had some of what Redis now loses, and has some more of it in its hands
			ctx := t.Context()
			pipe := a.rdb.TxPipeline()
			pipe.Del(ctx, "sluice:{orders}:history", "sluice:{orders}:meta")
			pipe.RPush(ctx, "sluice:{orders}:history", snapshot)
			pipe.HSet(ctx, "sluice:{orders}:meta", meta)
			if _, err := pipe.Exec(ctx); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the replica to have noticed", func() bool { return a.Stats().Repairs.Load() > 0 })
			for j := range 5 {
				a.append(t, "orders", wide(1000+j))
			}
		}
		n := numbered(t, v.next().text)
		if n >= 1000 {
			if n != 1000 || i <= 32 || i == 60 {
				t.Fatalf("event %d came after %d others", n, i)
			}
			break
		}
		if n != i {
			t.Fatalf("got event %d, want %d", n, i)
		}
	}
	for j := 1; j < 5; j++ {
		if n := numbered(t, v.next().text); n != 1000+j {
			t.Fatalf("got event %d, want %d", n, 1000+j)
		}
	}
	v.nothingMore(a, "orders")
}
