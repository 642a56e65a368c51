package pubsub_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"sluice/pubsub"
	"sluice/store"
	"sluice/store/kind"
	"sluice/store/storetest"
)

func TestAnEventPublishedAfterOpenArrivesOnEveryReplicaWithTheSameID(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		a, b := start(t, s.Addr, "a"), start(t, s.Addr, "b")
		va := a.open(t, pubsub.Request{Channels: []string{"orders"}})
		vb := b.open(t, pubsub.Request{Channels: []string{"orders"}})
		e := a.append(t, "orders", `1`)
		for _, v := range []*viewer{va, vb} {
			if f := v.next(); f.id != e.ID() || f.text != `1` {
				t.Errorf("got %+v, want %s", f, e.ID())
			}
		}
	})
}

func TestAClientResumesOnAnotherReplicaWhilePublishingGoesOn(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		replicas := []*replica{start(t, s.Addr, "a"), start(t, s.Addr, "b")}
		const events = 90 // fewer than are kept
		v := replicas[0].open(t, pubsub.Request{Channels: []string{"orders"}})
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := 1; i <= events; i++ {
				replicas[0].append(t, "orders", strconv.Itoa(i))
			}
		})
		defer wg.Wait()
		var got []string
		for n := 1; len(got) < events; n++ {
			got = append(got, v.texts(min(1+n%4, events-len(got)))...)
			id := v.lastID
			v.stream.Close()
			v = replicas[n%2].open(t, pubsub.Request{Channels: []string{"orders"}, LastEventID: id})
		}
		if want := numbers(1, events); !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
	})
}

func TestAClientThatNeverGotAnEventResumesFromWhereItConnected(t *testing.T) {
	a := start(t, storetest.Mini(t).Addr, "a")
	v := a.open(t, pubsub.Request{Channels: []string{"orders", "stock"}})
	line, _, _ := strings.Cut(v.rest, "\n")
	id := strings.Fields(line)[0] // the position that Start begins with
	v.stream.Close()
	a.append(t, "stock", `1`)
	a.append(t, "orders", `2`)
	v = a.open(t, pubsub.Request{Channels: []string{"orders", "stock"}, LastEventID: id})
	got := v.texts(2)
	slices.Sort(got)
	if !slices.Equal(got, []string{`1`, `2`}) {
		t.Errorf("got %v", got)
	}
}

func TestOneConnectionResumesAllOfItsChannels(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		a, b := start(t, s.Addr, "a"), start(t, s.Addr, "b")
		channels := []string{"c1", "c2", "c3"}
		v := a.open(t, pubsub.Request{Channels: channels})
		for i := 1; i <= 9; i++ {
			a.append(t, channels[i%3], strconv.Itoa(i))
		}
		got := v.texts(5)
		v = b.open(t, pubsub.Request{Channels: channels, LastEventID: v.lastID})
		got = append(got, v.texts(4)...)
		slices.Sort(got) // between channels no order is promised
		if !slices.Equal(got, numbers(1, 9)) {
			t.Errorf("got %v", got)
		}
		// With one channel more and one less, what is common goes on and the new one says that it is unknown.
		id := v.lastID
		a.append(t, "c2", `10`)
		a.append(t, "c4", `11`)
		v = a.open(t, pubsub.Request{Channels: []string{"c2", "c4"}, LastEventID: id})
		v.wantGap("c4", store.Unknown)
		v.want(`10`, `11`)
	})
}

func TestAGapIsAnnouncedExactlyWhenEventsAreGone(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		a := start(t, s.Addr, "a")
		var first, kept store.Event
		for i := 1; i <= 103; i++ { // the newest 100 are kept: 4 to 103
			e := a.append(t, "orders", strconv.Itoa(i))
			switch i {
			case 2:
				first = e
			case 3:
				kept = e
			}
		}
		resume := func(id string) *viewer {
			return a.open(t, pubsub.Request{Channels: []string{"orders"}, LastEventID: id})
		}
		v := resume(kept.ID()) // everything after it is stored, if only just
		v.want(numbers(4, 103)...)

		v = resume(first.ID())
		v.wantGap("orders", store.Trimmed)
		v.want(numbers(4, 103)...)
		v = resume(v.lastID)
		v.nothingMore(a, "orders")

		for name, id := range map[string]string{
			"rubbish": "rubbish", "another channel's": "3-0123456789", "from the future": "9000-0123456789",
		} {
			t.Run(name, func(t *testing.T) {
				v := resume(id)
				v.t = t
				if f := v.next(); f.kind != "gap" {
					t.Errorf("got %+v, want a gap", f)
				}
			})
		}
	})
}

func TestAFirstConnectGetsTheReplayItAsksFor(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		a := start(t, s.Addr, "a")
		for i := 1; i <= 5; i++ {
			a.append(t, "orders", strconv.Itoa(i))
		}
		v := a.open(t, pubsub.Request{Channels: []string{"orders"}, Replay: 2})
		v.want(`4`, `5`)
		v.nothingMore(a, "orders")
		v = a.open(t, pubsub.Request{Channels: []string{"orders"}, Replay: 1000})
		v.want(`1`, `2`, `3`, `4`, `5`, `"sentinel"`)
	})
}

func TestAFilterPassesItsTypesAndThePositionGoesOn(t *testing.T) {
	a := start(t, storetest.Mini(t).Addr, "a")
	add := func(typ, data string) {
		d, err := kind.DraftJSON("orders", typ, []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := a.store.Append(t.Context(), d, store.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	v := a.open(t, pubsub.Request{Channels: []string{"orders"}, Types: []string{"paid"}})
	add("paid", `1`)
	v.want(`1`)
	for range 99 {
		add("seen", `2`)
	}
	add("paid", `3`)
	v.want(`3`)
	add("seen", `4`)
	v = a.open(t, pubsub.Request{Channels: []string{"orders"}, Types: []string{"paid"}, LastEventID: v.lastID})
	add("paid", `5`)
	v.want(`5`)
}

func TestAFinishedTaskEndsItsStream(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		a, b := start(t, s.Addr, "a"), start(t, s.Addr, "b")
		request := pubsub.Request{Channels: []string{"progress:t"}, Replay: 1}
		waiting := a.open(t, request)
		for _, p := range []string{"10", "20", "30"} {
			a.append(t, "progress:t", `{"progress":`+p+`}`)
		}
		waiting.texts(3)
		late := b.open(t, request)
		if text := late.next().text; !strings.Contains(text, `"progress":30`) {
			t.Errorf("a late joiner got %s first", text)
		}
		a.append(t, "progress:t", `{"progress":100}`)
		for _, v := range []*viewer{waiting, late} {
			if text := v.next().text; !strings.Contains(text, `"completed"`) {
				t.Errorf("got %s, want the end", text)
			}
			if err := v.take(); !errors.Is(err, pubsub.ErrEnded) {
				t.Errorf("after the end: got %v, want ErrEnded", err)
			}
		}
		again := request
		again.LastEventID, again.Encoder = late.lastID, encoder{}
		if _, err := b.Open(t.Context(), again); !errors.Is(err, pubsub.ErrEnded) {
			t.Errorf("a client that has seen the end is told %v, want ErrEnded", err)
		}
		if v := b.open(t, request); !strings.Contains(v.next().text, `"completed"`) {
			t.Error("a client that has not seen the end does not get it")
		}
	})
}

func TestAMassResumeReadsEachChannelOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		a := start(t, s.Addr, "a")
		from := a.append(t, "orders", `1`).ID()
		for i := 2; i <= 50; i++ {
			a.append(t, "orders", strconv.Itoa(i))
		}
		var wg sync.WaitGroup
		for range 300 {
			wg.Go(func() {
				st, err := a.Open(t.Context(), pubsub.Request{
					Channels: []string{"orders"}, Encoder: encoder{}, LastEventID: from,
				})
				if err != nil {
					t.Error(err)
					return
				}
				defer st.Close()
				first, _, err := st.Next(&pubsub.Answer{})
				if n := strings.Count(string(first), "event "); n != 49 || err != nil {
					t.Errorf("got %d events and error %v, want 49 and none", n, err)
				}
			})
		}
		wg.Wait()
		if n := a.metric(t, "sluice_history_reads_total"); n > 1 {
			t.Errorf("the history was read %v times for 300 clients", n)
		}
	})
}

func TestChannelsAndFeedsThatNobodyUsesAreRemoved(t *testing.T) {
	a := start(t, storetest.Mini(t).Addr, "a")
	var streams []*pubsub.Stream
	for i := range 200 {
		st, err := a.Open(t.Context(), pubsub.Request{Channels: []string{fmt.Sprint("c", i%50)}, Encoder: encoder{}})
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, st)
	}
	if channels, feeds := a.Counts(); channels != 52 || feeds != 50 {
		t.Errorf("%d channels and %d feeds for 50 channels in use", channels, feeds)
	}
	for _, st := range streams {
		st.Close()
		st.Close()
	}
	if _, feeds := a.Counts(); feeds != 0 {
		t.Errorf("%d feeds are left", feeds)
	}
}
