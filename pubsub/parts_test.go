package pubsub_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"sluice/pubsub"
	"sluice/store"
	"sluice/store/kind"
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
		id := strings.Fields(from.rest)[0]
		for i := range stored {
			for _, c := range channels {
				publisher.append(t, c, wide(i))
			}
		}
		v := reader.open(t, pubsub.Request{Channels: channels, LastEventID: id})
		if !v.behind() || len(v.rest) < 32<<10 || len(v.rest) > 32<<10+4096 {
			t.Fatalf("the stream starts with %d bytes, more: %v", len(v.rest), v.behind())
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
		if line, rest, _ := strings.Cut(v.rest, "\n"); strings.Contains(line, " event ") {
			last = numbered(t, strings.SplitN(line, " ", 4)[3])
			v.rest = rest
		} else {
			v.rest = rest
		}
	}
	if !v.behind() || last > 30 {
		t.Fatalf("the first part goes to event %d, more: %v", last, v.behind())
	}
	for i := range 60 { // 100 are kept: 60 to 159
		a.append(t, "orders", wide(100+i))
	}
	waitFor(t, "the replica to have heard of them", func() bool { return a.metric(t, "sluice_announcements_total") >= 60 })
	v.wantGap("orders", store.Trimmed)
	first := numbered(t, v.next().text)
	if first <= last+1 || first > 60 { // the replica may have heard of the last few, and not have looked at them
		t.Fatalf("after event %d and the gap comes event %d", last, first)
	}
	for i := first + 1; i < 160; i++ {
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
	snapshot := a.rdb.LRange(t.Context(), "sluice:history:{orders}", 0, -1).Val()
	meta := a.rdb.HGetAll(t.Context(), "sluice:meta:{orders}").Val()
	for i := 30; i < 60; i++ {
		a.append(t, "orders", wide(i))
	}
	v := a.open(t, pubsub.Request{Channels: []string{"orders"}, Replay: 60})
	for i := 0; ; i++ {
		if i == 32 { // the client has had some of what Redis now loses, and has some more of it in its hands
			ctx := t.Context()
			pipe := a.rdb.TxPipeline()
			pipe.Del(ctx, "sluice:history:{orders}", "sluice:meta:{orders}")
			pipe.RPush(ctx, "sluice:history:{orders}", snapshot)
			pipe.HSet(ctx, "sluice:meta:{orders}", meta)
			if _, err := pipe.Exec(ctx); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the replica to have noticed", func() bool { return a.metric(t, "sluice_repairs_total") > 0 })
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

// Of several gap notices only the last one may move the client on: it would miss the others if its connection broke
// between two of them.
func TestAClientCutBetweenTwoGapNoticesIsToldOfBoth(t *testing.T) {
	a := start(t, storetest.Mini(t).Addr, "a")
	channels := []string{"bills", "orders"}
	id := strings.Fields(a.open(t, pubsub.Request{Channels: channels}).rest)[0]
	for i := range 150 { // 100 are kept
		for _, c := range channels {
			a.append(t, c, strconv.Itoa(i))
		}
	}
	v := a.open(t, pubsub.Request{Channels: channels, LastEventID: id})
	v.lastID = id
	v.wantGap("bills", store.Trimmed)
	v = a.open(t, pubsub.Request{Channels: channels, LastEventID: v.lastID})
	v.wantGap("bills", store.Trimmed)
	v.wantGap("orders", store.Trimmed)
	next := map[string]int{}
	for next["bills"] < 150 || next["orders"] < 150 {
		f := v.next()
		n, err := strconv.Atoi(f.text)
		want, begun := next[f.channel]
		if err != nil || begun && n != want || n > 50 && !begun {
			t.Fatalf("got event %s of %s, want %d", f.text, f.channel, want)
		}
		next[f.channel] = n + 1
	}
}

func TestAClientWhoseFilterPassedNothingResumesFromWhereItWasLed(t *testing.T) {
	a := start(t, storetest.Mini(t).Addr, "a")
	id := strings.Fields(a.open(t, pubsub.Request{Channels: []string{"orders"}}).rest)[0]
	for i := range 100 { // all are kept
		a.append(t, "orders", strconv.Itoa(i))
	}
	q := pubsub.Request{Channels: []string{"orders"}, Types: []string{"rare"}, LastEventID: id}
	v := a.open(t, q)
	for line := range strings.Lines(v.rest) {
		q.LastEventID = strings.Fields(line)[0]
	}
	for i := range 20 { // the first of the others are gone
		a.append(t, "orders", strconv.Itoa(i))
	}
	if again := a.open(t, q); strings.HasPrefix(again.rest, "gap") {
		t.Errorf("a client that has missed nothing is told of a gap: %s", again.rest)
	}
}

// A client reads, loses its connection, and stays away at random, while more is published than is kept, on several
// channels, with and without a filter. It gets every event once and in order, or is told of a gap before.
func TestAClientInPartsMissesNothingWithoutBeingTold(t *testing.T) {
	a := start(t, storetest.Mini(t).Addr, "a")
	for seed := range uint64(6) {
		seed += uint64(os.Getpid()) * 100
		r := rand.New(rand.NewPCG(seed, 0))
		channels := []string{"a", "b", "c"}[:1+seed%3]
		for i := range channels {
			channels[i] += strconv.FormatUint(seed, 10)
		}
		slices.Sort(channels)
		var types []string
		if seed%2 == 1 {
			types = []string{"even"}
		}
		wanted := func(n int) bool { return n%2 == 0 || types == nil }
		published, next := map[string]int{}, map[string]int{}
		total := func() (n int) {
			for _, p := range published {
				n += p
			}
			return n
		}
		publish := func(events int) {
			for range events {
				c := channels[r.IntN(len(channels))]
				n := published[c]
				published[c]++
				parity := []string{"even", "odd"}[n%2]
				d, err := kind.DraftJSON(c, parity, fmt.Appendf(nil, `"%d %s"`, n, strings.Repeat("x", r.IntN(3500))))
				if err != nil {
					t.Fatal(err)
				}
				if _, _, err := a.store.Append(t.Context(), d, store.AppendOptions{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		v := a.open(t, pubsub.Request{Channels: channels, Types: types})
		v.lastID = strings.Fields(v.rest)[0]
		const steps = 20
		gaps, cuts := 0, 0
		told := map[string]bool{}
		behind := func() bool {
			return slices.ContainsFunc(channels, func(c string) bool {
				last := published[c] - 1
				for last >= 0 && !wanted(last) {
					last--
				}
				return next[c] <= last
			})
		}
		for step := 0; step < steps || behind(); step++ {
			if step < steps {
				publish(r.IntN(60)) // less than is read, so that the stream is never too slow
			}
			if step < steps && r.IntN(4) == 0 {
				cuts++
				id := v.lastID
				v.stream.Close()
				publish(r.IntN(200))
				v = a.open(t, pubsub.Request{Channels: channels, Types: types, LastEventID: id})
				v.lastID = id
			}
			for range r.IntN(100) {
				if !behind() {
					break
				}
				f := v.next()
				if f.kind == "gap" {
					gaps++
					told[f.channel] = true
					continue
				}
				n, want := numbered(t, f.text), next[f.channel]
				for !wanted(want) {
					want++
				}
				if n != want && (!told[f.channel] || n < want) {
					t.Fatalf("seed %d: got event %d of %s, want %d", seed, n, f.channel, want)
				}
				told[f.channel] = false
				next[f.channel] = n + 1
			}
		}
		v.stream.Close()
		t.Logf("seed %d: %d channels, types %v, %d events, %d cuts, %d gaps, %d parts", seed, len(channels), types, total(), cuts, gaps, v.parts)
	}
}
