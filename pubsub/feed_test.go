package pubsub_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"sluice/pubsub"
)

// readAll reads a feed from cursor to its head.
func readAll(t *testing.T, f *pubsub.Feed, cursor int64) string {
	t.Helper()
	var all strings.Builder
	for {
		due, err := f.After(cursor)
		if err != nil {
			t.Fatal(err)
		}
		if len(due) == 0 {
			return all.String()
		}
		all.Write(due)
		cursor += int64(len(due))
	}
}

func TestEveryCursorReadsTheSameBytes(t *testing.T) {
	f := pubsub.NewFeed(1 << 20)
	var want strings.Builder
	cursors := map[int64]int{}
	for i := range 2000 {
		cursors[f.Head()] = want.Len()
		frame := fmt.Sprintf("%d%s\n", i, strings.Repeat("x", i%300))
		f.Write([]byte(frame))
		want.WriteString(frame)
	}
	for cursor, from := range cursors {
		if got := readAll(t, f, cursor); got != want.String()[from:] {
			t.Fatalf("cursor %d: got %d bytes, want %d", cursor, len(got), want.Len()-from)
		}
	}
}

func TestAStreamThatFellOffTheTailIsToldAndMemoryIsBounded(t *testing.T) {
	const limit = 64 << 10
	f := pubsub.NewFeed(limit)
	frame := bytes.Repeat([]byte("x"), 1000)
	for range 1000 {
		f.Write(frame)
	}
	if _, err := f.After(0); !errors.Is(err, pubsub.ErrTooSlow) {
		t.Errorf("at the beginning: got %v, want ErrTooSlow", err)
	}
	kept := f.Head()
	for cursor := f.Head() - 1000; ; cursor -= 1000 {
		if _, err := f.After(cursor); err != nil {
			break
		}
		kept = cursor
	}
	if bytes := f.Head() - kept; bytes > limit || bytes < limit/4 {
		t.Errorf("keeps %d bytes, want about %d", bytes, limit)
	}
}

func TestChangedIsClosedByTheNextFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := pubsub.NewFeed(1 << 20)
		cursor := f.Head()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { <-f.Changed(cursor) })
		}
		synctest.Wait()
		f.Write([]byte("x"))
		wg.Wait()
		<-f.Changed(cursor) // it lies behind us already
	})
}

func TestReadersAndAWriterDoNotDisturbEachOther(t *testing.T) {
	f := pubsub.NewFeed(1 << 20)
	var want bytes.Buffer
	var wg sync.WaitGroup
	const frames = 3000
	total := int64(0)
	for i := range frames {
		fmt.Fprintf(&want, "frame %d\n", i)
	}
	total = int64(want.Len())
	for range 8 {
		wg.Go(func() {
			var got bytes.Buffer
			for cursor := int64(0); cursor < total; {
				<-f.Changed(cursor)
				due, err := f.After(cursor)
				if err != nil {
					t.Error(err)
					return
				}
				got.Write(due)
				cursor += int64(len(due))
			}
			if !bytes.Equal(got.Bytes(), want.Bytes()) {
				t.Error("a reader got other bytes")
			}
		})
	}
	for i := range frames {
		f.Write(fmt.Appendf(nil, "frame %d\n", i))
	}
	wg.Wait()
}

func TestNotifyWakesUntilStopped(t *testing.T) {
	f := pubsub.NewFeed(1 << 20)
	woken := 0
	stop := f.Notify(func() { woken++ })
	f.Write([]byte("x"))
	f.Write([]byte("x"))
	stop()
	f.Write([]byte("x"))
	if woken != 2 {
		t.Errorf("woken %d times, want 2", woken)
	}
}
