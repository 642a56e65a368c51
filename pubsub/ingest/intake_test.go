package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
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

// bubble runs a test of an Intake in fake time.
func bubble(t *testing.T, test func(t *testing.T, in *Intake, a *fakeAdopter)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := &fakeAdopter{high: make(map[string]uint64)}
		in := New(a, 1000, slog.New(slog.DiscardHandler))
		start := time.Now()
		in.now = func() time.Duration { return time.Since(start) }
		test(t, in, a)
		in.Close(0)
	})
}

func TestMessagesAreStoredInOrderThoughPresentationsGetLost(t *testing.T) {
	bubble(t, func(t *testing.T, in *Intake, a *fakeAdopter) {
		a.fail = func(call int) (before, after bool) { return call%3 == 0, call%3 == 1 }
		var want []string
		for i := range 300 {
			in.Add("orders", Message{ID: RawID{"m", uint64(i + 1)}, Payload: fmt.Appendf(nil, "%d", i), ReceivedAt: in.now()})
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
	bubble(t, func(t *testing.T, in *Intake, a *fakeAdopter) {
		in.Joined([]string{"orders"})
		in.Add("orders", Message{ID: RawID{"m", 1}, Payload: []byte("1"), ReceivedAt: in.now()})
		in.Add("orders", Message{ID: RawID{"m", 2}, Payload: []byte("2"), ReceivedAt: in.now()})
		synctest.Wait()
		if _, calls := a.seen(); calls != 0 {
			t.Fatal("a newcomer presented at once")
		}
		in.Adopted("orders", RawID{"m", 1})
		time.Sleep(newcomerDelay) // fake
		synctest.Wait()
		if stored, _ := a.seen(); !slices.Equal(stored, []string{"2"}) {
			t.Errorf("stored %v, want only what nobody else did", stored)
		}
	})
}

func TestAReplicaThatCameSecondLetsTheOthersGoFirst(t *testing.T) {
	bubble(t, func(t *testing.T, in *Intake, a *fakeAdopter) {
		a.mu.Lock()
		a.high["m"] = 1 // somebody else was faster
		a.mu.Unlock()
		in.Add("orders", Message{ID: RawID{"m", 1}, Payload: []byte("1"), ReceivedAt: in.now()})
		synctest.Wait()
		_, before := a.seen()
		in.Add("orders", Message{ID: RawID{"m", 2}, Payload: []byte("2"), ReceivedAt: in.now()})
		synctest.Wait()
		if _, calls := a.seen(); calls != before {
			t.Error("presented at once")
		}
		time.Sleep(beatenDelay) // fake; nobody else did it: it may be dead
		synctest.Wait()
		if stored, _ := a.seen(); !slices.Equal(stored, []string{"2"}) {
			t.Errorf("stored %v", stored)
		}
		in.Add("orders", Message{ID: RawID{"m", 3}, Payload: []byte("3"), ReceivedAt: in.now()})
		synctest.Wait()
		if stored, _ := a.seen(); len(stored) != 2 {
			t.Error("still waits, though it was first the last time")
		}
	})
}

func TestAMessageIsNotPresentedWhenItsNameMayBeForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, in *Intake, a *fakeAdopter) {
		a.mu.Lock()
		a.fail = func(int) (before, after bool) { return true, false }
		a.mu.Unlock()
		in.Add("orders", Message{ID: RawID{"m", 1}, Payload: []byte("1"), ReceivedAt: in.now()})
		time.Sleep(waitingTime + time.Minute) // fake: Redis is away for long
		a.mu.Lock()
		a.fail = nil
		a.mu.Unlock()
		in.Add("orders", Message{ID: RawID{"m2", 1}, Payload: []byte("2"), ReceivedAt: in.now()})
		time.Sleep(time.Minute)
		synctest.Wait()
		if stored, _ := a.seen(); !slices.Equal(stored, []string{"2"}) || in.stats.lost.Load() != 1 {
			t.Errorf("stored %v, lost %d", stored, in.stats.lost.Load())
		}
	})
}

func TestAMessageIsNotPresentedWhenItsNameMayBeForgottenBecauseTheMachineSlept(t *testing.T) {
	bubble(t, func(t *testing.T, in *Intake, a *fakeAdopter) {
		var slept atomic.Int64
		awake := in.now
		in.now = func() time.Duration { return awake() + time.Duration(slept.Load()) }
		a.mu.Lock()
		a.fail = func(int) (before, after bool) { return true, false }
		a.mu.Unlock()
		in.Add("orders", Message{ID: RawID{"m", 1}, Payload: []byte("1"), ReceivedAt: in.now()})
		synctest.Wait()
		slept.Store(int64(2 * time.Hour)) // no timer fires meanwhile
		a.mu.Lock()
		a.fail = nil
		a.mu.Unlock()
		time.Sleep(time.Minute) // fake
		synctest.Wait()
		if stored, _ := a.seen(); len(stored) > 0 || in.stats.lost.Load() != 1 {
			t.Errorf("stored %v, lost %d; want nothing and 1", stored, in.stats.lost.Load())
		}
	})
}

func TestWhatWaitsWhenTheIntakeIsClosedIsStoredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &fakeAdopter{high: make(map[string]uint64)}
		in := New(a, 1000, slog.New(slog.DiscardHandler))
		start := time.Now()
		in.now = func() time.Duration { return time.Since(start) }
		in.Joined([]string{"orders"}) // a newcomer would wait
		in.Add("orders", Message{ID: RawID{"m", 1}, Payload: []byte("1"), ReceivedAt: in.now()})
		in.Close(time.Hour)
		if stored, _ := a.seen(); !slices.Equal(stored, []string{"1"}) || time.Since(start) > 0 {
			t.Errorf("stored %v after %v", stored, time.Since(start))
		}
		in.Add("orders", Message{ID: RawID{"m", 2}, Payload: []byte("2"), ReceivedAt: in.now()})
		synctest.Wait()
		if _, calls := a.seen(); calls != 1 {
			t.Errorf("%d calls: a message was taken after the end", calls)
		}
	})
}

func TestClosingWaitsForAStoreThatDoesNotAnswerOnlyForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := New(deafAdopter{}, 1000, slog.New(slog.DiscardHandler))
		start := time.Now()
		in.now = func() time.Duration { return time.Since(start) }
		in.Add("orders", Message{ID: RawID{"m", 1}, Payload: []byte("1"), ReceivedAt: in.now()})
		in.Close(3 * time.Second)
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("closing took %v, want 3 s", took)
		}
	})
}

// deafAdopter never answers.
type deafAdopter struct{}

func (deafAdopter) Adopt(ctx context.Context, _, _ string, _ uint64, _ []store.RawMessage) (store.Adopted, error) {
	<-ctx.Done()
	return store.Adopted{}, ctx.Err()
}

func TestMessagesBeyondTheLimitOfAllChannelsAreGivenUpAndCounted(t *testing.T) {
	bubble(t, func(t *testing.T, in *Intake, a *fakeAdopter) {
		in.Joined([]string{"a", "b"}) // so that they wait
		large := make([]byte, waitingBytes/2)
		for _, channel := range []string{"a", "b"} {
			in.Add(channel, Message{ID: RawID{"m", 1}, Payload: large, ReceivedAt: in.now()})
		}
		if lost := in.stats.lost.Load(); lost != 1 {
			t.Errorf("%d lost, want 1", lost)
		}
	})
}
