package dispatch

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// diary is a Handler that writes down what it is told, by channel. It can be held up.
type diary struct {
	mu    sync.Mutex
	lines map[string][]string // guarded by mu
	hold  chan struct{}       // if it is not nil, a handler waits until it is closed or something is received from it
	known []string            // the channels that Lost walks through
}

func newDiary(known ...string) *diary { return &diary{lines: make(map[string][]string), known: known} }

func (d *diary) note(channel, line string) {
	if d.hold != nil {
		<-d.hold
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines[channel] = append(d.lines[channel], line)
}

func (d *diary) Announced(channel string, payload []byte) { d.note(channel, shortened(payload)) }
func (d *diary) Dropped(channel string)                   { d.note(channel, "dropped") }
func (d *diary) Subscribed(channel string)                { d.note(channel, "subscribed") }
func (d *diary) Lost(mine func(string) bool) {
	for _, channel := range d.known {
		if mine(channel) {
			d.note(channel, "lost")
		}
	}
}

// of returns what was noted of a channel.
func (d *diary) of(channel string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.lines[channel], " ")
}

// shortened returns what a test recognises a large payload by.
func shortened(payload []byte) string {
	text, _, _ := strings.Cut(string(payload), "\x00")
	return text
}

// large returns a payload of a size, with a text at its beginning.
func large(text string, size int) []byte {
	return append([]byte(text), make([]byte, size-len(text))...)
}

// bubble runs a test of a running Queue in fake time.
func bubble(t *testing.T, d *diary, workers int, test func(t *testing.T, q *Queue)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		q := New(d, workers)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			q.Run(ctx)
		}()
		test(t, q)
		cancel()
		<-ended
	})
}

func TestNoticesOfAChannelAreHandledInTheOrderInWhichTheyWerePutIn(t *testing.T) {
	channels := []string{"a", "b", "c", "d", "e"}
	for _, workers := range []int{1, 2, 7} {
		d := newDiary(channels...)
		bubble(t, d, workers, func(t *testing.T, q *Queue) {
			want := ""
			for session := range 3 {
				q.Subscribed(channels)
				want += " subscribed"
				for i := range 300 {
					for _, channel := range channels {
						q.Announced(channel, fmt.Appendf(nil, "%d/%d", session, i))
					}
					if i%97 == 0 {
						q.Flush()
					}
					want += fmt.Sprintf(" %d/%d", session, i)
				}
				q.Lost()
				want += " lost"
			}
			synctest.Wait()
			for _, channel := range channels {
				if got := d.of(channel); got != want[1:] {
					t.Errorf("%d workers: channel %s was told %s", workers, channel, got)
				}
			}
			if n := q.held.Load(); n != 0 {
				t.Errorf("%d bytes are said to wait", n)
			}
		})
	}
}

func TestWhatWasPutInBeforeTheWorkersRunIsHandledToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		q := New(d, 1)
		q.Announced("a", []byte("1"))
		q.Flush()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go q.Run(ctx)
		synctest.Wait()
		q.Announced("a", []byte("2"))
		q.Flush()
		synctest.Wait()
		q.Announced("a", []byte("3"))
		q.Flush()
		synctest.Wait()
		if got := d.of("a"); got != "1 2 3" {
			t.Errorf("handled %q", got)
		}
	})
}

func TestAFenceIsPassedWhenEverythingBeforeItHasBeenHandled(t *testing.T) {
	d := newDiary()
	bubble(t, d, 3, func(t *testing.T, q *Queue) {
		d.hold = make(chan struct{}) // made in the bubble
		passed := false
		q.Fence(func() { passed = true })
		if !passed {
			t.Error("with nothing to do, the fence does not pass at once")
		}
		for _, channel := range []string{"a", "b", "c", "d"} {
			q.Announced(channel, []byte("x"))
		}
		q.Flush()
		synctest.Wait() // the workers are held up
		second := make(chan struct{})
		q.Fence(func() { close(second) })
		q.Flush()
		for i := range 4 {
			synctest.Wait()
			select {
			case <-second:
				t.Fatalf("the fence has passed with %d of 4 handled", i)
			default:
			}
			d.hold <- struct{}{}
		}
		<-second
		q.Announced("a", []byte("y")) // put in, not flushed: it must not be passed over
		third := make(chan struct{})
		q.Fence(func() { close(third) })
		select {
		case <-third:
			t.Error("the fence has passed an announcement that nobody has seen yet")
		default:
		}
		q.Flush()
		d.hold <- struct{}{}
		<-third
	})
}

func TestAFloodedChannelIsRepairedAndLeavesRoomForTheOthers(t *testing.T) {
	d := newDiary()
	bubble(t, d, 1, func(t *testing.T, q *Queue) {
		d.hold = make(chan struct{}) // made in the bubble
		const size = 1 << 20
		for i := range 40 {
			q.Announced("flooded", large(fmt.Sprint(i), size))
			q.Flush()
		}
		q.Announced("quiet", []byte("news"))
		if held := q.held.Load(); held > waitingBytes {
			t.Errorf("%d bytes wait, more than %d", held, waitingBytes)
		}
		taken := int(q.held.Load()) / size
		if taken < 20 || taken > 25 {
			t.Errorf("%d announcements of one channel were taken, want three quarters of what there is room for", taken)
		}
		if n := q.stats.dropped[channelFull].Load(); n != int64(40-taken) {
			t.Errorf("%d are counted as dropped, want %d", n, 40-taken)
		}
		q.Flush()
		close(d.hold)
		synctest.Wait()
		want := make([]string, 0, taken+2)
		for i := range taken {
			want = append(want, fmt.Sprint(i))
		}
		want = append(want, "dropped")
		if got := d.of("flooded"); got != strings.Join(want, " ") {
			t.Errorf("the flooded channel was told %s", got)
		}
		if got := d.of("quiet"); got != "news" {
			t.Errorf("the quiet channel was told %q", got)
		}
		q.Announced("flooded", []byte("after"))
		q.Flush()
		synctest.Wait()
		if got := d.of("flooded"); got != strings.Join(append(want, "after"), " ") {
			t.Errorf("after the notice the flooded channel was told %s", got)
		}
		if len(q.workers[0].lines) > 0 || q.held.Load() != 0 {
			t.Errorf("%d lines and %d bytes are left", len(q.workers[0].lines), q.held.Load())
		}
	})
}

// blocker blocks in Dropped, so that a test can announce something meanwhile.
type blocker struct {
	*diary
	begun, finish chan struct{}
}

func (b *blocker) Dropped(channel string) {
	close(b.begun)
	<-b.finish
	b.diary.Dropped(channel)
}

func TestWhatIsAnnouncedWhileTheHandlerHearsOfTheDroppingIsHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &blocker{diary: newDiary(), begun: make(chan struct{}), finish: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		q := New(b, 1)
		go q.Run(ctx)
		q.Announced("a", large("too large", waitingBytes))
		q.Flush()
		<-b.begun
		q.Announced("a", []byte("in between"))
		q.Flush()
		close(b.finish)
		synctest.Wait()
		if got := b.of("a"); got != "dropped in between" {
			t.Errorf("told %q", got)
		}
		if n := q.stats.dropped[allFull].Load(); n != 1 {
			t.Errorf("%d counted as dropped because all is full, want 1", n)
		}
	})
}

func TestAChannelThatIsSlowToHandleDoesNotHoldUpThoseOfOtherWorkers(t *testing.T) {
	d := newDiary()
	bubble(t, d, 2, func(t *testing.T, q *Queue) {
		d.hold = make(chan struct{}) // made in the bubble
		// two channels with different workers
		channels := []string{"c0"}
		for i := 1; len(channels) < 2; i++ {
			if name := fmt.Sprint("c", i); q.workerOf(name) != q.workerOf("c0") {
				channels = append(channels, name)
			}
		}
		q.Announced(channels[0], []byte("slow"))
		q.Flush()
		synctest.Wait()
		q.Announced(channels[1], []byte("fast"))
		q.Flush()
		synctest.Wait()
		d.hold <- struct{}{} // lets either of them go on
		d.hold <- struct{}{}
		synctest.Wait()
		if !slices.Equal([]string{d.of(channels[0]), d.of(channels[1])}, []string{"slow", "fast"}) {
			t.Errorf("told %v", d.lines)
		}
	})
}

func TestTheWorkersEndThoughMuchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		d.hold = make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		q := New(d, 2)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			q.Run(ctx)
		}()
		for i := range 1000 {
			q.Announced(fmt.Sprint(i), nil)
		}
		q.Flush()
		synctest.Wait()
		cancel()
		close(d.hold) // those under way end
		<-ended
		if n := len(d.lines); n > 2 {
			t.Errorf("%d were handled after the end", n)
		}
	})
}

// nobody is a Handler that does nothing.
type nobody struct{}

func (nobody) Announced(string, []byte) {}
func (nobody) Dropped(string)           {}
func (nobody) Subscribed(string)        {}
func (nobody) Lost(func(string) bool)   {}

// BenchmarkOneAtATime is one announcement through a sleeping worker and back.
func BenchmarkOneAtATime(b *testing.B) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	q := New(nobody{}, 2)
	go q.Run(ctx)
	payload, handled := make([]byte, 200), make(chan struct{}, 1)
	b.ReportAllocs()
	for b.Loop() {
		q.Announced("a", payload)
		q.Fence(func() { handled <- struct{}{} })
		q.Flush()
		<-handled
	}
}

// BenchmarkTogether is one announcement of many.
func BenchmarkTogether(b *testing.B) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	q := New(nobody{}, 2)
	go q.Run(ctx)
	payload := make([]byte, 200)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		q.Announced("a", payload)
		if i%300 == 0 {
			q.Flush()
		}
	}
}
