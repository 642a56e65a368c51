package pubsub

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"sluice/store"
	"sluice/store/kind"
	"sluice/store/storetest"
)

func TestUpToTenThousandChannelsAreComparedInTenSecondsAndNeverMoreThanAThousandASecond(t *testing.T) {
	for _, n := range []int{1, 3, 999, 10_000, 200_000} {
		p := pace{tick: roundTick, round: roundTime}
		all := 0
		for range 10 {
			second := 0
			for range time.Second / roundTick {
				second += p.next(n)
			}
			if second > roundAtMost {
				t.Errorf("%d channels: %d in a second", n, second)
			}
			all += second
		}
		if want := min(n, 10*roundAtMost); all < want-1 || all > want {
			t.Errorf("%d channels: %d were compared in ten seconds, want %d", n, all, want)
		}
	}
}

func TestEachChannelHasItsTurnWhoeverComesAndGoes(t *testing.T) {
	var r rounds
	var all []*channel
	for i := range 10 {
		c := newChannel(fmt.Sprint(i), kind.Rule{})
		all = append(all, c)
		r.add(c)
		r.add(c)
	}
	r.take(4)
	r.remove(all[2], turnOver)
	r.remove(all[9], 0)
	r.remove(all[5], 0)
	r.add(all[5]) // it has events again
	r.add(all[2]) // it was removed for good
	had := map[*channel]int{}
	for range 8 {
		for _, c := range r.take(3) {
			had[c]++
		}
	}
	for i, c := range all {
		want := 3
		if i == 2 || i == 9 {
			want = 0
		}
		if had[c] != want {
			t.Errorf("channel %d had %d turns in 24, want %d", i, had[c], want)
		}
	}
}

// Redis forgets a channel's position when nothing was published for a week and the time of its history. Connected clients
// have missed nothing then.
func TestWhatRedisForgetsByItselfIsNoGapForWhoIsConnected(t *testing.T) {
	s := store.New(storetest.Mini(t).Client(t), store.Config{HistorySize: 10, HistoryTTL: time.Hour})
	tips, errs := s.Tips(t.Context(), []string{"orders"}, true)
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	for _, test := range []struct {
		name  string
		after time.Duration
		lost  bool
		again bool // another event was stored, and not heard
		want  []string
	}{
		{"forgotten", 8 * 24 * time.Hour, false, false, []string{"client at 0c"}},
		{"deleted by somebody", 6 * 24 * time.Hour, false, false, []string{"gap reset, client at 0c"}},
		{"the connection was lost", 8 * 24 * time.Hour, true, false, []string{"gap reset, client at 0c"}},
		{"another event came", 8 * 24 * time.Hour, false, true, []string{"event 1b"}},
		{"another event came after it was deleted", 6 * 24 * time.Hour, false, true, []string{"gap reset, client at 0b", "event 1b"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newChannel("orders", s.Rule("orders"))
				client := &told{}
				c.feed(client, 1<<20, &shared{})
				c.setSubscribed()
				r := newFakeRedis()
				first := r.history()
				first.Tip.Epoch = tips[0].Epoch
				bring(t, c, first)
				r.store("1a", 10)
				c.announced(r.ever["1a"])
				client.Reset()
				time.Sleep(test.after)
				now := store.History{Tip: store.Tip{Position: positionOf("0c"), Base: positionOf("0c").Nonce, Epoch: tips[0].Epoch}}
				if test.again {
					r = newFakeRedis()
					r.base = positionOf("0b").Nonce
					r.store("1b", 10)
					now = r.history()
					now.Tip.Epoch, now.Tip.Left = tips[0].Epoch, c.rule.MetaTTL
				}
				if test.lost {
					c.setLost()
					c.setSubscribed()
				} else if c.beginCompare() {
					c.compare(now.Tip)
				}
				bring(t, c, now)
				want := ""
				for _, line := range test.want {
					want += line + "\n"
				}
				if got := client.String(); got != want {
					t.Errorf("the client is told\n%swant\n%s", got, want)
				}
			})
		})
	}
}

// A place before the first event counts for some days. Whoever stays connected for longer must be able to come back.
func TestConnectedClientsOfAnEmptyChannelAreToldTheirPlaceEveryDay(t *testing.T) {
	server := storetest.Mini(t)
	noon := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	on := func(days int) store.Tip {
		server.Mini.SetTime(noon.AddDate(0, 0, days))
		tips, errs := store.New(server.Client(t), store.Config{HistorySize: 1, HistoryTTL: time.Hour}).Tips(t.Context(), []string{"empty"}, true)
		if errs[0] != nil {
			t.Fatal(errs[0])
		}
		return tips[0]
	}
	c := newChannel("empty", kind.Rule{Capacity: 1, MetaTTL: 8 * 24 * time.Hour})
	f := c.feed(&recorder{}, 1<<20, &shared{})
	c.setSubscribed()
	today, tomorrow := on(0), on(1)
	bring(t, c, store.History{Tip: today})
	if c.outdated(today.Epoch) || f.head.Load() != 0 {
		t.Error("told again on the same day")
	}
	for range 2 {
		if c.outdated(tomorrow.Epoch) {
			t.Error("Redis is asked because the day is another one")
		}
	}
	if f.head.Load() != 1 || c.history.Tip.Position != tomorrow.Position {
		t.Errorf("on the next day %d frames came, and the channel is at %v, want 1 and %v", f.head.Load(), c.history.Tip.Position, tomorrow.Position)
	}
}
