package pubsub

import (
	"context"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"sluice/store"
	"sluice/store/kind"
)

// movingClient is connected to one of several replicas, or to none, and remembers what it was told.
type movingClient struct {
	recorder
	at store.Place
}

func (m *movingClient) ID(dst, id []byte) []byte {
	m.at = store.ParseEventID(string(id), []string{"orders"}).Places[0]
	return m.recorder.ID(dst, id)
}

func (m *movingClient) Position(dst, id []byte) []byte { return m.ID(dst, id) }

// resume gives the client what it gets from a replica at which it comes back. ok is false if the replica cannot serve it
// now. It provides what the replica needs, as Broker.provide does.
func (m *movingClient) resume(c *channel, provide func(need) bool) (ok bool) {
	at := resumePoint{resume: true, at: m.at, known: true}
	at.epoch, _ = c.staleEpoch()
	p, missing := c.replay(at)
	for ; missing != needNothing; p, missing = c.replay(at) {
		if !provide(missing) {
			return false
		}
	}
	if m.at = p.from; p.gap != "" {
		m.Gap(nil, "", p.gap)
	}
	for _, e := range p.events {
		m.at = e.Position.Place()
		m.Event(nil, e)
	}
	return true
}

// Redis comes back older again and again. Some replicas hear of it at once, others only after a while, but before it happens
// the next time. A client moves between them. It gets no event twice, except after a gap notice, and in the end it has every event that is valid.
func TestAClientThatMovesBetweenReplicasGetsNothingTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const capacity = 1000
		redis := newModelLog()
		client := &movingClient{at: redis.history().Tip.Position.Place()}
		channels, deaf := make([]*channel, 3), make([]bool, 3)
		missed := make([]bool, 3) // was deaf at the newest loss
		bring := func(i int) bool {
			for !deaf[i] {
				epoch, stale := channels[i].staleEpoch()
				if !stale {
					return true
				}
				h := redis.history()
				if _, err := channels[i].synchronise(epoch, h.Tip, func() (store.History, error) { return h, nil }); err != nil {
					t.Fatal(err)
				}
			}
			return false
		}
		begin := func(i int) {
			channels[i] = newChannel("orders", kind.Rule{Capacity: capacity})
			channels[i].setSubscribed()
			bring(i)
		}
		for i := range channels {
			begin(i)
		}
		there, feed := -1, (*Feed)(nil)
		leave := func() {
			if there >= 0 {
				channels[there].remove(feed)
				there = -1
			}
		}
		connect := func(i int) {
			leave()
			c := channels[i]
			ok := client.resume(c, func(missing need) bool {
				if deaf[i] {
					return false
				}
				if missing == needOlder {
					stale, err := c.load(context.Background(), func() (store.History, error) { return redis.history(), nil })
					return err == nil && !stale
				}
				c.setSubscribed()
				return bring(i)
			})
			if ok {
				there, feed = i, c.feed(client, 1<<20, &shared{})
			}
		}
		hear := func() {
			for i, c := range channels {
				if !deaf[i] {
					c.setLost()
					c.setSubscribed()
					bring(i)
				}
			}
		}
		some := rapid.IntRange(0, len(channels)-1)
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				e := redis.append(capacity)
				for i, c := range channels {
					if !deaf[i] && c.announced(e) {
						bring(i)
					}
				}
			},
			"go back": func(t *rapid.T) {
				for i := range deaf { // none misses two losses
					deaf[i] = deaf[i] && !missed[i]
				}
				hear()
				copy(missed, deaf)
				n := rapid.IntRange(0, min(3, len(redis.all))).Draw(t, "events lost")
				redis.all = redis.all[:len(redis.all)-n]
				redis.kept -= n
				for range rapid.IntRange(0, 2).Draw(t, "stored meanwhile") {
					redis.append(capacity)
				}
				hear()
			},
			"move":     func(t *rapid.T) { connect(some.Draw(t, "to")) },
			"hear not": func(t *rapid.T) { deaf[some.Draw(t, "which")] = true },
			"hear again": func(t *rapid.T) {
				deaf[some.Draw(t, "which")] = false
				hear()
			},
			"": func(t *rapid.T) {
				for i, p := range client.sinceGap {
					if slices.Contains(client.sinceGap[:i], p) {
						t.Fatalf("event %v came twice", p)
					}
				}
			},
		})
		clear(deaf)
		hear()
		connect(0)
		had := slices.DeleteFunc(slices.Clone(client.sinceGap), func(p store.Position) bool {
			return !slices.ContainsFunc(redis.all, func(e store.Event) bool { return e.Position == p })
		})
		if len(had) != len(redis.all) {
			t.Fatalf("the client has had %v, and %d events are valid", client.sinceGap, len(redis.all))
		}
		for i, e := range redis.all {
			if had[i] != e.Position {
				t.Fatalf("event %v is missing or out of order: the client has had %v", e.Position, had)
			}
		}
	})
}
