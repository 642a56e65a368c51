package pubsub_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"sluice/pubsub"
)

// readAll reads everything that is due to a stream.
func readAll(t *testing.T, s *pubsub.Stream) string {
	t.Helper()
	var all strings.Builder
	for {
		due, _, err := s.Next(&pubsub.Answer{})
		if err != nil {
			t.Fatal(err)
		}
		if len(due) == 0 {
			return all.String()
		}
		all.Write(due)
	}
}

func TestAStreamGetsEverythingFromWhereItBegan(t *testing.T) {
	f := pubsub.NewFeed(1 << 20)
	var want strings.Builder
	begun := map[*pubsub.Stream]int{}
	for i := range 2000 {
		begun[pubsub.NewStream(f, nil)] = want.Len()
		frame := fmt.Sprintf("%d%s\n", i, strings.Repeat("x", i%300))
		f.Write([]byte(frame))
		want.WriteString(frame)
	}
	for s, from := range begun {
		if got := readAll(t, s); got != want.String()[from:] {
			t.Fatalf("from byte %d: got %d bytes, want %d", from, len(got), want.Len()-from)
		}
	}
}

func TestAStreamBeginsWithItsFirstBytes(t *testing.T) {
	f := pubsub.NewFeed(1 << 20)
	s := pubsub.NewStream(f, []byte("first "))
	f.Write([]byte("second "))
	f.Write([]byte("third"))
	if got, want := readAll(t, s), "first second third"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestStreamsThatShareAnAnswerGetTheSameAsThoseThatDoNot(t *testing.T) {
	f := pubsub.NewFeed(1 << 20)
	early := pubsub.NewStream(f, nil)
	f.Write([]byte("one "))
	late, alone := pubsub.NewStream(f, nil), pubsub.NewStream(f, nil)
	f.Write([]byte("two"))
	var shared pubsub.Answer
	take := func(s *pubsub.Stream, a *pubsub.Answer) string {
		due, _, err := s.Next(a)
		if err != nil {
			t.Fatal(err)
		}
		return string(due)
	}
	for _, c := range []struct {
		name   string
		stream *pubsub.Stream
		want   string
	}{
		{"a stream from the beginning", early, "one two"}, {"the same, which has all", early, ""},
		{"a later one", late, "two"}, {"the same, which has all", late, ""},
	} {
		if got := take(c.stream, &shared); got != c.want {
			t.Errorf("%s gets %q, want %q", c.name, got, c.want)
		}
	}
	if got := take(alone, &pubsub.Answer{}); got != "two" {
		t.Errorf("a stream by itself gets %q, want two", got)
	}
	f.Write([]byte("three"))
	shared.Forget()
	for _, s := range []*pubsub.Stream{early, late, alone} {
		if got := take(s, &shared); got != "three" {
			t.Errorf("in the next round: got %q, want three", got)
		}
	}
}

func TestAStreamThatFellOffTheTailIsToldAndMemoryIsBounded(t *testing.T) {
	const limit = 64 << 10
	f := pubsub.NewFeed(limit)
	frame := bytes.Repeat([]byte("x"), 1000)
	var begun []*pubsub.Stream
	for range 1000 {
		begun = append(begun, pubsub.NewStream(f, nil))
		f.Write(frame)
	}
	if _, _, err := begun[0].Next(&pubsub.Answer{}); !errors.Is(err, pubsub.ErrTooSlow) {
		t.Errorf("at the beginning: got %v, want ErrTooSlow", err)
	}
	kept := 0
	for _, s := range slices.Backward(begun) {
		if _, _, err := s.Next(&pubsub.Answer{}); err != nil {
			break
		}
		kept += len(frame)
	}
	if kept > limit || kept < limit/4 {
		t.Errorf("keeps %d bytes, want about %d", kept, limit)
	}
}

func TestReadersAndAWriterDoNotDisturbEachOther(t *testing.T) {
	f := pubsub.NewFeed(1 << 20)
	var want bytes.Buffer
	var wg sync.WaitGroup
	const frames = 3000
	for i := range frames {
		fmt.Fprintf(&want, "frame %d\n", i)
	}
	for range 8 {
		s, grown := pubsub.NewStream(f, nil), make(chan struct{}, 1)
		f.Notify(func() {
			select {
			case grown <- struct{}{}:
			default:
			}
		})
		wg.Go(func() {
			var got bytes.Buffer
			for got.Len() < want.Len() {
				due, _, err := s.Next(&pubsub.Answer{})
				if err != nil {
					t.Error(err)
					return
				}
				if len(due) == 0 {
					<-grown
				}
				got.Write(due)
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
