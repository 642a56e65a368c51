package pubsub

import (
	"bytes"
	"testing"
)

func TestFeedsThatAreVeryLargeTogetherKeepLittleEach(t *testing.T) {
	var all shared
	frame := bytes.Repeat([]byte("x"), 1000)
	fill := func() *Feed {
		f := &Feed{limit: 1 << 20, shared: &all}
		for range 2000 {
			f.Write(frame)
		}
		return f
	}
	var feeds []*Feed
	feeds = append(feeds, fill())
	if n := sizeOf(feeds[0]); n < 900<<10 {
		t.Fatalf("a feed by itself keeps %d bytes", n)
	}
	const many = 600 // far more than fit
	for len(feeds) < many {
		feeds = append(feeds, fill())
	}
	if n := sizeOf(feeds[many-1]); n < scarceBytes/2 || n > scarceBytes {
		t.Errorf("the last feed keeps %d bytes", n)
	}
	if n := all.held.Load(); n > plentyBytes+many*scarceBytes {
		t.Errorf("%d feeds keep %d bytes", many, n)
	}
	feeds[0].Write(frame) // a feed that was there before gives its share when it is written to
	if n := sizeOf(feeds[0]); n > scarceBytes {
		t.Errorf("an older feed keeps %d bytes", n)
	}
	for _, f := range feeds {
		f.discard()
	}
	if n := all.held.Load(); n != 0 {
		t.Errorf("no feed is left, and %d bytes are held", n)
	}
}

func TestAFeedOfLargeFramesKeepsAsMuchAsItsLimit(t *testing.T) {
	const limit = 1 << 20
	for _, size := range []int{200, 3000, 9000, 16_500, 33_000, 70_000} {
		f := &Feed{limit: limit}
		frame := bytes.Repeat([]byte("x"), size)
		for range 3 * limit / size {
			f.Write(frame)
		}
		if kept := sizeOf(f); kept < limit*3/4 || kept > limit {
			t.Errorf("with frames of %d bytes it keeps %d of %d", size, kept, limit)
		}
	}
}

// sizeOf returns the bytes of the frames that a feed keeps.
func sizeOf(f *Feed) (n int64) {
	for _, g := range f.frames {
		n += int64(len(g.bytes))
	}
	return n
}
