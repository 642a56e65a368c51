package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
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
	here   string // the session of the only connection there is; empty: it is not checked
	stored []string
	calls  int
	fail   func(call int) (before, after bool) // lose the presentation on the way there, or back
}

func (a *fakeAdopter) Adopt(_ context.Context, session, _, marker string, first uint64, messages []store.RawMessage) (store.Adopted, error) {
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
	if a.here != "" && session != "" && session != a.here {
		return store.Adopted{}, errors.New("this is another Redis")
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

// sinceNow is a clock in fake time. It does not begin at 0, which has a meaning of its own.
func sinceNow() func() time.Duration {
	start := time.Now().Add(-time.Hour)
	return func() time.Duration { return time.Since(start) }
}

// bubble runs a test of an Intake in fake time.
func bubble(t *testing.T, test func(t *testing.T, in *Intake, a *fakeAdopter)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := &fakeAdopter{high: make(map[string]uint64)}
		in := New(a, 1000, slog.New(slog.DiscardHandler))
		in.now = sinceNow()
		test(t, in, a)
		in.Close(0)
	})
}

func TestMessagesAreStoredInOrderThoughPresentationsGetLost(t *testing.T) {
	bubble(t, func(t *testing.T, in *Intake, a *fakeAdopter) {
		a.fail = func(call int) (before, after bool) { return call%3 == 0, call%3 == 1 }
		var want []string
		for i := range 300 {
			in.Add("orders", Message{Source: "orders", ID: RawID{"m", uint64(i + 1)}, Payload: fmt.Appendf(nil, "%d", i), ReceivedAt: in.now()})
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

// add adds a message of orders that has just been received.
func add(in *Intake, marker string, number uint64) {
	in.Add("orders", Message{
		Source: "orders", ID: RawID{marker, number}, Payload: fmt.Append(nil, number), ReceivedAt: in.now(),
	})
}

// storedByAnother has the store know that another replica was faster with all messages up to a number.
func (a *fakeAdopter) storedByAnother(marker string, number uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.high[marker] = number
}

func TestANewcomerWaitsAndDropsWhatAnotherReplicaStored(t *testing.T) {
	bubble(t, func(t *testing.T, in *Intake, a *fakeAdopter) {
		in.Followed([]string{"orders"}, false)
		add(in, "m", 1)
		add(in, "m", 2)
		time.Sleep(newcomerDelay - 1) // fake
		synctest.Wait()
		if _, calls := a.seen(); calls != 0 {
			t.Fatal("a newcomer presented in its first second")
		}
		in.Adopted("orders", RawID{"m", 1})
		time.Sleep(holdAtMost) // fake
		synctest.Wait()
		if stored, _ := a.seen(); !slices.Equal(stored, []string{"2"}) {
			t.Errorf("stored %v, want only what nobody else did", stored)
		}
	})
}

func TestTheOnlyFollowerPresentsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, in *Intake, a *fakeAdopter) {
		in.Followed([]string{"orders"}, true)
		add(in, "m", 1)
		synctest.Wait() // no time passes
		if stored, _ := a.seen(); !slices.Equal(stored, []string{"1"}) {
			t.Errorf("stored %v at once, want the message", stored)
		}
	})
}

func TestAReplicaThatCameSecondLetsTheOthersGoFirstUntilTheyAreSilent(t *testing.T) {
	bubble(t, func(t *testing.T, in *Intake, a *fakeAdopter) {
		in.Followed([]string{"orders"}, true)
		a.storedByAnother("m", 1)
		add(in, "m", 1) // in vain
		synctest.Wait()
		_, before := a.seen()
		add(in, "m", 2)
		time.Sleep(holdAtLeast - 1) // fake
		synctest.Wait()
		if _, calls := a.seen(); calls != before {
			t.Error("presented at once")
		}
		time.Sleep(holdAtLeast + 1) // fake; nobody else did it: it may be dead
		synctest.Wait()
		if stored, _ := a.seen(); !slices.Equal(stored, []string{"2"}) {
			t.Errorf("stored %v", stored)
		}
		add(in, "m", 3)
		synctest.Wait()
		if stored, _ := a.seen(); len(stored) != 2 {
			t.Error("still waits, though it was first the last time")
		}
	})
}

// hasConnection says which is the only connection that the store has.
func (a *fakeAdopter) hasConnection(session string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.here = session
}

func TestWhatWaitsWhenTheConnectionIsLostIsPresentedWhenAllThatCameByItIsHeard(t *testing.T) {
	for _, heardFirst := range []bool{false, true} {
		bubble(t, func(t *testing.T, in *Intake, a *fakeAdopter) {
			a.hasConnection("old")
			in.Connected("old")
			in.Followed([]string{"orders"}, false)
			add(in, "m", 1)
			add(in, "m", 2)
			heard := in.Lost()
			a.hasConnection("new")
			for range 2 {
				time.Sleep(holdInAll) // fake
				synctest.Wait()
				if _, calls := a.seen(); calls != 0 {
					t.Fatal("presented although it may be known to be stored")
				}
				if heardFirst {
					in.Adopted("orders", RawID{"m", 1})
					heard()
				} else {
					in.Connected("new")
				}
			}
			if heardFirst {
				in.Connected("new")
			} else {
				in.Adopted("orders", RawID{"m", 1})
				heard()
			}
			time.Sleep(holdAtMost) // fake
			synctest.Wait()
			if stored, _ := a.seen(); !slices.Equal(stored, []string{"2"}) {
				t.Errorf("stored %v, want what was not heard to be stored", stored)
			}
		})
	}
}

func TestAConnectionThatIsLostAgainKeepsMessagesWaiting(t *testing.T) {
	bubble(t, func(t *testing.T, in *Intake, a *fakeAdopter) {
		in.Connected("first")
		in.Followed([]string{"orders"}, false)
		add(in, "m", 1)
		heardFirst := in.Lost()
		in.Connected("second")
		heardSecond := in.Lost()
		in.Connected("third")
		heardFirst() // of the second connection it says nothing
		time.Sleep(holdInAll)
		synctest.Wait()
		if _, calls := a.seen(); calls != 0 {
			t.Error("presented before all that came by the second connection is heard")
		}
		heardSecond()
		time.Sleep(holdAtMost) // fake
		synctest.Wait()
		if stored, _ := a.seen(); !slices.Equal(stored, []string{"1"}) {
			t.Errorf("stored %v", stored)
		}
	})
}

func TestAMessageIsNotStoredByAnotherRedisThanItCameFrom(t *testing.T) {
	bubble(t, func(t *testing.T, in *Intake, a *fakeAdopter) {
		a.hasConnection("new") // Redis was restarted; nobody has noticed yet
		in.Connected("old")
		in.Followed([]string{"orders"}, true)
		add(in, "m", 1)
		add(in, "m", 2)
		time.Sleep(time.Second) // fake
		synctest.Wait()
		in.Adopted("orders", RawID{"m", 1})
		heard := in.Lost()
		in.Connected("new")
		heard()
		synctest.Wait()
		time.Sleep(holdAtMost) // fake
		if stored, _ := a.seen(); !slices.Equal(stored, []string{"2"}) {
			t.Errorf("stored %v, want what was not heard to be stored", stored)
		}
	})
}

func TestWhoeverStopsPresentsWhatIsLeftWithoutAConnection(t *testing.T) {
	bubble(t, func(t *testing.T, in *Intake, a *fakeAdopter) {
		a.hasConnection("other")
		in.Connected("mine")
		in.Followed([]string{"orders"}, false)
		add(in, "m", 1)
		in.Lost()
		in.Close(time.Second)
		if stored, _ := a.seen(); !slices.Equal(stored, []string{"1"}) {
			t.Errorf("stored %v", stored)
		}
	})
}

func TestAReplicaHoldsItsMessagesAsLongAsAnotherOneIsHeardToStoreThem(t *testing.T) {
	bubble(t, func(t *testing.T, in *Intake, a *fakeAdopter) {
		in.Followed([]string{"orders"}, false)
		time.Sleep(newcomerDelay) // fake
		for n := range uint64(100) {
			add(in, "m", n+1)
		}
		for n := range uint64(50) { // the leader is seconds behind, and speaks
			time.Sleep(holdAtLeast / 2)
			in.Adopted("orders", RawID{"m", n + 1})
		}
		if _, calls := a.seen(); calls != 0 {
			t.Error("presented while the leader speaks")
		}
		time.Sleep(2 * holdAtLeast) // and then it is dead
		synctest.Wait()
		if stored, _ := a.seen(); len(stored) != 50 {
			t.Errorf("stored %d messages of a leader that is gone, want 50", len(stored))
		}
	})
}

func TestAReplicaDoesNotWaitForEverForAnotherOneThatSpeaksOfOtherMessages(t *testing.T) {
	bubble(t, func(t *testing.T, in *Intake, a *fakeAdopter) {
		in.Followed([]string{"orders"}, false)
		time.Sleep(newcomerDelay) // fake
		add(in, "m", 1)
		for range int(holdInAll/holdAtLeast) * 2 {
			time.Sleep(holdAtLeast / 2)
			in.Adopted("orders", RawID{"other", 1})
		}
		synctest.Wait()
		if stored, _ := a.seen(); !slices.Equal(stored, []string{"1"}) {
			t.Errorf("stored %v after %v", stored, holdInAll)
		}
	})
}

func TestAMessageIsNotPresentedWhenItsNameMayBeForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, in *Intake, a *fakeAdopter) {
		a.mu.Lock()
		a.fail = func(int) (before, after bool) { return true, false }
		a.mu.Unlock()
		in.Add("orders", Message{Source: "orders", ID: RawID{"m", 1}, Payload: []byte("1"), ReceivedAt: in.now()})
		time.Sleep(waitingTime + time.Minute) // fake: Redis is away for long
		a.mu.Lock()
		a.fail = nil
		a.mu.Unlock()
		in.Add("orders", Message{Source: "orders", ID: RawID{"m2", 1}, Payload: []byte("2"), ReceivedAt: in.now()})
		time.Sleep(time.Minute)
		synctest.Wait()
		if stored, _ := a.seen(); !slices.Equal(stored, []string{"2"}) || in.lostCount() != 1 {
			t.Errorf("stored %v, lost %d", stored, in.lostCount())
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
		in.Add("orders", Message{Source: "orders", ID: RawID{"m", 1}, Payload: []byte("1"), ReceivedAt: in.now()})
		synctest.Wait()
		slept.Store(int64(2 * time.Hour)) // no timer fires meanwhile
		a.mu.Lock()
		a.fail = nil
		a.mu.Unlock()
		time.Sleep(time.Minute) // fake
		synctest.Wait()
		if stored, _ := a.seen(); len(stored) > 0 || in.lostCount() != 1 {
			t.Errorf("stored %v, lost %d; want nothing and 1", stored, in.lostCount())
		}
	})
}

func TestWhatWaitsWhenTheIntakeIsClosedIsStoredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &fakeAdopter{high: make(map[string]uint64)}
		in := New(a, 1000, slog.New(slog.DiscardHandler))
		start := time.Now()
		in.now = func() time.Duration { return time.Since(start) }
		in.Followed([]string{"orders"}, false) // a newcomer would wait
		in.Add("orders", Message{Source: "orders", ID: RawID{"m", 1}, Payload: []byte("1"), ReceivedAt: in.now()})
		in.Close(time.Hour)
		if stored, _ := a.seen(); !slices.Equal(stored, []string{"1"}) || time.Since(start) > 0 {
			t.Errorf("stored %v after %v", stored, time.Since(start))
		}
		in.Add("orders", Message{Source: "orders", ID: RawID{"m", 2}, Payload: []byte("2"), ReceivedAt: in.now()})
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
		in.Add("orders", Message{Source: "orders", ID: RawID{"m", 1}, Payload: []byte("1"), ReceivedAt: in.now()})
		in.Close(3 * time.Second)
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("closing took %v, want 3 s", took)
		}
	})
}

// deafAdopter never answers.
type deafAdopter struct{}

func (deafAdopter) Adopt(ctx context.Context, _, _, _ string, _ uint64, _ []store.RawMessage) (store.Adopted, error) {
	<-ctx.Done()
	return store.Adopted{}, ctx.Err()
}

// lostCount returns how many messages were given up, for all causes.
func (in *Intake) lostCount() (n int64) {
	for _, count := range in.stats.lost {
		n += count.Load()
	}
	return n
}

// held returns the bytes of all that waits.
func (in *Intake) held() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.bytes
}

func TestTheNewestMessagesAreRefusedBeyondTheLimitsAndCountedByCause(t *testing.T) {
	bubble(t, func(t *testing.T, in *Intake, a *fakeAdopter) {
		in.Followed([]string{"flood", "b"}, false) // so that they wait
		payload := make([]byte, 1<<20)
		addTo := func(channel string, n int) {
			for i := range n {
				in.Add(channel, Message{Source: channel, ID: RawID{"m", uint64(i + 1)}, Payload: payload, ReceivedAt: in.now()})
			}
		}
		count := func(cause lostCause) int64 { return in.stats.lost[cause].Load() }
		addTo("flood", 64)
		if full, all := count(lostChannelFull), count(lostAllFull); full < 15 || full > 17 || all != 0 {
			t.Errorf("one channel of 64 MiB: %d and %d refused, want a quarter because of the channel", full, all)
		}
		before := in.lostCount()
		addTo("quiet", 5)
		if n := in.lostCount(); n != before {
			t.Errorf("%d messages of a quiet channel refused beside a flooded one", n-before)
		}
		for i := range 30 {
			addTo(fmt.Sprint("other", i), 1)
		}
		if count(lostAllFull) == 0 {
			t.Error("no message was refused because all is full")
		}
		if held := in.held(); held > waitingBytes {
			t.Errorf("%d bytes wait, more than %d", held, waitingBytes)
		}
		time.Sleep(newcomerDelay + holdAtMost) // fake
		synctest.Wait()
		if held := in.held(); held != 0 {
			t.Errorf("%d bytes are still counted when nothing waits", held)
		}
	})
}

func TestTheLogSaysWhyMessagesWereRefused(t *testing.T) {
	for _, test := range []struct {
		name   string
		broken bool
		want   string
	}{
		{"too slow", false, "they come faster than they can be stored"},
		{"Redis takes none", true, "Redis does not store them"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var text bytes.Buffer
				a := &fakeAdopter{high: make(map[string]uint64)}
				a.fail = func(int) (before, after bool) { return test.broken, false }
				in := New(a, 1000, slog.New(slog.NewTextHandler(&text, nil)))
				in.now = sinceNow()
				in.Followed([]string{"a"}, test.broken) // alone: it presents at once, and fails
				in.Add("a", Message{Source: "a", ID: RawID{"m", 1}, ReceivedAt: in.now()})
				synctest.Wait()
				for n := range uint64(70) {
					in.Add("a", Message{Source: "a", ID: RawID{"m", n + 2}, Payload: make([]byte, 1<<20), ReceivedAt: in.now()})
				}
				in.Close(0)
				if got := text.String(); strings.Count(got, "raw messages dropped") != 1 || !strings.Contains(got, test.want) {
					t.Errorf("the log says\n%swant one line with %q", got, test.want)
				}
			})
		})
	}
}

// After a refusal this replica lacks a message that others may be about to store. What it presents behind that would make
// the store refuse theirs.
func TestAReplicaThatRefusedAMessageLetsOthersStoreItFirst(t *testing.T) {
	bubble(t, func(t *testing.T, in *Intake, a *fakeAdopter) {
		in.Followed([]string{"orders"}, true)
		large := Message{Source: "orders", ID: RawID{"m", 1}, Payload: make([]byte, waitingBytes), ReceivedAt: in.now()}
		in.Add("orders", large) // refused
		add(in, "m", 2)
		time.Sleep(newcomerDelay - 1) // fake
		synctest.Wait()
		if stored, _ := a.seen(); len(stored) > 0 {
			t.Errorf("stored %v at once, behind a message that it lacks", stored)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if stored, _ := a.seen(); !slices.Equal(stored, []string{"2"}) {
			t.Errorf("stored %v", stored)
		}
	})
}

func TestStoredMessagesAreNotKeptInMemoryByThoseBehindThem(t *testing.T) {
	b := &backlog{}
	for n := range uint64(100) {
		b.messages = append(b.messages, &waiting{Message: Message{ID: RawID{"m", n + 1}}})
	}
	array := b.messages
	b.remove(b.upTo(RawID{"m", 99}))
	for i, m := range array[:99] {
		if m != nil {
			t.Fatalf("message %d is still in the array", i)
		}
	}
	if len(b.messages) != 1 || b.messages[0].ID.Number != 100 {
		t.Errorf("%d messages remain", len(b.messages))
	}
}

// stubbornAdopter refuses events of one channel for good, as Redis does if a key has the wrong type. It takes rejections.
type stubbornAdopter struct {
	fakeAdopter
	channel string
	refuses bool // rejections too
}

// wrongTypeError is an error as Redis gives it.
type wrongTypeError struct{}

func (wrongTypeError) Error() string {
	return "WRONGTYPE Operation against a key holding the wrong kind of value"
}
func (wrongTypeError) RedisError() {}

func (a *stubbornAdopter) Adopt(
	ctx context.Context, session, channel, marker string, first uint64, messages []store.RawMessage,
) (store.Adopted, error) {
	if channel == a.channel && (a.refuses || slices.ContainsFunc(messages, func(m store.RawMessage) bool { return m.Reason == "" })) {
		return store.Adopted{}, wrongTypeError{}
	}
	r, err := a.fakeAdopter.Adopt(ctx, session, channel, marker, first, messages)
	if channel == a.channel {
		r.Stored, r.Rejected = 0, r.Stored
	}
	return r, err
}

func TestAMessageThatRedisRefusesForGoodIsPutAsideWithTheReasonAndBlocksNothing(t *testing.T) {
	for _, refuses := range []bool{false, true} {
		t.Run(fmt.Sprint("its rejection is refused too: ", refuses), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &stubbornAdopter{channel: "orders", refuses: refuses}
				a.high = make(map[string]uint64)
				in := New(a, 1000, slog.New(slog.DiscardHandler))
				in.now = sinceNow()
				in.Followed([]string{"orders", "other"}, true)
				for n := range uint64(5) {
					add(in, "m", n+1)
				}
				in.Add("other", Message{Source: "other", ID: RawID{"m2", 1}, Payload: []byte(`"other"`), ReceivedAt: in.now()})
				time.Sleep(asideAfter - time.Second)
				synctest.Wait()
				if stored, _ := a.seen(); !slices.Equal(stored, []string{`"other"`}) {
					t.Errorf("stored %v, want the other channel's message and nothing put aside yet", stored)
				}
				time.Sleep(asideAfter)
				synctest.Wait()
				aside, lost := in.stats.aside.Load(), in.stats.lost[lostRefused].Load()
				if refuses && (aside != 0 || lost != 5) || !refuses && (aside != 5 || lost != 0) {
					t.Errorf("put aside %d, given up %d of 5 messages", aside, lost)
				}
				if held := in.held(); held != 0 {
					t.Errorf("%d bytes still wait", held)
				}
				in.Close(0)
			})
		})
	}
}

func TestPresentersAreBoundedAndEndWhenNothingIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &slowAdopter{}
		in := New(a, 1000, slog.New(slog.DiscardHandler))
		in.now = sinceNow()
		in.Followed([]string{"progress:*"}, true)
		for i := range 10_000 {
			in.Add(fmt.Sprint("progress:", i), Message{
				Source: "progress:*", ID: RawID{"m", 1}, Payload: []byte(`{"progress":1}`), ReceivedAt: in.now(),
			})
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if most := a.most.Load(); most > presentersAtMost {
			t.Errorf("%d calls at a time, want at most %d", most, presentersAtMost)
		}
		in.mu.Lock()
		presenters := in.presenters
		in.mu.Unlock()
		if done, held := a.done.Load(), in.held(); done != 10_000 || presenters != 0 || held != 0 {
			t.Errorf("%d calls done, %d presenters and %d bytes left", done, presenters, held)
		}
		in.Close(0)
	})
}

// slowAdopter takes 50 ms for a call, and counts how many are made at a time.
type slowAdopter struct{ now, most, done atomic.Int64 }

func (a *slowAdopter) Adopt(_ context.Context, _, _, _ string, _ uint64, m []store.RawMessage) (store.Adopted, error) {
	n := a.now.Add(1)
	for {
		most := a.most.Load()
		if n <= most || a.most.CompareAndSwap(most, n) {
			break
		}
	}
	time.Sleep(50 * time.Millisecond)
	a.now.Add(-1)
	a.done.Add(1)
	return store.Adopted{Stored: len(m)}, nil
}
