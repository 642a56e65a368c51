package listen

import (
	"testing"
	"time"
)

func TestMessagesOnTheirWayWhenAConnectionBreaksAreEstimated(t *testing.T) {
	const second = time.Second
	for name, c := range map[string]struct {
		perSecond int64         // messages that came in each of 20 seconds
		lastRead  time.Duration // before the end
		unheard   time.Duration // before the end: a probe that did not come back; 0: it did
		want      int64
	}{
		"none ever came":                        {0, 5 * second, 5 * second, 0},
		"the last one came a moment ago":        {50, 20 * time.Millisecond, 0, 1},
		"silence before the end":                {50, 4 * second, 4 * second, 200},
		"busy, but a probe is stuck in Redis":   {50, 0, 3 * second, 150},
		"something came after the probe went":   {50, second, 3 * second, 150},
		"the last probe came, then came others": {50, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newClockedSession(t)
			for i := range int64(20) {
				s.advance(second)
				s.raws.Store(i * c.perSecond)
				s.rawRate.note(s.listener.now(), s.raws.Load())
			}
			end := s.listener.now() + c.lastRead
			if c.unheard > 0 {
				s.unheard.Store(int64(end - c.unheard))
			}
			s.conn.readAt.Store(int64(end - c.lastRead))
			s.advance(c.lastRead)
			if c.unheard > c.lastRead { // the last messages may be old: they count from the probe on
				s.raws.Add(-c.perSecond * int64((c.unheard-c.lastRead)/second))
			}
			if got := s.onTheirWay(); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
		})
	}
}

func TestMessagesThatLieInTheSocketAfterAPauseAreCounted(t *testing.T) {
	s := newClockedSession(t)
	s.advance(pauseTolerance + time.Second)
	_ = s.published(t, "1", "2", "3")
	if n := s.listener.lost.paused.Load(); n != 3 {
		t.Errorf("%d are counted, want 3", n)
	}
}

func TestMessagesBeforeTheirMarkerAreCountedIfNobodyElseHasThem(t *testing.T) {
	for alone, want := range map[int64]int64{1: 2, 2: 0} {
		s := newClockedSession(t)
		s.batches["mine"] = batch{channels: []string{"stock"}, counts: []int64{alone}}
		s.rawCame("stock", "stock", []byte("1"))
		s.rawCame("stock", "stock", []byte("2"))
		s.markerCame("mine stock", nil)
		s.rawCame("stock", "stock", []byte("3"))
		if n := s.listener.lost.unnamed.Load(); n != want || len(s.recorder.raw) != 1 {
			t.Errorf("with %d followers %d are counted and %v handed on, want %d and 3", alone, n, s.recorder.payloads(), want)
		}
	}
}

func TestARepeatedMarkerIsAnsweredWithANewOneNowAndThen(t *testing.T) {
	s := newClockedSession(t)
	s.advance(time.Hour)
	s.listener.Want(Subscription{Channel: "orders", Raw: true})
	s.listener.nextBatch()
	s.rawCame("orders", "orders", []byte("1"))
	for range 3 {
		s.markerCame("m orders", nil)
	}
	s.rawCame("orders", "orders", []byte("2"))
	if n := len(s.recorder.raw); n != 2 || s.recorder.raw[1].ID.Number != 2 {
		t.Errorf("handed on: %+v", s.recorder.raw)
	}
	if add, _ := s.listener.nextBatch(); len(add) != 1 {
		t.Errorf("%d new markers for one source", len(add))
	}
	s.advance(renewEvery)
	s.markerCame("m orders", nil)
	if add, _ := s.listener.nextBatch(); len(add) != 1 {
		t.Errorf("%d new markers after a while, want 1", len(add))
	}
}
