package judge

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

const (
	ms = time.Millisecond
	ch = "chaos.a"
)

func testToken(n int) string { return Token("p", ch, n) }
func testBody(n int) string  { return `"` + testToken(n) + `"` }

// eventID names the n-th event of an era: after a loss, numbers are used again under other ids.
func eventID(n int, era string) string { return fmt.Sprintf("%d-%s", n, era) }

// posted is the n-th publish, sent at n*10 ms and answered 2 ms later.
func posted(n int) Publish {
	at := time.Duration(n) * 10 * ms
	return Publish{
		Publisher: "p", Channel: ch, Token: testToken(n), Body: testBody(n),
		First: at, Last: at, Answered: at + 2*ms, Outcome: Acknowledged, ID: eventID(n, "x"),
	}
}

func inLog(n int, era string) Event { return Event{ID: eventID(n, era), Data: testBody(n)} }

func delivered(n int, era string) Item {
	return Item{At: time.Duration(n)*10*ms + 3*ms, Kind: GotEvent, Channel: ch, ID: eventID(n, era), Data: testBody(n)}
}

func gapItem(at time.Duration, reason string) Item {
	return Item{At: at, Kind: GotGap, Channel: ch, Reason: reason}
}

func placeItem(at time.Duration, id string) Item {
	return Item{At: at, Kind: GotPlace, Channel: ch, ID: id}
}

// clean is a record of ten events that the store and the client have received.
func clean() Record {
	r := Record{Log: map[string][]Event{}}
	c := Client{Name: "c", Channels: []string{ch}, Bound: true, Opened: 1 * ms}
	for n := 1; n <= 10; n++ {
		r.Publishes = append(r.Publishes, posted(n))
		r.Log[ch] = append(r.Log[ch], inLog(n, "x"))
		c.Items = append(c.Items, delivered(n, "x"))
	}
	r.Clients = []Client{c}
	r.Views = []View{{Replica: "r1", Channel: ch, Events: slices.Clone(r.Log[ch])}}
	return r
}

// trimmed is a record in which only the last four events are kept, and the client was told that 3 to 5 are gone.
func trimmed() Record {
	r := clean()
	r.Rules.Trim = 4
	r.Kept = map[string][]Event{ch: r.Log[ch][6:]}
	r.Views[0].Events = r.Kept[ch]
	c := &r.Clients[0]
	c.Items = slices.Concat(c.Items[:2], []Item{gapItem(50*ms, "trimmed")}, c.Items[5:])
	return r
}

// restored is a record in which Redis lost events 5 to 7 of the old era and went on with 8 to 10, numbered 5 to 7
// again. The client was connected all the time and received everything that there was.
func restored() Record {
	r := clean()
	r.Losses = []Span{{45 * ms, 75 * ms}}
	r.Log[ch] = r.Log[ch][:4]
	for n := 8; n <= 10; n++ {
		e := Event{ID: eventID(n-3, "y"), Data: testBody(n)}
		r.Log[ch] = append(r.Log[ch], e)
		r.Publishes[n-1].ID = e.ID
		r.Clients[0].Items[n-1].ID = e.ID
	}
	r.Views[0].Events = slices.Clone(r.Log[ch])
	return r
}

// only makes the client one that asked for one type, and gives this type to two events.
func only(r *Record, some ...int) {
	r.Clients[0].Type, r.Clients[0].Items = "note", nil
	for _, n := range some {
		r.Publishes[n-1].Type, r.Log[ch][n-1].Type, r.Views[0].Events[n-1].Type = "note", "note", "note"
		it := delivered(n, "x")
		it.Type = "note"
		r.Clients[0].Items = append(r.Clients[0].Items, it)
	}
}

// rawOf turns the n-th publish into a raw one.
func rawOf(r *Record, n int, receivers int64) *Publish {
	p := &r.Publishes[n-1]
	p.Raw, p.ID, p.Receivers = true, "", receivers
	return p
}

// lose removes the n-th event from the store and from what clients have received.
func lose(r *Record, n int) {
	is := func(e Event) bool { return e.ID == eventID(n, "x") }
	r.Log[ch] = slices.DeleteFunc(r.Log[ch], is)
	r.Views[0].Events = slices.Delete(r.Views[0].Events, n-1, n)
	for i := range r.Clients {
		r.Clients[i].Items = slices.DeleteFunc(r.Clients[i].Items, func(it Item) bool { return it.ID == eventID(n, "x") })
	}
}

func TestEachBrokenPromiseIsFound(t *testing.T) {
	items := func(r *Record) *[]Item { return &r.Clients[0].Items }
	cases := []struct {
		name string
		from func() Record
		edit func(*Record)
		want map[string]int
	}{
		{"a clean run passes", clean, func(*Record) {}, nil},

		// The store.
		{"an acknowledged POST that is not stored is lost", clean, func(r *Record) { lose(r, 4) },
			map[string]int{Lost: 2}}, // its token and the id it returned
		{"an unanswered POST may be missing", clean, func(r *Record) { lose(r, 4); r.Publishes[3].Outcome = Unanswered }, nil},
		{"an unanswered POST may be stored", clean, func(r *Record) { r.Publishes[3].Outcome = Unanswered }, nil},
		{"a raw PUBLISH with receivers that is not stored is lost", clean, func(r *Record) { rawOf(r, 4, 1); lose(r, 4) },
			map[string]int{Lost: 1}},
		{"a raw PUBLISH without receivers need not be stored", clean,
			func(r *Record) { rawOf(r, 4, 0).Outcome = Refused; lose(r, 4) }, nil},
		{"a raw PUBLISH without receivers must not be stored", clean,
			func(r *Record) { rawOf(r, 4, 0).Outcome = Refused }, map[string]int{Doubled: 1}},
		{"a raw PUBLISH may be missing if it was counted as lost", clean,
			func(r *Record) { rawOf(r, 4, 1); lose(r, 4); r.CountedLost = 1 }, nil},
		{"a raw PUBLISH is lost if only another one was counted", clean, func(r *Record) {
			rawOf(r, 4, 1)
			rawOf(r, 6, 1)
			lose(r, 6)
			lose(r, 4)
			r.CountedLost = 1
		}, map[string]int{Lost: 1}},
		{"a POST that is not stored is lost, whatever was counted", clean, func(r *Record) { lose(r, 4); r.CountedLost = 5 },
			map[string]int{Lost: 2}},
		{"a key of a channel that has only readers", clean, func(r *Record) { r.Written = []string{"meta:{nobody}"} },
			map[string]int{Written: 1}},
		{"a publisher that is refused while everything works", clean, func(r *Record) {
			r.Rules.Calm, r.Refusals = true, []Refusal{{Who: "post-1", Why: "503"}}
		}, map[string]int{Refusing: 1}},
		{"a publisher that is refused in another scenario", clean,
			func(r *Record) { r.Refusals = []Refusal{{Who: "post-1", Why: "503"}} }, nil},
		{"a raw PUBLISH may be missing if all its receivers were cut off at that moment", clean, func(r *Record) {
			rawOf(r, 4, 3)
			lose(r, 4)
			r.Windows = []Window{{Span{41 * ms, 43 * ms}, EveryReceiver}}
		}, nil},
		{"a raw PUBLISH is lost if one receiver was left alone", clean, func(r *Record) {
			rawOf(r, 4, 3)
			lose(r, 4)
			r.Windows = []Window{{Span{30 * ms, 50 * ms}, 2}}
		}, map[string]int{Lost: 1}},
		{"windows add up", clean, func(r *Record) {
			rawOf(r, 4, 3)
			lose(r, 4)
			r.Windows = []Window{{Span{30 * ms, 50 * ms}, 2}, {Span{42 * ms, 42 * ms}, 2}}
		}, nil},
		{"a window that has closed excuses nothing", clean, func(r *Record) {
			rawOf(r, 4, 1)
			lose(r, 4)
			r.Windows = []Window{{Span{30 * ms, 39 * ms}, EveryReceiver}}
		}, map[string]int{Lost: 1}},
		{"an event stored twice is doubled", clean, func(r *Record) {
			r.Log[ch] = slices.Insert(r.Log[ch], 4, Event{ID: "5-again", Data: testBody(4)})
			r.Views[0].Events = slices.Clone(r.Log[ch])
			*items(r) = slices.Insert(*items(r), 4, Item{Kind: GotEvent, Channel: ch, ID: "5-again", Data: testBody(4)})
		}, map[string]int{Doubled: 1}},
		{"two publishes of one payload are two events", clean, func(r *Record) {
			p := posted(4)
			p.ID = "5-again"
			r.Publishes = slices.Insert(r.Publishes, 4, p)
		}, map[string]int{Lost: 2}},
		{"an event nobody published is a phantom", clean, func(r *Record) {
			lose(r, 4)
			r.Publishes = slices.Delete(r.Publishes, 3, 4)
			r.Log[ch] = append(r.Log[ch], Event{ID: "11-x", Data: `"hello"`})
			r.Views[0].Events = slices.Clone(r.Log[ch])
			*items(r) = append(*items(r), Item{Channel: ch, ID: "11-x", Data: `"hello"`})
		}, map[string]int{Phantom: 1}},
		{"data that changed is corrupt", clean, func(r *Record) {
			r.Log[ch][3].Data = `"` + testToken(4) + `!"`
			r.Views[0].Events[3] = r.Log[ch][3]
			(*items(r))[3].Data = r.Log[ch][3].Data
		}, map[string]int{Corrupt: 1}},
		{"events of one publisher in another order", clean, func(r *Record) {
			r.Log[ch][3], r.Log[ch][4] = r.Log[ch][4], r.Log[ch][3]
			r.Views[0].Events = slices.Clone(r.Log[ch])
			(*items(r))[3], (*items(r))[4] = (*items(r))[4], (*items(r))[3]
		}, map[string]int{StoreOrder: 1}},
		{"raw messages in another order are only counted where replicas join", clean, func(r *Record) {
			rawOf(r, 4, 1)
			rawOf(r, 5, 1)
			r.Log[ch][3], r.Log[ch][4] = r.Log[ch][4], r.Log[ch][3]
			r.Views[0].Events = slices.Clone(r.Log[ch])
			(*items(r))[3], (*items(r))[4] = (*items(r))[4], (*items(r))[3]
		}, nil},
		{"a replica that shows less differs", clean, func(r *Record) { r.Views[0].Events = r.Views[0].Events[:9] },
			map[string]int{ViewDiffers: 1}},
		{"a replica that names an event otherwise differs", clean, func(r *Record) { r.Views[0].Events[2].ID = "3-z" },
			map[string]int{ViewDiffers: 1}},
		{"an id that is in the list twice", clean, func(r *Record) { r.Log[ch][9] = r.Log[ch][8]; r.Publishes[9].Outcome = Unanswered },
			map[string]int{Doubled: 2, ViewDiffers: 1, Phantom: 1, SilentHole: 1}},

		// A client.
		{"a missing event is a silent hole", clean, func(r *Record) { *items(r) = slices.Delete(*items(r), 3, 5) },
			map[string]int{SilentHole: 2}},
		{"an end that never came is a hole", clean, func(r *Record) { *items(r) = (*items(r))[:8] }, map[string]int{SilentHole: 2}},
		{"a beginning that never came is a hole", clean, func(r *Record) { *items(r) = (*items(r))[2:] }, map[string]int{SilentHole: 2}},
		{"a client that got nothing at all misses all", clean, func(r *Record) { *items(r) = nil },
			map[string]int{SilentHole: 10, NotExercised: 1}},
		{"what was sent before the client came is not its own", clean, func(r *Record) {
			r.Clients[0].Opened = 35 * ms
			*items(r) = (*items(r))[3:]
		}, nil},
		{"what came is its own from there on", clean, func(r *Record) {
			r.Clients[0].Opened = 75 * ms
			*items(r) = slices.Delete(*items(r), 1, 3)
		}, map[string]int{SilentHole: 2}},
		{"an event again is a repeat", clean, func(r *Record) { *items(r) = slices.Insert(*items(r), 5, (*items(r))[3]) },
			map[string]int{Repeat: 1}},
		{"an older event after a newer one is a reordering, not a hole", clean, func(r *Record) {
			(*items(r))[3], (*items(r))[4] = (*items(r))[4], (*items(r))[3]
		}, map[string]int{Reordering: 1}},
		{"an event under an id that is not stored is a phantom, and the stored one a hole", clean,
			func(r *Record) { (*items(r))[3].ID = "4-z" }, map[string]int{Phantom: 1, SilentHole: 1}},
		{"an id that carries other data is corrupt", clean, func(r *Record) { (*items(r))[3].Data = testBody(5) },
			map[string]int{Corrupt: 1}},
		{"a type that changed is corrupt", clean, func(r *Record) { (*items(r))[3].Type = "note" }, map[string]int{Corrupt: 1}},
		{"an event of a foreign channel is a phantom", clean, func(r *Record) { *items(r) = append(*items(r), Item{Channel: "b", ID: "1-x"}) },
			map[string]int{Phantom: 1}},
		{"a dead client is one violation, not a hundred holes", clean, func(r *Record) {
			*items(r) = (*items(r))[:4]
			r.Clients[0].Died = "503"
		}, map[string]int{Died: 1}},
		{"a client that never saw a stream", clean, func(r *Record) { r.Clients[0].Bound = false }, map[string]int{Died: 1, NotExercised: 1}},

		{"a client of one type gets that type only", clean, func(r *Record) { only(r, 3, 6) }, nil},
		{"a client of one type must get all of it", clean, func(r *Record) {
			only(r, 3, 6)
			*items(r) = (*items(r))[:1]
		}, map[string]int{SilentHole: 1}},
		{"a client of one type must get nothing else", clean, func(r *Record) {
			only(r, 3, 6)
			*items(r) = append(*items(r), delivered(7, "x"))
		}, map[string]int{Phantom: 1}},
		{"a client that goes on from an id must get what came after it", clean, func(r *Record) {
			r.Clients[0].From, r.Clients[0].Opened = eventID(4, "x"), time.Second
			*items(r) = (*items(r))[5:]
		}, map[string]int{SilentHole: 1}},
		{"and not more", clean, func(r *Record) {
			r.Clients[0].From, r.Clients[0].Opened = eventID(4, "x"), time.Second
			*items(r) = (*items(r))[3:]
		}, map[string]int{Repeat: 1}},

		// Gaps.
		{"a gap where nothing can be gone is needless", clean,
			func(r *Record) { *items(r) = slices.Insert(*items(r), 4, gapItem(44*ms, "trimmed")) }, map[string]int{NeedlessGap: 1}},
		{"a gap does not excuse what is still stored", clean,
			func(r *Record) { *items(r) = slices.Replace(*items(r), 3, 5, gapItem(44*ms, "unknown")) },
			map[string]int{Skipped: 2, NeedlessGap: 1}},
		{"a gap excuses what is trimmed", trimmed, func(*Record) {}, nil},
		{"without the gap it is a silent hole", trimmed, func(r *Record) { *items(r) = slices.Delete(*items(r), 2, 3) },
			map[string]int{SilentHole: 3}},
		{"a gap at another place excuses nothing", trimmed, func(r *Record) {
			(*items(r))[2], (*items(r))[3] = (*items(r))[3], (*items(r))[2]
		}, map[string]int{SilentHole: 3, NeedlessGap: 1}},
		{"a gap of another channel excuses nothing", trimmed, func(r *Record) { (*items(r))[2].Channel = "b" },
			map[string]int{SilentHole: 3, Phantom: 1}},
		{"two gaps at one place are fine", trimmed, func(r *Record) { *items(r) = slices.Insert(*items(r), 2, gapItem(48*ms, "trimmed")) }, nil},
		{"a gap with another reason is wrong where things are trimmed", trimmed, func(r *Record) { (*items(r))[2].Reason = "reset" },
			map[string]int{NeedlessGap: 1}},
		{"a gap over more than is gone", trimmed, func(r *Record) { *items(r) = slices.Delete(*items(r), 3, 6) },
			map[string]int{Skipped: 2}},
		{"a repeat after trimming is a repeat", trimmed, func(r *Record) { *items(r) = slices.Insert(*items(r), 3, (*items(r))[1]) },
			map[string]int{Repeat: 1}},
		{"a list that is shorter than it may be", trimmed, func(r *Record) { r.Kept[ch] = r.Kept[ch][1:]; r.Views = nil },
			map[string]int{WrongTrim: 1}},
		{"a list that is not the end of what was seen", trimmed, func(r *Record) { r.Kept[ch] = r.Log[ch][5:9]; r.Views = nil },
			map[string]int{WrongTrim: 1, Skipped: 3}},

		{"what is trimmed before the first event is missing", trimmed, func(r *Record) {
			r.Clients[0].Opened = 55 * ms
			*items(r) = slices.Insert((*items(r))[2:], 0, placeItem(54*ms, eventID(2, "x")))
		}, nil},
		{"also where the client was at the beginning", trimmed, func(r *Record) {
			r.Clients[0].Opened = 55 * ms
			*items(r) = slices.Insert((*items(r))[2:], 0, placeItem(54*ms, eventID(0, "x")))
		}, nil},
		{"nothing is missing right after the place that the client was told", trimmed, func(r *Record) {
			r.Clients[0].Opened = 55 * ms
			*items(r) = slices.Insert((*items(r))[2:], 0, placeItem(54*ms, eventID(5, "x")))
		}, map[string]int{NeedlessGap: 1}},
		{"what was stored before the first stream may be missing after what it replayed", trimmed, func(r *Record) {
			r.Clients[0].Opened = 55 * ms
		}, nil},

		// Redis loses acknowledged writes.
		{"what Redis lost is not held against anyone", restored, func(*Record) {}, nil},
		{"a client may have missed what was lost", restored, func(r *Record) { *items(r) = slices.Delete(*items(r), 5, 7) }, nil},
		{"it must have what came afterwards", restored, func(r *Record) { *items(r) = slices.Delete(*items(r), 7, 8) },
			map[string]int{SilentHole: 1}},
		{"it must have what was restored", restored, func(r *Record) { *items(r) = slices.Delete(*items(r), 2, 3) },
			map[string]int{SilentHole: 1}},
		{"restored events are not repeated", restored, func(r *Record) { *items(r) = slices.Insert(*items(r), 7, (*items(r))[3]) },
			map[string]int{Repeat: 1}},
		{"lost events are not repeated either", restored, func(r *Record) { *items(r) = slices.Insert(*items(r), 7, (*items(r))[5]) },
			map[string]int{Repeat: 1}},
		{"after a gap with reason unknown everything stored may come again", restored, func(r *Record) {
			*items(r) = slices.Insert(*items(r), 7, append([]Item{gapItem(77*ms, "unknown")}, (*items(r))[:4]...)...)
		}, nil},
		{"but only once", restored, func(r *Record) {
			again := (*items(r))[2]
			*items(r) = slices.Insert(*items(r), 7, gapItem(77*ms, "unknown"), again, again)
		}, map[string]int{Repeat: 1}},
		{"and in order", restored, func(r *Record) {
			*items(r) = slices.Insert(*items(r), 7, gapItem(77*ms, "reset"), (*items(r))[3], (*items(r))[2])
		}, map[string]int{Reordering: 1}},
		{"such a gap does not excuse what is stored", restored, func(r *Record) { (*items(r))[7] = gapItem(83*ms, "reset") },
			map[string]int{Skipped: 1}},
		{"a gap before anything was lost is needless", restored, func(r *Record) {
			*items(r) = slices.Insert(*items(r), 2, gapItem(25*ms, "unknown"))
		}, map[string]int{NeedlessGap: 1}},
		{"trimmed is the wrong reason for it", restored, func(r *Record) {
			*items(r) = slices.Insert(*items(r), 7, gapItem(77*ms, "trimmed"))
		}, map[string]int{NeedlessGap: 1}},
		{"what was acknowledged after the loss must be stored", restored, func(r *Record) {
			r.Log[ch] = slices.Delete(r.Log[ch], 5, 6)
			r.Views[0].Events = slices.Clone(r.Log[ch])
			*items(r) = slices.Delete(*items(r), 8, 9)
		}, map[string]int{Lost: 2}},
		{"what was acknowledged before the loss must be stored", restored, func(r *Record) {
			r.Log[ch] = slices.Delete(r.Log[ch], 1, 2)
			r.Views[0].Events = slices.Clone(r.Log[ch])
		}, map[string]int{Lost: 2, Phantom: 1}},
		{"a POST that was repeated after the loss must be stored", restored, func(r *Record) {
			r.Publishes[4].Last, r.Publishes[4].Answered = 80*ms, 82*ms
		}, map[string]int{Lost: 2}},
		{"a raw message may be stored a little after it was answered", restored, func(r *Record) {
			rawOf(r, 4, 3)
			r.Log[ch] = slices.Delete(r.Log[ch], 3, 4)
			r.Views[0].Events = slices.Clone(r.Log[ch])
		}, nil},

		// Where a record says more.
		{"a live stream gets no gap where nothing is lost and nobody is slow", trimmed, func(r *Record) {
			r.Rules.Steady = true
			*items(r) = slices.Insert(*items(r), 0, Item{Kind: GotStream, At: 1 * ms})
		}, map[string]int{NeedlessGap: 1}},
		{"a stream that has just opened may get one", trimmed, func(r *Record) {
			r.Rules.Steady = true
			*items(r) = slices.Insert(*items(r), 2, Item{Kind: GotStream, At: 50 * ms})
		}, nil},
		{"a stream goes back to the last common event, not to the beginning", restored, func(r *Record) {
			*items(r) = slices.Insert(*items(r), 0, Item{Kind: GotStream, At: 1 * ms})
			*items(r) = slices.Insert(*items(r), 8, gapItem(77*ms, "reset"))
		}, map[string]int{NeedlessGap: 1}},
		{"also if it had only replayed that event", restored, func(r *Record) {
			*items(r) = slices.Insert(*items(r), 3, Item{Kind: GotStream, At: 42 * ms})
			*items(r) = slices.Insert(*items(r), 8, gapItem(77*ms, "reset"))
		}, map[string]int{NeedlessGap: 1}},
		{"what was trimmed may be stored again, after a slow client was told", restored, func(r *Record) {
			r.Rules.Trim = 4
			r.Kept = map[string][]Event{ch: r.Log[ch][3:]}
			r.Views = nil
			*items(r) = slices.Insert(slices.Delete(*items(r), 3, 5), 3, gapItem(79*ms, "trimmed"))
		}, nil},
		{"not if it was told after the loss", restored, func(r *Record) {
			r.Rules.Trim = 7
			r.Kept = map[string][]Event{ch: r.Log[ch]}
			*items(r) = slices.Insert(slices.Delete(*items(r), 3, 7), 3, gapItem(79*ms, "trimmed"))
		}, map[string]int{Skipped: 1}},
		{"a new stream may be told to begin anew", restored, func(r *Record) {
			*items(r) = slices.Insert(*items(r), 0, Item{Kind: GotStream, At: 1 * ms})
			*items(r) = slices.Insert(*items(r), 8, Item{Kind: GotStream, At: 76 * ms}, gapItem(77*ms, "reset"))
		}, nil},
		{"a raw message that had to wait for Redis may be lost with what it stored then", restored, func(r *Record) {
			rawOf(r, 4, 1)
			r.Publishes[3].First, r.Publishes[3].Last, r.Publishes[3].Answered = 40*ms, 40*ms, 42*ms
			r.Outages = []Span{{30 * ms, 3000 * ms}}
			r.Losses[0] = Span{4000 * ms, 4100 * ms}
			r.Log[ch] = slices.Delete(r.Log[ch], 3, 4)
			r.Views[0].Events = slices.Clone(r.Log[ch])
			*items(r) = slices.Delete(*items(r), 3, 7)
			for n := 5; n <= 7; n++ {
				r.Publishes[n-1].Outcome = Unanswered
			}
		}, nil},

		// The run itself.
		{"faults that hit nothing prove nothing", clean, func(r *Record) { r.Rules.MinFaults = 1 }, map[string]int{NotExercised: 1}},
		{"what the schedule saw going wrong counts", clean, func(r *Record) { r.Wrong = []Violation{{Kind: Process}} }, map[string]int{Process: 1}},

		// A task.
		{"a task that was followed to its end", clean, func(r *Record) {
			r.Tasks = []Task{{States: []TaskState{{0, "processing"}, {40, "processing"}, {100, "completed"}}, Stopped: true}}
		}, nil},
		{"a task that went back, twice the same and without an end", clean, func(r *Record) {
			r.Tasks = []Task{{States: []TaskState{{50, "processing"}, {40, "processing"}, {40, "processing"}}}}
		}, map[string]int{TaskBroken: 2, Repeat: 1}},
		{"a task whose stream does not say 204 after the end", clean, func(r *Record) {
			r.Tasks = []Task{{States: []TaskState{{100, "completed"}}}}
		}, map[string]int{TaskBroken: 1}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := c.from()
			c.edit(&r)
			got := Judge(r)
			if !maps.Equal(got.Counts, c.want) {
				t.Errorf("got %v, want %v", got.Counts, c.want)
				for _, v := range got.Evidence {
					t.Logf("%+v", v)
				}
			}
		})
	}
}

func TestRecoveryIsCountedFromWhatCameLast(t *testing.T) {
	cases := []struct {
		name string
		edit func(*Record)
		want time.Duration
	}{
		{"the acknowledgement", func(*Record) {}, 1 * ms},
		{"a late event", func(r *Record) { r.Clients[0].Items[9].At = 400 * ms }, 298 * ms},
		{"the end of a fault", func(r *Record) {
			r.Clients[0].Items[9].At = 400 * ms
			r.Faults = []Fault{{Span: Span{90 * ms, 350 * ms}}}
		}, 50 * ms},
		{"a fault that is not over excuses nothing", func(r *Record) {
			r.Clients[0].Items[9].At = 400 * ms
			r.Faults = []Fault{{Span: Span{90 * ms, 450 * ms}}}
		}, 298 * ms},
		{"the client's own outage", func(r *Record) {
			items := r.Clients[0].Items
			items[9].At = 400 * ms
			r.Clients[0].Items = slices.Insert(items, 9, Item{At: 390 * ms, Kind: GotCut})
		}, 10 * ms},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := clean()
			c.edit(&r)
			if got := Judge(r); got.Worst != c.want {
				t.Errorf("worst recovery %v, want %v", got.Worst, c.want)
			}
		})
	}
}

func TestRawOrderIsStrictWhereNothingRejoins(t *testing.T) {
	r := clean()
	rawOf(&r, 4, 1)
	rawOf(&r, 5, 1)
	r.Log[ch][3], r.Log[ch][4] = r.Log[ch][4], r.Log[ch][3]
	r.Views, r.Clients[0].Items = nil, slices.Clone(r.Clients[0].Items)
	r.Clients[0].Items[3], r.Clients[0].Items[4] = r.Clients[0].Items[4], r.Clients[0].Items[3]
	if got := Judge(r); !got.Passed() || got.RawSwaps != 1 {
		t.Errorf("got %v and %d swaps, want a pass and 1", got.Counts, got.RawSwaps)
	}
	r.Rules.RawOrder = true
	if got := Judge(r); got.Counts[StoreOrder] != 1 {
		t.Errorf("got %v, want one violation of the order", got.Counts)
	}
	r.Rules.Swaps = []string{ch}
	if got := Judge(r); !got.Passed() || got.RawSwaps != 1 {
		t.Errorf("where swaps are allowed: got %v and %d swaps, want a pass and 1", got.Counts, got.RawSwaps)
	}
}

func TestARawMessageThatIsStoredAgainAfterALossIsCounted(t *testing.T) {
	r := restored()
	rawOf(&r, 6, 1)
	r.Log[ch] = slices.Insert(r.Log[ch], 5, Event{ID: "6-y", Data: testBody(6)}) // between 8 and 9
	r.Log[ch][6].ID, r.Log[ch][7].ID = "7-y", "8-y"
	r.Views[0].Events = slices.Clone(r.Log[ch])
	r.Publishes[8].ID, r.Publishes[9].ID = "7-y", "8-y"
	items := r.Clients[0].Items
	items[8].ID, items[9].ID = "7-y", "8-y"
	r.Clients[0].Items = slices.Insert(items, 8, Item{At: 84 * ms, Kind: GotEvent, Channel: ch, ID: "6-y", Data: testBody(6)})
	if got := Judge(r); !got.Passed() || got.RawAgain != 1 {
		t.Errorf("got %v and %d raw messages again, want a pass and 1: %v", got.Counts, got.RawAgain, got.Evidence)
	}
	if got := Judge(restored()); got.RawAgain != 0 {
		t.Errorf("without it: %d", got.RawAgain)
	}
}

func TestEvidenceIsBounded(t *testing.T) {
	r := clean()
	r.Clients[0].Items = nil
	got := Judge(r)
	if got.Counts[SilentHole] != 10 || len(got.Evidence) > 2*maxEvidence {
		t.Errorf("%d holes with %d pieces of evidence", got.Counts[SilentHole], len(got.Evidence))
	}
}
