package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/store"
	"sluice/store/kind"
	"sluice/store/storetest"
)

// gate is a hook that holds script calls back until it is opened, and notes those that go through.
type gate struct {
	opened chan struct{}
	before func() // called before the first pipeline that is none of the busy ones; nil: nothing

	mu        sync.Mutex
	arrived   int        // pipelines that came; guarded by mu
	pipelines [][]string // the scripts and first keys of each one that went through, without the busy ones; guarded by mu
}

func (*gate) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (*gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (g *gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		var calls []string
		for _, c := range commands {
			if strings.HasPrefix(c.Name(), "eval") {
				calls = append(calls, fmt.Sprint(c.Name(), " ", c.Args()[3]))
			}
		}
		if calls == nil { // a connection says who it is
			return next(ctx, commands)
		}
		g.mu.Lock()
		g.arrived++
		g.mu.Unlock()
		<-g.opened
		if !strings.Contains(calls[0], "busy") {
			g.mu.Lock()
			if len(g.pipelines) == 0 && g.before != nil {
				g.before()
			}
			g.pipelines = append(g.pipelines, calls)
			g.mu.Unlock()
		}
		return next(ctx, commands)
	}
}

// until polls for a condition.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
		time.Sleep(time.Millisecond) // between two tries of a poll
	}
}

// together carries out several calls at once, so that they wait together, and returns their pipelines. before is called
// when they are sent, if it is not nil.
func together(t *testing.T, rdb *redis.Client, s *store.Store, before func(), calls ...func()) [][]string {
	t.Helper()
	g := &gate{opened: make(chan struct{}), before: before}
	rdb.AddHook(g)
	var wg sync.WaitGroup
	const busy = 2 // as many batches as may be on their way keep the senders busy
	for i := range busy {
		wg.Go(func() {
			_, _, _ = s.Append(t.Context(), kind.Draft{Channel: fmt.Sprint("busy", i), Data: []byte(`1`)}, store.AppendOptions{})
		})
		until(t, "a sender is busy", func() bool { g.mu.Lock(); defer g.mu.Unlock(); return g.arrived > i })
	}
	for i, c := range calls {
		wg.Go(c)
		until(t, "a call waits", func() bool { return s.Waiting() > i })
	}
	close(g.opened)
	wg.Wait()
	return g.pipelines
}

func TestEventsThatWaitTogetherAreStoredInOneStepEachWithItsOwnResult(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, rdb *redis.Client) {
		first, _, err := s.Append(t.Context(), draft(t, "orders", `"first"`), store.AppendOptions{IdempotencyKey: "old"})
		if err != nil {
			t.Fatal(err)
		}
		rdb.LPush(t.Context(), "sluice:once:{orders}:foreign", "x")
		sub := rdb.Subscribe(t.Context(), s.Names().Live("orders"))
		defer sub.Close()
		if _, err := sub.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
		type outcome struct {
			event store.Event
			again bool
			err   error
		}
		options := []store.AppendOptions{
			{}, {IdempotencyKey: "old"}, {IdempotencyKey: "new"}, {IfNew: true}, {IdempotencyKey: "new"}, {},
		}
		outcomes := make([]outcome, len(options))
		var calls []func()
		for i, o := range options {
			calls = append(calls, func() {
				d := draft(t, "orders", fmt.Sprint(i))
				e, again, err := s.Append(t.Context(), d, o)
				outcomes[i] = outcome{e, again, err}
			})
		}
		pipelines := together(t, rdb, s, nil, calls...)
		if len(pipelines) != 1 || len(pipelines[0]) != 1 {
			t.Errorf("sent %q, want one script call", pipelines)
		}
		var got []string
		for _, o := range outcomes {
			got = append(got, fmt.Sprintf("%d=%s %v %v", o.event.Position.Offset, o.event.Data, o.again, o.err))
		}
		want := []string{
			"2=0 false <nil>", `1="first" true <nil>`, "3=2 false <nil>", "0= false channel exists", "3=2 true <nil>", "4=5 false <nil>",
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("outcomes:\n got %q\nwant %q", got, want)
		}
		m, err := sub.ReceiveMessage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a, err := store.ParseAnnouncement("orders", []byte(m.Payload))
		if err != nil || datas(a.Events) != "0 2 5" || a.Events[0].Prev != first.Position.Nonce ||
			a.Events[2].Prev != a.Events[1].Position.Nonce || a.Events[2].Position != outcomes[5].event.Position {
			t.Errorf("announced %q: %+v, %v", m.Payload, a, err)
		}
		if got, want := datas(history(t, s, "orders").Events), `"first" 0 2 5`; got != want {
			t.Errorf("history: got %s, want %s", got, want)
		}
	})
}

func TestAfterAFinalEventTheOthersOfItsStepAreRefused(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, rdb *redis.Client) {
		errs := make([]error, 3)
		var calls []func()
		for i, data := range []string{`{"progress":50}`, `{"status":"failed"}`, `{"progress":60}`} {
			calls = append(calls, func() {
				_, _, errs[i] = s.Append(t.Context(), draft(t, "progress:t", data), store.AppendOptions{})
			})
		}
		together(t, rdb, s, nil, calls...)
		if errs[0] != nil || errs[1] != nil || !errors.Is(errs[2], store.ErrEnded) {
			t.Errorf("errors: %v", errs)
		}
		h := history(t, s, "progress:t")
		if len(h.Events) != 1 || !h.Final || !strings.Contains(string(h.Events[0].Data), `"progress":50,"status":"failed"`) {
			t.Errorf("history: %+v", h)
		}
	})
}

func TestAStepThatRedisRefusesIsRefusedAsAWholeButNotWhatWasDoneBefore(t *testing.T) {
	server := storetest.Real(t)
	admin := server.Client(t)
	all := store.New(admin, config)
	first, _, err := all.Append(t.Context(), draft(t, "orders", `"first"`), store.AppendOptions{IdempotencyKey: "old"})
	if err != nil {
		t.Fatal(err)
	}
	was := contents(t, admin)
	rdb := restricted(t, server, admin, "-publish")
	s := store.New(rdb, config)
	errs := make([]error, 4)
	var again store.Event
	together(t, rdb, s, nil,
		func() {
			_, _, errs[0] = s.Append(t.Context(), draft(t, "orders", `1`), store.AppendOptions{IdempotencyKey: "a"})
		},
		func() {
			again, _, errs[1] = s.Append(t.Context(), draft(t, "orders", `2`), store.AppendOptions{IdempotencyKey: "old"})
		},
		func() { _, _, errs[2] = s.Append(t.Context(), draft(t, "orders", `3`), store.AppendOptions{}) },
		func() {
			_, _, errs[3] = s.Append(t.Context(), draft(t, "orders", `4`), store.AppendOptions{IdempotencyKey: "a"})
		},
	)
	for _, i := range []int{0, 2, 3} {
		if got := store.TroubleOf(errs[i]).Code; got != "redis_forbidden" || errors.Is(errs[i], store.ErrUncertain) {
			t.Errorf("call %d: %v", i, errs[i])
		}
	}
	if errs[1] != nil || again.Position != first.Position {
		t.Errorf("the repetition got %v, %v", again, errs[1])
	}
	if is := contents(t, admin); fmt.Sprint(is) != fmt.Sprint(was) {
		t.Errorf("Redis had\n%v\nand has\n%v", was, is)
	}
}

func TestAStepIsBoundedByEventsAndBytes(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, rdb *redis.Client) {
		calls := func(n, size int) (all []func()) {
			for range n {
				all = append(all, func() {
					d := kind.Draft{Channel: "orders", Data: []byte(`"` + strings.Repeat("x", size) + `"`)}
					if _, _, err := s.Append(t.Context(), d, store.AppendOptions{}); err != nil {
						t.Error(err)
					}
				})
			}
			return all
		}
		if got := together(t, rdb, s, nil, calls(100, 1)...); len(got) != 1 || len(got[0]) != 2 {
			t.Errorf("100 small events: %q, want two steps", got)
		}
		if got := together(t, rdb, s, nil, calls(9, 64<<10)...); len(got) != 1 || len(got[0]) != 3 {
			t.Errorf("9 events of 64 KiB: %q, want three steps", got)
		}
	})
}

func TestManyRawMessagesAreAnnouncedInOneMessage(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, rdb *redis.Client) {
		sub := rdb.Subscribe(t.Context(), s.Names().Live("notifications"))
		defer sub.Close()
		if _, err := sub.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
		messages := raw(t, kind.Notifications, "one", "two", `{"type":"info"}`)
		if _, err := s.Adopt(t.Context(), "", kind.Notifications, "A", 7, messages); err != nil {
			t.Fatal(err)
		}
		m, err := sub.ReceiveMessage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a, err := store.ParseAnnouncement(kind.Notifications, []byte(m.Payload))
		if err != nil || len(a.Events) != 2 || a.Marker != "A" || a.Number != 9 {
			t.Errorf("announced %q: %+v, %v", m.Payload, a, err)
		}
	})
}

func TestNoAnnouncementIsLongerThanSaid(t *testing.T) {
	each(t, func(t *testing.T, _ *store.Store, rdb *redis.Client) {
		s := store.New(rdb, store.Config{HistorySize: 500, HistoryTTL: time.Hour, MaxBodyBytes: 65536})
		sub := rdb.Subscribe(t.Context(), s.Names().Live("orders"), s.Names().Live("notifications"))
		defer sub.Close()
		for range 2 {
			if _, err := sub.Receive(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		messages := sub.Channel(redis.WithChannelSize(1000))
		for channel, payload := range map[string]string{
			"orders": strings.Repeat("\x01", 65536), kind.Notifications: strings.Repeat("\x01", 65536),
		} {
			var payloads []store.RawMessage
			for range 3 {
				d, err := kind.DraftPayload(channel, []byte(payload), 65536)
				if err != nil {
					t.Fatal(err)
				}
				payloads = append(payloads, store.RawMessage{Draft: d, Payload: []byte(payload)})
			}
			small, err := kind.DraftPayload(channel, []byte("small"), 65536)
			if err != nil {
				t.Fatal(err)
			}
			for range 300 {
				payloads = append(payloads, store.RawMessage{Draft: small, Payload: []byte("small")})
			}
			a, err := s.Adopt(t.Context(), "", channel, strings.Repeat("m", 21), 1<<50, payloads)
			if err != nil || a.Stored != len(payloads) {
				t.Fatalf("stored %+v, %v", a, err)
			}
			for stored := 0; stored < len(payloads); {
				m := <-messages
				if len(m.Payload) > s.MaxAnnouncement() {
					t.Errorf("an announcement has %d bytes, at most %d were said", len(m.Payload), s.MaxAnnouncement())
				}
				parsed, err := store.ParseAnnouncement(channel, []byte(m.Payload))
				if err != nil {
					t.Fatal(err)
				}
				stored += len(parsed.Events)
			}
		}
	})
}

func TestARedisThatForgotTheScriptsLearnsThemInOneRoundTrip(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, rdb *redis.Client) {
		var calls []func()
		for i := range 50 {
			calls = append(calls, func() {
				channel := fmt.Sprint("c", i)
				if _, _, err := s.Append(t.Context(), kind.Draft{Channel: channel, Data: []byte(`1`)}, store.AppendOptions{}); err != nil {
					t.Error(err)
				}
			}, func() {
				channel := fmt.Sprint("c", i)
				messages := []store.RawMessage{{Draft: kind.Draft{Channel: channel, Data: []byte(`2`)}}}
				if a, err := s.Adopt(t.Context(), "", channel, "A", 1, messages); err != nil || a.Stored != 1 {
					t.Errorf("%+v, %v", a, err)
				}
			})
		}
		appendEvent(t, s, "c", `1`) // Redis knows one of the scripts until it forgets it
		forget := func() {
			if err := rdb.ScriptFlush(t.Context()).Err(); err != nil {
				t.Error(err)
			}
		}
		pipelines := together(t, rdb, s, forget, calls...)
		whole := 0 // how often a script was sent as a whole
		for _, p := range pipelines {
			for _, c := range p {
				if strings.HasPrefix(c, "eval ") {
					whole++
				}
			}
		}
		if len(pipelines) != 2 || whole > 2 {
			t.Errorf("%d round trips, and scripts were sent %d times; want 2 and 2", len(pipelines), whole)
		}
		for i := range 50 {
			if n := len(history(t, s, fmt.Sprint("c", i)).Events); n != 2 {
				t.Errorf("channel c%d has %d events", i, n)
			}
		}
	})
}
