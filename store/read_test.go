package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/store"
	"sluice/store/kind"
	"sluice/store/storetest"
)

// readers read a channel's events in all ways, and the whole history by one LRANGE.
type readers struct {
	t       *testing.T
	s       *store.Store
	rdb     *redis.Client
	channel string
}

// whole returns what is stored, as far as it leads to the newest event.
func (r readers) whole() store.History {
	h, err := r.s.Newest(r.t.Context(), r.channel, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	tips, errs := r.s.Tips(r.t.Context(), []string{r.channel}, false)
	if errs[0] != nil {
		r.t.Fatal(errs[0])
	}
	h.Tip = tips[0]
	next := h.Tip.Position
	for _, text := range r.rdb.LRange(r.t.Context(), "sluice:history:{"+r.channel+"}", 0, -1).Val() {
		a, err := store.ParseAnnouncement(r.channel, []byte(text))
		if err != nil {
			continue // another program's
		}
		if a.Events[0].Position != next {
			break
		}
		h.Events = append([]store.Event{a.Events[0]}, h.Events...)
		next = store.Position{Offset: next.Offset - 1, Nonce: a.Events[0].Prev}
	}
	return h
}

// check compares all ways of reading with what is stored.
func (r readers) check(what string, p store.Position, n int) {
	r.t.Helper()
	h := r.whole()
	newest, err := r.s.Newest(r.t.Context(), r.channel, n)
	if want := h.Last(n); err != nil || datas(newest.Events) != datas(want) {
		r.t.Errorf("%s: the newest %d: %.60s, %v, want %.60s", what, n, datas(newest.Events), err, datas(want))
	}
	events, gap := h.After(h.Resolve(r.channel, r.s.Rule(r.channel).MetaTTL, p))
	page, err := r.s.After(r.t.Context(), r.channel, p, n)
	if want := events[:min(n, len(events))]; err != nil || page.Gap != gap || datas(page.Events) != datas(want) || page.Tip.Position != h.Tip.Position {
		r.t.Errorf("%s: %d after %v: gap %q, %.60s, %v, want gap %q, %.60s", what, n, p, page.Gap, datas(page.Events), err, gap, datas(want))
	}
	page, err = r.s.Oldest(r.t.Context(), r.channel, n)
	if want := h.Events[:min(n, len(h.Events))]; err != nil || page.Gap != store.Unknown || datas(page.Events) != datas(want) {
		r.t.Errorf("%s: the oldest %d: %.60s, %v, want %.60s", what, n, datas(page.Events), err, datas(want))
	}
}

func TestAPartOfAHistoryIsTheSameAsInTheWholeOfIt(t *testing.T) {
	each(t, func(t *testing.T, _ *store.Store, rdb *redis.Client) {
		s := store.New(rdb, store.Config{HistorySize: 6, HistoryTTL: time.Hour})
		for name, damage := range map[string]func(key string, rng *rand.Rand){
			"nothing is wrong": func(string, *rand.Rand) {},
			"another program pushes something": func(key string, _ *rand.Rand) {
				rdb.LPush(t.Context(), key, "rubbish")
			},
			"somebody removes an event": func(key string, rng *rand.Rand) {
				if list := rdb.LRange(t.Context(), key, 0, -1).Val(); len(list) > 0 {
					rdb.LRem(t.Context(), key, 1, list[rng.IntN(len(list))])
				}
			},
		} {
			t.Run(name, func(t *testing.T) { readParts(t, readers{t, s, rdb, strings.ReplaceAll(name, " ", "-")}, damage) })
		}
	})
}

// readParts reads parts of a channel to which something happens.
func readParts(t *testing.T, r readers, damage func(key string, rng *rand.Rand)) {
	key, rng := "sluice:history:{"+r.channel+"}", rand.New(rand.NewPCG(1, 1))
	ever := []store.Position{
		tipOf(t, r.s, r.channel).Position, {Offset: 3, Nonce: store.NewNonce()}, {Offset: 99, Nonce: store.NewNonce()}, {Nonce: store.NewNonce()},
	}
	for step := range 100 {
		switch rng.IntN(8) {
		case 0:
			damage(key, rng)
		case 1:
			r.rdb.LTrim(t.Context(), key, 0, int64(rng.IntN(6)))
		case 2:
			if rng.IntN(4) == 0 {
				r.rdb.Del(t.Context(), key) // it has expired
			}
		default:
			ever = append(ever, appendEvent(t, r.s, r.channel, fmt.Sprint(step)).Position)
		}
		for range 4 {
			p := ever[rng.IntN(len(ever))]
			if rng.IntN(2) == 0 {
				p = ever[max(0, len(ever)-1-rng.IntN(8))]
			}
			r.check(fmt.Sprintf("step %d", step), p, 1+rng.IntN(8))
			if t.Failed() {
				return
			}
		}
	}
}

func TestAHistoryOfManyPagesIsReadWhole(t *testing.T) {
	each(t, func(t *testing.T, _ *store.Store, rdb *redis.Client) {
		s := store.New(rdb, store.Config{HistorySize: 700, HistoryTTL: time.Hour})
		r := readers{t, s, rdb, "c"}
		var ever []store.Position
		for i := range 900 {
			ever = append(ever, appendEvent(t, s, "c", fmt.Sprint(i)).Position)
		}
		for _, n := range []int{1, 256, 257, 700, 1000} {
			for _, i := range []int{0, 199, 200, 450, 643, 644, 899} {
				r.check("", ever[i], n)
			}
		}
	})
}

// sent returns how many bytes Redis has sent.
func sent(t testing.TB, rdb *redis.Client) int64 {
	t.Helper()
	for line := range strings.Lines(rdb.Info(t.Context(), "stats").Val()) {
		var n int64
		if _, err := fmt.Sscanf(line, "total_net_output_bytes:%d", &n); err == nil {
			return n
		}
	}
	t.Fatal("INFO does not tell what was sent")
	return 0
}

func TestReadingOneEventOfManyCostsOneEvent(t *testing.T) {
	rdb := storetest.Real(t).Client(t)
	s := store.New(rdb, store.Config{HistorySize: 3000, HistoryTTL: time.Hour})
	var middle store.Position
	for i := range 3000 {
		e := appendEvent(t, s, "c", fmt.Sprintf(`"%d %s"`, i, strings.Repeat("x", 200)))
		if i == 1500 {
			middle = e.Position
		}
	}
	for name, read := range map[string]func() (int, error){
		"the newest":            func() (int, error) { h, err := s.Newest(t.Context(), "c", 1); return len(h.Events), err },
		"the one after a place": func() (int, error) { p, err := s.After(t.Context(), "c", middle, 1); return len(p.Events), err },
		"the one after a place that is not known": func() (int, error) {
			p, err := s.After(t.Context(), "c", store.Position{Offset: 7, Nonce: store.NewNonce()}, 1)
			return len(p.Events), err
		},
		"the oldest": func() (int, error) { p, err := s.Oldest(t.Context(), "c", 1); return len(p.Events), err },
	} {
		if _, err := read(); err != nil { // Redis learns the script
			t.Fatal(err)
		}
		overhead := sent(t, rdb)
		overhead = sent(t, rdb) - overhead
		before := sent(t, rdb)
		n, err := read()
		if bytes := sent(t, rdb) - before - overhead; n != 1 || err != nil || bytes > 2000 {
			t.Errorf("%s: %d events (%v) for %d bytes", name, n, err, bytes)
		}
	}
}

func TestAHistoryIsReadWithoutAHoleWhileEventsAreStored(t *testing.T) {
	rdb := storetest.Real(t).Client(t)
	const kept = 700
	s := store.New(rdb, store.Config{HistorySize: kept, HistoryTTL: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	var publishers sync.WaitGroup
	defer publishers.Wait()
	defer cancel()
	for range 8 {
		publishers.Go(func() {
			for ctx.Err() == nil {
				_, _, _ = s.Append(ctx, kind.Draft{Channel: "c", Data: []byte(`1`)}, store.AppendOptions{})
			}
		})
	}
	for last := uint64(0); last < 5*kept; {
		h := history(t, s, "c")
		if last = h.Tip.Position.Offset; last < kept {
			continue
		}
		next := h.Tip.Position
		for _, e := range slices.Backward(h.Events) {
			if e.Position != next {
				t.Fatalf("%v where %v was due", e.Position, next)
			}
			next = e.Before()
		}
		if len(h.Events) < kept/3 { // those that are trimmed while others are read are not there
			t.Fatalf("%d events of %d", len(h.Events), kept)
		}
	}
}
