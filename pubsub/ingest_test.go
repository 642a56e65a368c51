package pubsub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/store"
)

// fakeAdopter is adopt.lua for one channel, and can fail.
type fakeAdopter struct {
	mu     sync.Mutex
	high   map[string]uint64
	stored []string
	calls  int
	fail   func(call int) (before, after bool) // lose the presentation on the way there, or back
}

func (a *fakeAdopter) Adopt(_ context.Context, _, marker string, first uint64, messages []store.RawMessage) (store.Adopted, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	var before, after bool
	if a.fail != nil {
		before, after = a.fail(a.calls)
	}
	if before {
		return store.Adopted{}, errors.New("lost on the way there")
	}
	result := store.Adopted{Before: a.high[marker]}
	for i, m := range messages {
		if n := first + uint64(i); n > a.high[marker] {
			a.high[marker] = n
			a.stored = append(a.stored, string(m.Payload))
			result.Stored++
		}
	}
	if after {
		return store.Adopted{}, errors.New("lost on the way back")
	}
	return result, nil
}

// seen returns what was stored, and how many calls there were.
func (a *fakeAdopter) seen() (stored []string, calls int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.stored), a.calls
}

// bubble runs a test of an ingest in fake time.
func bubble(t *testing.T, test func(t *testing.T, g *ingest, a *fakeAdopter)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a := &fakeAdopter{high: make(map[string]uint64)}
		g := newIngest(ctx, a, 1000, slog.New(slog.DiscardHandler), &Stats{})
		test(t, g, a)
		cancel()
		g.close()
	})
}

func TestMessagesAreStoredInOrderThoughPresentationsGetLost(t *testing.T) {
	bubble(t, func(t *testing.T, g *ingest, a *fakeAdopter) {
		a.fail = func(call int) (before, after bool) { return call%3 == 0, call%3 == 1 }
		var want []string
		for i := range 300 {
			g.add("orders", fmt.Appendf(nil, "%d", i), name{"m", uint64(i + 1)})
			want = append(want, fmt.Sprint(i))
			if i%50 == 0 {
				synctest.Wait()
			}
		}
		time.Sleep(time.Minute) // fake
		synctest.Wait()
		if stored, _ := a.seen(); !slices.Equal(stored, want) {
			t.Errorf("stored %v", stored)
		}
	})
}

func TestANewcomerWaitsAndDropsWhatAnotherReplicaStored(t *testing.T) {
	bubble(t, func(t *testing.T, g *ingest, a *fakeAdopter) {
		g.joined([]string{"orders"})
		g.add("orders", []byte("1"), name{"m", 1})
		g.add("orders", []byte("2"), name{"m", 2})
		synctest.Wait()
		if _, calls := a.seen(); calls != 0 {
			t.Fatal("a newcomer presented at once")
		}
		g.adopted("orders", name{"m", 1})
		time.Sleep(joinHold) // fake
		synctest.Wait()
		if stored, _ := a.seen(); !slices.Equal(stored, []string{"2"}) {
			t.Errorf("stored %v, want only what nobody else did", stored)
		}
	})
}

func TestAReplicaThatCameSecondLetsTheOthersGoFirst(t *testing.T) {
	bubble(t, func(t *testing.T, g *ingest, a *fakeAdopter) {
		a.mu.Lock()
		a.high["m"] = 1 // somebody else was faster
		a.mu.Unlock()
		g.add("orders", []byte("1"), name{"m", 1})
		synctest.Wait()
		_, before := a.seen()
		g.add("orders", []byte("2"), name{"m", 2})
		synctest.Wait()
		if _, calls := a.seen(); calls != before {
			t.Error("presented at once")
		}
		time.Sleep(loserHold) // fake; nobody else did it: it may be dead
		synctest.Wait()
		if stored, _ := a.seen(); !slices.Equal(stored, []string{"2"}) {
			t.Errorf("stored %v", stored)
		}
		g.add("orders", []byte("3"), name{"m", 3})
		synctest.Wait()
		if stored, _ := a.seen(); len(stored) != 2 {
			t.Error("still waits, though it was first the last time")
		}
	})
}

func TestAMessageIsNotPresentedWhenItsNameMayBeForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, g *ingest, a *fakeAdopter) {
		a.mu.Lock()
		a.fail = func(int) (before, after bool) { return true, false }
		a.mu.Unlock()
		g.add("orders", []byte("1"), name{"m", 1})
		time.Sleep(maxHold + time.Minute) // fake: Redis is away for long
		a.mu.Lock()
		a.fail = nil
		a.mu.Unlock()
		g.add("orders", []byte("2"), name{"m2", 1})
		time.Sleep(time.Minute)
		synctest.Wait()
		if stored, _ := a.seen(); !slices.Equal(stored, []string{"2"}) || g.stats.RawLost.Load() != 1 {
			t.Errorf("stored %v, lost %d", stored, g.stats.RawLost.Load())
		}
	})
}
