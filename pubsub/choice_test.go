package pubsub

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sluice/store"
)

// typedChain returns n events that follow one another. Every nth has the type "paid", the others have "sent".
func typedChain(n, nth int) []store.Event {
	events := chain(n)
	for i := range events {
		if events[i].Type = "sent"; (i+1)%nth == 0 {
			events[i].Type = "paid"
		}
	}
	return events
}

func TestAFilterThatPassesNothingLetsOtherStreamsHaveATurn(t *testing.T) {
	const events = 10 * lookedAtOnce
	s, all := benchStream(1, "paid")
	s.cursors[0].feed.limit = 1 << 30
	for _, e := range typedChain(events, events+1) {
		all[0].rule.Latest = true // no position is told meanwhile
		all[0].announced(e)
	}
	var a Answer
	turns := 0
	for {
		before := s.cursors[0].next
		due, _, err := s.Next(&a)
		if looked := s.cursors[0].next - before; looked > lookedAtOnce {
			t.Fatalf("a call looks at %d frames, want %d at most", looked, lookedAtOnce)
		}
		if len(due) > 0 {
			t.Fatalf("the client gets %q", due)
		}
		if err == nil {
			break
		}
		if wait := s.Advance(); !errors.Is(err, ErrBehind) || wait != nil {
			t.Fatalf("got %v (something to wait for: %v), want ErrBehind and nothing to wait for", err, wait != nil)
		}
		turns++
	}
	if s.cursors[0].next != events || turns < events/lookedAtOnce-1 {
		t.Errorf("looked at %d of %d frames with %d turns of others", s.cursors[0].next, events, turns)
	}
}

func TestAStreamFarBehindGetsTheEventsOfItsChannelsInTheOrderOfTheirArrival(t *testing.T) {
	const events = 6 * lookedAtOnce
	s, all := benchStream(2, "paid")
	tips := make([]store.Event, len(all))
	var want []string
	for i := range s.cursors {
		s.cursors[i].feed.limit = 1 << 30
	}
	for i := range events {
		busy := 0 // one channel has much, and the other little but at the beginning
		if i > lookedAtOnce && i%50 == 0 {
			busy = 1
		}
		e := event(tips[busy])
		if e.Type, e.Data = "sent", fmt.Append(nil, i); i%3 == 0 {
			e.Type = "paid"
			want = append(want, strconv.Itoa(i))
		}
		tips[busy] = e
		all[busy].announced(e)
	}
	var got []string
	var a Answer
	for {
		due, _, err := s.Next(&a)
		if err != nil && !errors.Is(err, ErrBehind) {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(due)) {
			if data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: "); ok {
				got = append(got, data)
			}
		}
		if err == nil && len(due) == 0 {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %d events, want %d in the order of their arrival", len(got), len(want))
	}
}

func TestAWriterKeepsNoFramesThatFeedsHaveDropped(t *testing.T) {
	s, all := benchStream(2)
	for _, e := range chain(10) {
		all[0].announced(e)
	}
	var a Answer
	if due, _, err := s.Next(&a); len(due) == 0 || err != nil {
		t.Fatal(due, err)
	}
	for _, g := range a.choice.frames[:cap(a.choice.frames)] {
		if g.bytes != nil {
			t.Fatalf("frame %v is kept until the writer has something else to write", g.at)
		}
	}
}
