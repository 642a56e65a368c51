package ingest

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// The model: one Redis, whose messages reach every connected replica in the same order, and replicas that join, crash,
// pause (they are just not scheduled) and present, where a presentation can get lost on the way there or back.

// modelItem is one thing a replica's connection delivers: a raw message, or a marker.
type modelItem struct {
	message int    // 0: a marker
	marker  string // of a marker
	channel string
}

type modelReplica struct {
	sequencer *Sequencer
	own       map[string]bool // markers
	inbox     []modelItem
	queues    map[string][]modelNamed // per channel, to be presented in order
	crashed   bool
	got       map[int]bool // messages that were on their way to it
}

type modelNamed struct {
	RawID
	message int
}

type modelRedis struct {
	adopted map[string]uint64 // per channel and marker: highest number
	stored  map[int]int       // how often each message was stored
	order   map[string][]int  // per channel
}

// adopt is what adopt.lua does.
func (m *modelRedis) adopt(channel string, n modelNamed) {
	key := channel + " " + n.Marker
	if n.Number <= m.adopted[key] {
		return
	}
	m.adopted[key] = n.Number
	m.stored[n.message]++
	m.order[channel] = append(m.order[channel], n.message)
}

const modelSource = "progress:*"

func (r *modelReplica) receive(i modelItem) {
	if i.message == 0 {
		r.sequencer.Marker(i.marker, []string{modelSource}, r.own[i.marker])
		return
	}
	if n, ok := r.sequencer.Next(modelSource, i.channel); ok {
		r.queues[i.channel] = append(r.queues[i.channel], modelNamed{n, i.message})
	}
}

func TestEveryRawMessageIsStoredExactlyOnceWhateverReplicasDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		redis := &modelRedis{adopted: map[string]uint64{}, stored: map[int]int{}, order: map[string][]int{}}
		var replicas []*modelReplica
		markers, messages, joins := 0, 0, 0
		alive := func() []*modelReplica {
			var all []*modelReplica
			for _, r := range replicas {
				if !r.crashed {
					all = append(all, r)
				}
			}
			return all
		}
		pick := func(label string) *modelReplica {
			all := alive()
			if len(all) == 0 {
				t.Skip("no replica is alive")
			}
			return all[rapid.IntRange(0, len(all)-1).Draw(t, label)]
		}
		publishMarker := func(by *modelReplica) {
			markers++
			name := fmt.Sprint("m", markers)
			by.own[name] = true
			for _, r := range alive() {
				r.inbox = append(r.inbox, modelItem{marker: name})
			}
		}
		present := func(r *modelReplica, channel string, lostThere, lostBack bool) {
			q := r.queues[channel]
			if len(q) == 0 {
				return
			}
			if !lostThere {
				redis.adopt(channel, q[0])
			}
			if !lostThere && !lostBack {
				r.queues[channel] = q[1:]
			}
		}
		channels := []string{"progress:a", "progress:b"}
		t.Repeat(map[string]func(*rapid.T){
			"join": func(t *rapid.T) {
				if len(alive()) >= 4 {
					t.Skip("enough replicas")
				}
				joins++
				r := &modelReplica{
					sequencer: NewSequencer(), own: map[string]bool{}, queues: map[string][]modelNamed{}, got: map[int]bool{},
				}
				replicas = append(replicas, r)
				publishMarker(r) // in one transaction with the subscription
			},
			"mark again": func(t *rapid.T) { publishMarker(pick("replica")) },
			"crash": func(t *rapid.T) {
				r := pick("replica")
				r.crashed = true
			},
			"publish": func(t *rapid.T) {
				messages++
				c := rapid.SampledFrom(channels).Draw(t, "channel")
				for _, r := range alive() {
					r.inbox = append(r.inbox, modelItem{message: messages, channel: c})
					r.got[messages] = true
				}
			},
			"receive": func(t *rapid.T) {
				r := pick("replica")
				n := rapid.IntRange(0, len(r.inbox)).Draw(t, "messages")
				for _, i := range r.inbox[:n] {
					r.receive(i)
				}
				r.inbox = r.inbox[n:]
			},
			"present": func(t *rapid.T) {
				present(pick("replica"), rapid.SampledFrom(channels).Draw(t, "channel"),
					rapid.Bool().Draw(t, "lost there"), rapid.Bool().Draw(t, "lost back"))
			},
		})

		// Everybody who lives gets everything done.
		for _, r := range alive() {
			for _, i := range r.inbox {
				r.receive(i)
			}
			for _, c := range channels {
				for len(r.queues[c]) > 0 {
					present(r, c, false, false)
				}
			}
		}
		for m := 1; m <= messages; m++ {
			if redis.stored[m] > 1 {
				t.Fatalf("message %d was stored %d times", m, redis.stored[m])
			}
			for _, r := range alive() {
				if r.got[m] && redis.stored[m] != 1 {
					t.Fatalf("message %d reached a replica that lives, and was stored %d times", m, redis.stored[m])
				}
			}
		}
		if joins <= 1 {
			for c, order := range redis.order {
				for i := 1; i < len(order); i++ {
					if order[i] < order[i-1] {
						t.Fatalf("channel %s: message %d stands behind %d", c, order[i], order[i-1])
					}
				}
			}
		}
	})
}

func TestAReplicaOnlyWatchesASourceUntilItsOwnMarker(t *testing.T) {
	n := NewSequencer()
	if _, ok := n.Next("orders", "orders"); ok {
		t.Error("named a message before any marker")
	}
	n.Marker("other", []string{"orders"}, false)
	if _, ok := n.Next("orders", "orders"); ok {
		t.Error("another replica's marker made us follow: our subscription may not be in place yet")
	}
	n.Marker("own", []string{"orders"}, true)
	first, _ := n.Next("orders", "orders")
	second, _ := n.Next("orders", "orders")
	n.Marker("other2", []string{"orders"}, false)
	third, _ := n.Next("orders", "orders")
	if first != (RawID{"own", 1}) || second != (RawID{"own", 2}) || third != (RawID{"other2", 1}) {
		t.Errorf("names: %v %v %v", first, second, third)
	}
	n.Forget("orders")
	if _, ok := n.Next("orders", "orders"); ok {
		t.Error("named a message of a source that was dropped")
	}
}
