package pubsub_test

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"testing"

	"sluice/pubsub"
	"sluice/store"
	"sluice/store/kind"
	"sluice/store/storetest"
)

func TestAnEventIsEncodedOncePerChannelWhoeverFollowsItTogetherWithWhat(t *testing.T) {
	a := start(t, storetest.Mini(t).Addr, "a")
	const users = 40
	var views []*viewer
	for i := range users {
		views = append(views,
			a.open(t, pubsub.Request{Channels: []string{"news", "user-" + strconv.Itoa(i)}}),
			a.open(t, pubsub.Request{Channels: []string{"news"}, Types: []string{"kind-" + strconv.Itoa(i), "paid"}}))
	}
	if _, feeds := a.Counts(); feeds != 1+users {
		t.Errorf("%d channels have %d feeds", 1+users, feeds)
	}
	d, err := kind.DraftJSON("news", "paid", []byte(`"for all"`))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.store.Append(t.Context(), d, store.AppendOptions{}); err != nil {
		t.Fatal(err)
	}
	a.append(t, "user-7", `"for one"`)
	for i, v := range views {
		v.want(`"for all"`)
		if i == 2*7 {
			v.want(`"for one"`)
		}
	}
	for i, v := range views { // the next thing that comes shows that nothing else did
		if i%2 == 0 {
			v.nothingMore(a, "user-"+strconv.Itoa(i/2))
		}
	}
}

func TestAClientOfSeveralChannelsResumesInEachFromAnyFrame(t *testing.T) {
	a := start(t, storetest.Mini(t).Addr, "a")
	channels := []string{"a", "b", "c"}
	q := pubsub.Request{Channels: channels}
	v := a.open(t, q)
	want := map[string][]string{}
	const events = 30
	for i := range events {
		c, text := channels[i*i%3], strconv.Itoa(i)
		a.append(t, c, text)
		want[c] = append(want[c], text)
	}
	for i := range events { // the client loses its connection after each frame
		f := v.next()
		if len(want[f.channel]) == 0 || f.text != want[f.channel][0] {
			t.Fatalf("after %d reconnections: got %s of %s, want one of %v", i, f.text, f.channel, want)
		}
		want[f.channel] = want[f.channel][1:]
		q.LastEventID = v.lastID
		v.stream.Close()
		v = a.open(t, q)
	}
	v.nothingMore(a, "b")
}

func TestAClientWhoseFilterPassesNothingLiveIsToldItsPlace(t *testing.T) {
	a := start(t, storetest.Mini(t).Addr, "a")
	q := pubsub.Request{Channels: []string{"orders"}, Types: []string{"rare"}}
	v := a.open(t, q)
	if b := v.stream.Idle(); b != nil {
		t.Errorf("a client that knows its place is told %q", b)
	}
	last := a.append(t, "orders", `1`)
	waitFor(t, "the stream to have passed the event", func() bool {
		if err := v.take(); err != nil {
			t.Fatal(err)
		}
		idle := v.stream.Idle()
		return strings.HasPrefix(string(idle), last.ID()+" at")
	})
	if b := v.stream.Idle(); b != nil {
		t.Errorf("it is told twice: %q", b)
	}
	before := len(v.rest)
	for i := range 100 { // as many as are stored
		a.append(t, "orders", strconv.Itoa(i))
	}
	waitFor(t, "the stream to have told the place", func() bool {
		if err := v.take(); err != nil {
			t.Fatal(err)
		}
		return strings.Count(v.rest[before:], " at ") >= 4
	})
	lines := strings.Fields(strings.TrimSpace(v.rest))
	q.LastEventID = lines[len(lines)-4]
	a.append(t, "orders", `"one more"`)
	if again := a.open(t, q); strings.HasPrefix(again.rest, "gap") {
		t.Errorf("a client that has missed nothing is told of a gap: %s", again.rest)
	}
}

func TestAFeedKeepsTheNewestFramesHoweverLargeTheyAre(t *testing.T) {
	f := pubsub.NewFeed(64 << 10)
	for range 20 {
		f.Write(bytes.Repeat([]byte("x"), 66<<10))
	}
	var slow []*pubsub.Stream
	for range 7 {
		slow = append(slow, pubsub.NewStream(f, nil))
		f.Write(bytes.Repeat([]byte("x"), 66<<10))
	}
	for i, s := range slow {
		if _, _, err := s.Next(&pubsub.Answer{}); err != nil {
			t.Errorf("a stream that is %d frames behind: %v", len(slow)-i, err)
		}
	}
	old := pubsub.NewStream(f, nil)
	for range 40 {
		f.Write(bytes.Repeat([]byte("x"), 66<<10))
	}
	if _, _, err := old.Next(&pubsub.Answer{}); !errors.Is(err, pubsub.ErrTooSlow) {
		t.Errorf("a stream that is 40 frames behind: %v, want ErrTooSlow", err)
	}
}
