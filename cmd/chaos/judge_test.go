package main

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

func testToken(n int) string { return fmt.Sprintf("chaos/p/%s/%d", ch, n) }
func testBody(n int) string  { return `"` + testToken(n) + `"` }

// eventID names the n-th event of an era: after a loss, numbers are used again under other ids.
func eventID(n int, era string) string { return fmt.Sprintf("%d-%s", n, era) }

// posted is the n-th publish, sent at n*10 ms and answered 2 ms later.
func posted(n int) publish {
	at := time.Duration(n) * 10 * ms
	return publish{
		Publisher: "p", Channel: ch, Token: testToken(n), Body: testBody(n),
		First: at, Last: at, Answered: at + 2*ms, Outcome: acknowledged, ID: eventID(n, "x"),
	}
}

func inLog(n int, era string) stored { return stored{ID: eventID(n, era), Data: testBody(n)} }

func delivered(n int, era string) item {
	return item{At: time.Duration(n)*10*ms + 3*ms, Kind: gotEvent, Channel: ch, ID: eventID(n, era), Data: testBody(n)}
}

func gapItem(at time.Duration, reason string) item {
	return item{At: at, Kind: gotGap, Channel: ch, Reason: reason}
}

// clean is a record of ten events that the store and the client have received.
func clean() record {
	r := record{Log: map[string][]stored{}}
	c := clientRecord{Name: "c", Channels: []string{ch}, Bound: true, Opened: 1 * ms}
	for n := 1; n <= 10; n++ {
		r.Publishes = append(r.Publishes, posted(n))
		r.Log[ch] = append(r.Log[ch], inLog(n, "x"))
		c.Items = append(c.Items, delivered(n, "x"))
	}
	r.Clients = []clientRecord{c}
	r.Views = []view{{Replica: "r1", Channel: ch, Events: slices.Clone(r.Log[ch])}}
	return r
}

// trimmed is a record in which only the last four events are kept, and the client was told that 3 to 5 are gone.
func trimmed() record {
	r := clean()
	r.Rules.Trim = 4
	r.Kept = map[string][]stored{ch: r.Log[ch][6:]}
	r.Views[0].Events = r.Kept[ch]
	c := &r.Clients[0]
	c.Items = slices.Concat(c.Items[:2], []item{gapItem(50*ms, "trimmed")}, c.Items[5:])
	return r
}

// restored is a record in which Redis lost events 5 to 7 of the old era and went on with 8 to 10, numbered 5 to 7
// again. The client was connected all the time and received everything that there was.
func restored() record {
	r := clean()
	r.Losses = []span{{45 * ms, 75 * ms}}
	r.Log[ch] = r.Log[ch][:4]
	for n := 8; n <= 10; n++ {
		e := stored{ID: eventID(n-3, "y"), Data: testBody(n)}
		r.Log[ch] = append(r.Log[ch], e)
		r.Publishes[n-1].ID = e.ID
		r.Clients[0].Items[n-1].ID = e.ID
	}
	r.Views[0].Events = slices.Clone(r.Log[ch])
	return r
}

// only makes the client one that asked for one type, and gives this type to two events.
func only(r *record, some ...int) {
	r.Clients[0].Type, r.Clients[0].Items = "note", nil
	for _, n := range some {
		r.Publishes[n-1].Type, r.Log[ch][n-1].Type, r.Views[0].Events[n-1].Type = "note", "note", "note"
		it := delivered(n, "x")
		it.Type = "note"
		r.Clients[0].Items = append(r.Clients[0].Items, it)
	}
}

// rawOf turns the n-th publish into a raw one.
func rawOf(r *record, n int, receivers int64) *publish {
	p := &r.Publishes[n-1]
	p.Raw, p.ID, p.Receivers = true, "", receivers
	return p
}

// lose removes the n-th event from the store and from what clients have received.
func lose(r *record, n int) {
	is := func(e stored) bool { return e.ID == eventID(n, "x") }
	r.Log[ch] = slices.DeleteFunc(r.Log[ch], is)
	r.Views[0].Events = slices.Delete(r.Views[0].Events, n-1, n)
	for i := range r.Clients {
		r.Clients[i].Items = slices.DeleteFunc(r.Clients[i].Items, func(it item) bool { return it.ID == eventID(n, "x") })
	}
}

func TestEachBrokenPromiseIsFound(t *testing.T) {
	items := func(r *record) *[]item { return &r.Clients[0].Items }
	cases := []struct {
		name string
		from func() record
		edit func(*record)
		want map[string]int
	}{
		{"a clean run passes", clean, func(*record) {}, nil},

		// The store.
		{"an acknowledged POST that is not stored is lost", clean, func(r *record) { lose(r, 4) },
			map[string]int{lost: 2}}, // its token and the id it returned
		{"an unanswered POST may be missing", clean, func(r *record) { lose(r, 4); r.Publishes[3].Outcome = unanswered }, nil},
		{"an unanswered POST may be stored", clean, func(r *record) { r.Publishes[3].Outcome = unanswered }, nil},
		{"a raw PUBLISH with receivers that is not stored is lost", clean, func(r *record) { rawOf(r, 4, 1); lose(r, 4) },
			map[string]int{lost: 1}},
		{"a raw PUBLISH without receivers need not be stored", clean,
			func(r *record) { rawOf(r, 4, 0).Outcome = refused; lose(r, 4) }, nil},
		{"a raw PUBLISH without receivers must not be stored", clean,
			func(r *record) { rawOf(r, 4, 0).Outcome = refused }, map[string]int{doubled: 1}},
		{"a raw PUBLISH may be missing if all its receivers were cut off at that moment", clean, func(r *record) {
			rawOf(r, 4, 3)
			lose(r, 4)
			r.Windows = []window{{span{41 * ms, 43 * ms}, everyReceiver}}
		}, nil},
		{"a raw PUBLISH is lost if one receiver was left alone", clean, func(r *record) {
			rawOf(r, 4, 3)
			lose(r, 4)
			r.Windows = []window{{span{30 * ms, 50 * ms}, 2}}
		}, map[string]int{lost: 1}},
		{"windows add up", clean, func(r *record) {
			rawOf(r, 4, 3)
			lose(r, 4)
			r.Windows = []window{{span{30 * ms, 50 * ms}, 2}, {span{42 * ms, 42 * ms}, 2}}
		}, nil},
		{"a window that has closed excuses nothing", clean, func(r *record) {
			rawOf(r, 4, 1)
			lose(r, 4)
			r.Windows = []window{{span{30 * ms, 39 * ms}, everyReceiver}}
		}, map[string]int{lost: 1}},
		{"an event stored twice is doubled", clean, func(r *record) {
			r.Log[ch] = slices.Insert(r.Log[ch], 4, stored{ID: "5-again", Data: testBody(4)})
			r.Views[0].Events = slices.Clone(r.Log[ch])
			*items(r) = slices.Insert(*items(r), 4, item{Kind: gotEvent, Channel: ch, ID: "5-again", Data: testBody(4)})
		}, map[string]int{doubled: 1}},
		{"two publishes of one payload are two events", clean, func(r *record) {
			p := posted(4)
			p.ID = "5-again"
			r.Publishes = slices.Insert(r.Publishes, 4, p)
		}, map[string]int{lost: 2}},
		{"an event nobody published is a phantom", clean, func(r *record) {
			lose(r, 4)
			r.Publishes = slices.Delete(r.Publishes, 3, 4)
			r.Log[ch] = append(r.Log[ch], stored{ID: "11-x", Data: `"hello"`})
			r.Views[0].Events = slices.Clone(r.Log[ch])
			*items(r) = append(*items(r), item{Channel: ch, ID: "11-x", Data: `"hello"`})
		}, map[string]int{phantom: 1}},
		{"data that changed is corrupt", clean, func(r *record) {
			r.Log[ch][3].Data = `"` + testToken(4) + `!"`
			r.Views[0].Events[3] = r.Log[ch][3]
			(*items(r))[3].Data = r.Log[ch][3].Data
		}, map[string]int{corrupt: 1}},
		{"events of one publisher in another order", clean, func(r *record) {
			r.Log[ch][3], r.Log[ch][4] = r.Log[ch][4], r.Log[ch][3]
			r.Views[0].Events = slices.Clone(r.Log[ch])
			(*items(r))[3], (*items(r))[4] = (*items(r))[4], (*items(r))[3]
		}, map[string]int{storeOrder: 1}},
		{"raw messages in another order are only counted where replicas join", clean, func(r *record) {
			rawOf(r, 4, 1)
			rawOf(r, 5, 1)
			r.Log[ch][3], r.Log[ch][4] = r.Log[ch][4], r.Log[ch][3]
			r.Views[0].Events = slices.Clone(r.Log[ch])
			(*items(r))[3], (*items(r))[4] = (*items(r))[4], (*items(r))[3]
		}, nil},
		{"a replica that shows less differs", clean, func(r *record) { r.Views[0].Events = r.Views[0].Events[:9] },
			map[string]int{viewDiffers: 1}},
		{"a replica that names an event otherwise differs", clean, func(r *record) { r.Views[0].Events[2].ID = "3-z" },
			map[string]int{viewDiffers: 1}},
		{"an id that is in the list twice", clean, func(r *record) { r.Log[ch][9] = r.Log[ch][8]; r.Publishes[9].Outcome = unanswered },
			map[string]int{doubled: 2, viewDiffers: 1, phantom: 1, silentHole: 1}},

		// A client.
		{"a missing event is a silent hole", clean, func(r *record) { *items(r) = slices.Delete(*items(r), 3, 5) },
			map[string]int{silentHole: 2}},
		{"an end that never came is a hole", clean, func(r *record) { *items(r) = (*items(r))[:8] }, map[string]int{silentHole: 2}},
		{"a beginning that never came is a hole", clean, func(r *record) { *items(r) = (*items(r))[2:] }, map[string]int{silentHole: 2}},
		{"a client that got nothing at all misses all", clean, func(r *record) { *items(r) = nil },
			map[string]int{silentHole: 10, notExercised: 1}},
		{"what was sent before the client came is not its own", clean, func(r *record) {
			r.Clients[0].Opened = 35 * ms
			*items(r) = (*items(r))[3:]
		}, nil},
		{"what came is its own from there on", clean, func(r *record) {
			r.Clients[0].Opened = 75 * ms
			*items(r) = slices.Delete(*items(r), 1, 3)
		}, map[string]int{silentHole: 2}},
		{"an event again is a repeat", clean, func(r *record) { *items(r) = slices.Insert(*items(r), 5, (*items(r))[3]) },
			map[string]int{repeat: 1}},
		{"an older event after a newer one is a reordering, not a hole", clean, func(r *record) {
			(*items(r))[3], (*items(r))[4] = (*items(r))[4], (*items(r))[3]
		}, map[string]int{reordering: 1}},
		{"an event under an id that is not stored is a phantom, and the stored one a hole", clean,
			func(r *record) { (*items(r))[3].ID = "4-z" }, map[string]int{phantom: 1, silentHole: 1}},
		{"an id that carries other data is corrupt", clean, func(r *record) { (*items(r))[3].Data = testBody(5) },
			map[string]int{corrupt: 1}},
		{"a type that changed is corrupt", clean, func(r *record) { (*items(r))[3].Type = "note" }, map[string]int{corrupt: 1}},
		{"an event of a foreign channel is a phantom", clean, func(r *record) { *items(r) = append(*items(r), item{Channel: "b", ID: "1-x"}) },
			map[string]int{phantom: 1}},
		{"a dead client is one violation, not a hundred holes", clean, func(r *record) {
			*items(r) = (*items(r))[:4]
			r.Clients[0].Died = "503"
		}, map[string]int{died: 1}},
		{"a client that never saw a stream", clean, func(r *record) { r.Clients[0].Bound = false }, map[string]int{died: 1, notExercised: 1}},

		{"a client of one type gets that type only", clean, func(r *record) { only(r, 3, 6) }, nil},
		{"a client of one type must get all of it", clean, func(r *record) {
			only(r, 3, 6)
			*items(r) = (*items(r))[:1]
		}, map[string]int{silentHole: 1}},
		{"a client of one type must get nothing else", clean, func(r *record) {
			only(r, 3, 6)
			*items(r) = append(*items(r), delivered(7, "x"))
		}, map[string]int{phantom: 1}},
		{"a client that goes on from an id must get what came after it", clean, func(r *record) {
			r.Clients[0].From, r.Clients[0].Opened = eventID(4, "x"), time.Second
			*items(r) = (*items(r))[5:]
		}, map[string]int{silentHole: 1}},
		{"and not more", clean, func(r *record) {
			r.Clients[0].From, r.Clients[0].Opened = eventID(4, "x"), time.Second
			*items(r) = (*items(r))[3:]
		}, map[string]int{repeat: 1}},

		// Gaps.
		{"a gap where nothing can be gone is needless", clean,
			func(r *record) { *items(r) = slices.Insert(*items(r), 4, gapItem(44*ms, "trimmed")) }, map[string]int{needlessGap: 1}},
		{"a gap does not excuse what is still stored", clean,
			func(r *record) { *items(r) = slices.Replace(*items(r), 3, 5, gapItem(44*ms, "unknown")) },
			map[string]int{skipped: 2, needlessGap: 1}},
		{"a gap excuses what is trimmed", trimmed, func(*record) {}, nil},
		{"without the gap it is a silent hole", trimmed, func(r *record) { *items(r) = slices.Delete(*items(r), 2, 3) },
			map[string]int{silentHole: 3}},
		{"a gap at another place excuses nothing", trimmed, func(r *record) {
			(*items(r))[2], (*items(r))[3] = (*items(r))[3], (*items(r))[2]
		}, map[string]int{silentHole: 3, needlessGap: 1}},
		{"a gap of another channel excuses nothing", trimmed, func(r *record) { (*items(r))[2].Channel = "b" },
			map[string]int{silentHole: 3, phantom: 1}},
		{"two gaps at one place are fine", trimmed, func(r *record) { *items(r) = slices.Insert(*items(r), 2, gapItem(48*ms, "trimmed")) }, nil},
		{"a gap with another reason is wrong where things are trimmed", trimmed, func(r *record) { (*items(r))[2].Reason = "reset" },
			map[string]int{needlessGap: 1}},
		{"a gap over more than is gone", trimmed, func(r *record) { *items(r) = slices.Delete(*items(r), 3, 6) },
			map[string]int{skipped: 2}},
		{"a repeat after trimming is a repeat", trimmed, func(r *record) { *items(r) = slices.Insert(*items(r), 3, (*items(r))[1]) },
			map[string]int{repeat: 1}},
		{"a list that is shorter than it may be", trimmed, func(r *record) { r.Kept[ch] = r.Kept[ch][1:]; r.Views = nil },
			map[string]int{wrongTrim: 1}},
		{"a list that is not the end of what was seen", trimmed, func(r *record) { r.Kept[ch] = r.Log[ch][5:9]; r.Views = nil },
			map[string]int{wrongTrim: 1, skipped: 3}},

		// Redis loses acknowledged writes.
		{"what Redis lost is not held against anyone", restored, func(*record) {}, nil},
		{"a client may have missed what was lost", restored, func(r *record) { *items(r) = slices.Delete(*items(r), 5, 7) }, nil},
		{"it must have what came afterwards", restored, func(r *record) { *items(r) = slices.Delete(*items(r), 7, 8) },
			map[string]int{silentHole: 1}},
		{"it must have what was restored", restored, func(r *record) { *items(r) = slices.Delete(*items(r), 2, 3) },
			map[string]int{silentHole: 1}},
		{"restored events are not repeated", restored, func(r *record) { *items(r) = slices.Insert(*items(r), 7, (*items(r))[3]) },
			map[string]int{repeat: 1}},
		{"lost events are not repeated either", restored, func(r *record) { *items(r) = slices.Insert(*items(r), 7, (*items(r))[5]) },
			map[string]int{repeat: 1}},
		{"after a gap with reason unknown everything stored may come again", restored, func(r *record) {
			*items(r) = slices.Insert(*items(r), 7, append([]item{gapItem(77*ms, "unknown")}, (*items(r))[:4]...)...)
		}, nil},
		{"but only once", restored, func(r *record) {
			again := (*items(r))[2]
			*items(r) = slices.Insert(*items(r), 7, gapItem(77*ms, "unknown"), again, again)
		}, map[string]int{repeat: 1}},
		{"and in order", restored, func(r *record) {
			*items(r) = slices.Insert(*items(r), 7, gapItem(77*ms, "reset"), (*items(r))[3], (*items(r))[2])
		}, map[string]int{reordering: 1}},
		{"such a gap does not excuse what is stored", restored, func(r *record) { (*items(r))[7] = gapItem(83*ms, "reset") },
			map[string]int{skipped: 1}},
		{"a gap before anything was lost is needless", restored, func(r *record) {
			*items(r) = slices.Insert(*items(r), 2, gapItem(25*ms, "unknown"))
		}, map[string]int{needlessGap: 1}},
		{"trimmed is the wrong reason for it", restored, func(r *record) {
			*items(r) = slices.Insert(*items(r), 7, gapItem(77*ms, "trimmed"))
		}, map[string]int{needlessGap: 1}},
		{"what was acknowledged after the loss must be stored", restored, func(r *record) {
			r.Log[ch] = slices.Delete(r.Log[ch], 5, 6)
			r.Views[0].Events = slices.Clone(r.Log[ch])
			*items(r) = slices.Delete(*items(r), 8, 9)
		}, map[string]int{lost: 2}},
		{"what was acknowledged before the loss must be stored", restored, func(r *record) {
			r.Log[ch] = slices.Delete(r.Log[ch], 1, 2)
			r.Views[0].Events = slices.Clone(r.Log[ch])
		}, map[string]int{lost: 2, phantom: 1}},
		{"a POST that was repeated after the loss must be stored", restored, func(r *record) {
			r.Publishes[4].Last, r.Publishes[4].Answered = 80*ms, 82*ms
		}, map[string]int{lost: 2}},
		{"a raw message may be stored a little after it was answered", restored, func(r *record) {
			rawOf(r, 4, 3)
			r.Log[ch] = slices.Delete(r.Log[ch], 3, 4)
			r.Views[0].Events = slices.Clone(r.Log[ch])
		}, nil},

		// The run itself.
		{"faults that hit nothing prove nothing", clean, func(r *record) { r.Rules.MinFaults = 1 }, map[string]int{notExercised: 1}},
		{"what the schedule saw going wrong counts", clean, func(r *record) { r.Wrong = []violation{{Kind: process}} }, map[string]int{process: 1}},

		// A task.
		{"a task that was followed to its end", clean, func(r *record) {
			r.Tasks = []taskRecord{{States: []taskState{{0, "processing"}, {40, "processing"}, {100, "completed"}}, Stopped: true}}
		}, nil},
		{"a task that went back, twice the same and without an end", clean, func(r *record) {
			r.Tasks = []taskRecord{{States: []taskState{{50, "processing"}, {40, "processing"}, {40, "processing"}}}}
		}, map[string]int{taskBroken: 2, repeat: 1}},
		{"a task whose stream does not say 204 after the end", clean, func(r *record) {
			r.Tasks = []taskRecord{{States: []taskState{{100, "completed"}}}}
		}, map[string]int{taskBroken: 1}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := c.from()
			c.edit(&r)
			got := judge(r)
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
		edit func(*record)
		want time.Duration
	}{
		{"the acknowledgement", func(*record) {}, 1 * ms},
		{"a late event", func(r *record) { r.Clients[0].Items[9].At = 400 * ms }, 298 * ms},
		{"the end of a fault", func(r *record) {
			r.Clients[0].Items[9].At = 400 * ms
			r.Faults = []fault{{span: span{90 * ms, 350 * ms}}}
		}, 50 * ms},
		{"a fault that is not over excuses nothing", func(r *record) {
			r.Clients[0].Items[9].At = 400 * ms
			r.Faults = []fault{{span: span{90 * ms, 450 * ms}}}
		}, 298 * ms},
		{"the client's own outage", func(r *record) {
			items := r.Clients[0].Items
			items[9].At = 400 * ms
			r.Clients[0].Items = slices.Insert(items, 9, item{At: 390 * ms, Kind: gotCut})
		}, 10 * ms},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := clean()
			c.edit(&r)
			if got := judge(r); got.Worst != c.want {
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
	if got := judge(r); !got.passed() || got.RawSwaps != 1 {
		t.Errorf("got %v and %d swaps, want a pass and 1", got.Counts, got.RawSwaps)
	}
	r.Rules.RawOrder = true
	if got := judge(r); got.Counts[storeOrder] != 1 {
		t.Errorf("got %v, want one violation of the order", got.Counts)
	}
}

func TestEvidenceIsBounded(t *testing.T) {
	r := clean()
	r.Clients[0].Items = nil
	got := judge(r)
	if got.Counts[silentHole] != 10 || len(got.Evidence) > 2*maxEvidence {
		t.Errorf("%d holes with %d pieces of evidence", got.Counts[silentHole], len(got.Evidence))
	}
}
