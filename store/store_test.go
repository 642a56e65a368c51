package store_test

import (
	"context"
	"encoding/json"
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

var config = store.Config{HistorySize: 5, HistoryTTL: time.Hour}

// each runs a test of the store against both kinds of Redis.
func each(t *testing.T, test func(t *testing.T, s *store.Store, rdb *redis.Client)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, server *storetest.Server) {
		rdb := server.Client(t)
		test(t, store.New(rdb, config), rdb)
	})
}

func draft(t *testing.T, channel, data string) kind.Draft {
	t.Helper()
	d, err := kind.DraftJSON(channel, "", []byte(data))
	if err != nil {
		t.Fatalf("draft %s: %v", data, err)
	}
	return d
}

func appendEvent(t *testing.T, s *store.Store, channel, data string) store.Event {
	t.Helper()
	e, again, err := s.Append(t.Context(), draft(t, channel, data), store.AppendOptions{})
	if err != nil || again {
		t.Fatalf("append %s: again=%v, %v", data, again, err)
	}
	return e
}

func history(t *testing.T, s *store.Store, channel string) store.History {
	t.Helper()
	h, err := s.History(t.Context(), channel)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func datas(events []store.Event) string {
	var all []string
	for _, e := range events {
		all = append(all, string(e.Data))
	}
	return strings.Join(all, " ")
}

func TestAppendNumbersEventsWithoutHolesAndChainsThem(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, _ *redis.Client) {
		var prev store.Event
		for i := 1; i <= 3; i++ {
			e := appendEvent(t, s, "orders", fmt.Sprint(i))
			if e.Position.Offset != uint64(i) {
				t.Errorf("offset of event %d: got %d", i, e.Position.Offset)
			}
			if i > 1 && e.Prev != prev.Position.Nonce {
				t.Errorf("prev of event %d: got %v, want %v", i, e.Prev, prev.Position.Nonce)
			}
			if d := time.Since(time.UnixMilli(e.Time)); d < -time.Minute || d > time.Minute {
				t.Errorf("time of event %d is %v off", i, d)
			}
			prev = e
		}
		h := history(t, s, "orders")
		if got, want := datas(h.Events), "1 2 3"; got != want {
			t.Errorf("history: got %s, want %s", got, want)
		}
		if h.Tip.Position != prev.Position || h.Floor().Nonce != h.Base {
			t.Errorf("tip %v, floor %v, base %v", h.Tip.Position, h.Floor(), h.Base)
		}
	})
}

func TestDataComesOutByteForByte(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, _ *redis.Client) {
		for _, data := range []string{
			`{}`, `[]`, `null`, `1.0`, `12345678901234567890`, `"<b>&\u2028"`, `{"a":[],"b":{},"c":1e400}`,
			`"%d %s %%"`, `"\\\"}"`, `"ünïcödé 🙂"`,
		} {
			if got := appendEvent(t, s, "raw", data); string(got.Data) != data {
				t.Errorf("data: got %s, want %s", got.Data, data)
			}
		}
	})
}

func TestHistoryIsReadableWithLRANGEAndBounded(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, rdb *redis.Client) {
		for i := range 8 {
			appendEvent(t, s, "orders", fmt.Sprint(i))
		}
		list, err := rdb.LRange(t.Context(), "sluice:history:{orders}", 0, -1).Result()
		if err != nil {
			t.Fatal(err)
		}
		if len(list) != config.HistorySize {
			t.Errorf("length: got %d, want %d", len(list), config.HistorySize)
		}
		var newest struct {
			ID   string `json:"id"`
			Time int64  `json:"time"`
			Data int    `json:"data"`
		}
		if err := json.Unmarshal([]byte(list[0]), &newest); err != nil || newest.Data != 7 {
			t.Errorf("newest entry %s: %+v, %v", list[0], newest, err)
		}
		for _, k := range keysOf(t, rdb) {
			if ttl := rdb.TTL(t.Context(), k).Val(); ttl <= 0 {
				t.Errorf("key %s never expires (TTL %v)", k, ttl)
			}
		}
	})
}

func TestNotificationsKeepTheNewestFiftyWithIDAndTimestampInTheData(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, _ *redis.Client) {
		var last store.Event
		for i := range 55 {
			last = appendEvent(t, s, kind.Notifications, fmt.Sprintf(`{"type":"info","title":"t%d","message":"m"}`, i))
		}
		h := history(t, s, kind.Notifications)
		if len(h.Events) != 50 || h.Floor().Offset != 5 {
			t.Errorf("kept %d events after offset %d, want 50 after 5", len(h.Events), h.Floor().Offset)
		}
		want := fmt.Sprintf(`{"id":"%s","timestamp":%d,"type":"info","title":"t54","message":"m","read":false}`, last.ID(), last.Time)
		if string(last.Data) != want {
			t.Errorf("data: got %s, want %s", last.Data, want)
		}
	})
}

func TestAppendAnnouncesTheStoredTextOnTheLiveChannel(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, rdb *redis.Client) {
		sub := rdb.Subscribe(t.Context(), s.Names().Live("orders"))
		defer sub.Close()
		if _, err := sub.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
		e := appendEvent(t, s, "orders", `{"n":1}`)
		m, err := sub.ReceiveMessage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a, err := store.ParseAnnouncement("orders", []byte(m.Payload))
		if err != nil || len(a.Events) != 1 || a.Events[0].Position != e.Position || string(a.Events[0].Data) != `{"n":1}` || a.Marker != "" {
			t.Errorf("announcement %q: %+v, %v", m.Payload, a, err)
		}
	})
}

func TestTheSameIdempotencyKeyPublishesOnce(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, rdb *redis.Client) {
		first, again, err := s.Append(t.Context(), draft(t, "orders", `1`), store.AppendOptions{IdempotencyKey: "k"})
		if err != nil || again {
			t.Fatalf("first: again=%v, %v", again, err)
		}
		second, again, err := s.Append(t.Context(), draft(t, "orders", `2`), store.AppendOptions{IdempotencyKey: "k"})
		if err != nil || !again || second.Position != first.Position || string(second.Data) != `1` {
			t.Errorf("second: again=%v, %v, %+v", again, err, second)
		}
		if h := history(t, s, "orders"); len(h.Events) != 1 {
			t.Errorf("stored %d events, want 1", len(h.Events))
		}
		keys, _ := rdb.Keys(t.Context(), "*:once:*").Result()
		if len(keys) != 1 || rdb.TTL(t.Context(), keys[0]).Val() > 5*time.Minute {
			t.Errorf("keys of idempotency: %v", keys)
		}
	})
}

func TestConcurrentAppendsGetDifferentOffsets(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, _ *redis.Client) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		seen := make(map[uint64]bool)
		for range 50 {
			wg.Go(func() {
				e, _, err := s.Append(t.Context(), kind.Draft{Channel: "c", Data: []byte(`1`)}, store.AppendOptions{})
				mu.Lock()
				defer mu.Unlock()
				if err != nil || seen[e.Position.Offset] {
					t.Errorf("offset %d twice, or %v", e.Position.Offset, err)
				}
				seen[e.Position.Offset] = true
			})
		}
		wg.Wait()
	})
}

func TestATaskKeepsOnlyItsStateAndEndsWithIt(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, rdb *redis.Client) {
		appendEvent(t, s, "progress:t1", `{"progress":20,"message":"reading"}`)
		failed := appendEvent(t, s, "progress:t1", `{"status":"failed","message":"disk full"}`)
		want := `{"taskId":"t1","progress":20,"status":"failed","message":"disk full","currentStep":""}`
		if string(failed.Data) != want || !failed.Final {
			t.Errorf("state: got %s (final %v), want %s", failed.Data, failed.Final, want)
		}
		h := history(t, s, "progress:t1")
		if len(h.Events) != 1 || !h.Final || !h.Events[0].Final {
			t.Errorf("history of a failed task: %+v", h)
		}
		_, _, err := s.Append(t.Context(), draft(t, "progress:t1", `{"progress":100}`), store.AppendOptions{})
		if !errors.Is(err, store.ErrEnded) {
			t.Errorf("report after the end: got %v, want ErrEnded", err)
		}
		for _, k := range []string{"sluice:history:{progress:t1}", "sluice:meta:{progress:t1}"} {
			if ttl := rdb.TTL(t.Context(), k).Val(); ttl <= 0 || ttl > time.Minute {
				t.Errorf("TTL of %s after the end: %v, want a minute", k, ttl)
			}
		}
	})
}

// A worker that reports a failure may not know how far the task was.
func TestAFailureKeepsTheProgressOfTheReportBefore(t *testing.T) {
	failure := `{"status":"failed","message":"disk full"}`
	for _, test := range []struct {
		name    string
		reports []string
		want    string
	}{
		{"after some reports", []string{`{"progress":20}`, `{"progress":40.5}`}, "40.5"},
		{"after a small one", []string{`{"progress":0.0000001}`}, "1e-7"},
		{"after a pending one", []string{`{"progress":20}`, `{"status":"pending"}`}, "0"},
		{"after a text that looks like progress", []string{`{"progress":20,"message":"\"progress\":7,"}`}, "20"},
		{"after none", nil, "0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			each(t, func(t *testing.T, s *store.Store, rdb *redis.Client) {
				for _, r := range test.reports {
					appendEvent(t, s, "progress:posted", r)
				}
				// What somebody else pushes into the list does not matter.
				rdb.LPush(t.Context(), "sluice:history:{progress:posted}", `{"data":{"taskId":"posted","progress":99}}`)
				posted := appendEvent(t, s, "progress:posted", failure)
				messages := raw(t, "progress:raw", append(test.reports, failure)...)
				if _, err := s.Adopt(t.Context(), "", "progress:raw", "A", 1, messages); err != nil {
					t.Fatal(err)
				}
				for id, got := range map[string]store.Event{"posted": posted, "raw": history(t, s, "progress:raw").Events[0]} {
					want := `{"taskId":"` + id + `","progress":` + test.want + `,"status":"failed","message":"disk full","currentStep":""}`
					if string(got.Data) != want {
						t.Errorf("%s:\n got %s\nwant %s", id, got.Data, want)
					}
				}
			})
		})
	}
}

func TestOnlyTasksRememberTheirProgress(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, rdb *redis.Client) {
		appendEvent(t, s, "progress:t1", `{"progress":20}`)
		appendEvent(t, s, "orders", `{"progress":20}`)
		appendEvent(t, s, kind.Notifications, `{"type":"info","title":"a","message":"b","progress":20}`)
		for channel, want := range map[string]string{"progress:t1": "20", "orders": "", kind.Notifications: ""} {
			if got := rdb.HGet(t.Context(), "sluice:meta:{"+channel+"}", "progress").Val(); got != want {
				t.Errorf("%s: got %q, want %q", channel, got, want)
			}
		}
	})
}

func TestATaskIsStartedOnce(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, _ *redis.Client) {
		d := draft(t, "progress:t1", `{"status":"pending"}`)
		if _, _, err := s.Append(t.Context(), d, store.AppendOptions{IfNew: true}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Append(t.Context(), d, store.AppendOptions{IfNew: true}); !errors.Is(err, store.ErrExists) {
			t.Errorf("second start: got %v, want ErrExists", err)
		}
	})
}

func raw(t *testing.T, channel string, payloads ...string) []store.RawMessage {
	t.Helper()
	var all []store.RawMessage
	for _, p := range payloads {
		d, err := kind.DraftPayload(channel, []byte(p), 1000)
		m := store.RawMessage{Draft: d, Payload: []byte(p)}
		if err != nil {
			m.Reason = err.Error()
		}
		all = append(all, m)
	}
	return all
}

func TestARawMessageIsAdoptedOnceHoweverOftenItIsPresented(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, _ *redis.Client) {
		adopt := func(marker string, first uint64, payloads ...string) store.Adopted {
			a, err := s.Adopt(t.Context(), "", "orders", marker, first, raw(t, "orders", payloads...))
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		adopt("A", 1, `"x"`, `"x"`) // equal payloads are two events
		adopt("A", 1, `"x"`)        // another replica is late
		adopt("A", 2, `"x"`, `"y"`) // and another one has the third already
		if a := adopt("A", 3, `"y"`); a.Before != 3 || a.Stored != 0 {
			t.Errorf("third message presented again: %+v", a)
		}
		adopt("B", 1, `plain text`) // after a new marker numbers begin anew
		if got, want := datas(history(t, s, "orders").Events), `"x" "x" "y" "plain text"`; got != want {
			t.Errorf("history: got %s, want %s", got, want)
		}
	})
}

// The Redis that is asked may be another one than that from which the messages came, or have been restarted since.
func TestRawMessagesAreTakenInOnlyByTheRedisThatHasTheirConnection(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, rdb *redis.Client) {
		session := s.Names().Session(store.NewNonce())
		adopt := func() (store.Adopted, error) {
			return s.Adopt(t.Context(), session, "orders", "A", 1, raw(t, "orders", "x", "y"))
		}
		a, err := adopt()
		if a != (store.Adopted{}) || store.TroubleOf(err).Code != "redis_elsewhere" || !store.Temporary(err) || errors.Is(err, store.ErrUncertain) {
			t.Errorf("without the connection: %+v, %v", a, err)
		}
		if s.Refusal() != nil {
			t.Errorf("this counts as a refusal of Redis: %+v", s.Refusal())
		}
		sub := rdb.Subscribe(t.Context(), session)
		defer sub.Close()
		if _, err := sub.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
		if a, err := adopt(); err != nil || a.Before != 0 || a.Stored != 2 {
			t.Errorf("with it: %+v, %v", a, err)
		}
	})
}

func TestANoticeSaysWhatIsTakenInWhereNoAnnouncementDoes(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, rdb *redis.Client) {
		sub := rdb.Subscribe(t.Context(), s.Names().Adopted)
		defer sub.Close()
		if _, err := sub.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
		adopt := func(channel string, first uint64, payloads ...string) {
			t.Helper()
			if _, err := s.Adopt(t.Context(), "", channel, "M", first, raw(t, channel, payloads...)); err != nil {
				t.Fatal(err)
			}
		}
		adopt("progress:t", 1, `{"progress":1}`, `{"progress":2}`) // replicas follow it by a pattern
		adopt("progress:t", 2, `{"progress":2}`)                   // in vain
		adopt("orders", 1, `1`)                                    // who gets the message gets the announcement
		adopt(kind.Notifications, 1, `{"type":"info"}`)            // it is rejected, which is not announced
		adopt("progress:no name", 1, `{"progress":1}`)
		for _, want := range []store.Notice{
			{Channel: "progress:t", Marker: "M", Number: 2},
			{Channel: kind.Notifications, Marker: "M", Number: 1},
			{Channel: "progress:no name", Marker: "M", Number: 1},
		} {
			m, err := sub.ReceiveMessage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if n, err := store.ParseNotice([]byte(m.Payload)); err != nil || n != want {
				t.Errorf("notice %+v (%v), want %+v", n, err, want)
			}
		}
		if n, err := store.ParseNotice([]byte("M x orders")); err == nil {
			t.Errorf("understood a notice without a number: %+v", n)
		}
	})
}

func TestARejectedRawMessageIsKeptOnceWithItsReason(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, _ *redis.Client) {
		for range 3 {
			if _, err := s.Adopt(t.Context(), "", kind.Notifications, "A", 1,
				raw(t, kind.Notifications, `{"type":"info"}`, `hello`, "{\"bad\xff")); err != nil {
				t.Fatal(err)
			}
		}
		h := history(t, s, kind.Notifications)
		if len(h.Events) != 1 || !strings.Contains(string(h.Events[0].Data), `"message":"hello"`) {
			t.Errorf("history: %s", datas(h.Events))
		}
		rejected, err := s.Rejected(t.Context(), kind.Notifications)
		if err != nil || len(rejected) != 2 {
			t.Fatalf("rejected: %s, %v", rejected, err)
		}
		if !strings.Contains(string(rejected[1]), `"reason":"Missing required fields`) {
			t.Errorf("reason: %s", rejected[1])
		}
		// A task that has ended is a reason too.
		for i, p := range []string{`{"progress":100}`, `{"progress":50}`} {
			if _, err := s.Adopt(t.Context(), "", "progress:t", "A", uint64(i+1), raw(t, "progress:t", p)); err != nil {
				t.Fatal(err)
			}
		}
		rejected, err = s.Rejected(t.Context(), "progress:t")
		if err != nil || len(rejected) != 1 || !strings.Contains(string(rejected[0]), "already ended") {
			t.Errorf("rejected: %s, %v", rejected, err)
		}
	})
}

func TestAnErrorOfRedisIsReported(t *testing.T) {
	server := storetest.Mini(t)
	s := store.New(server.Client(t), config)
	server.Mini.SetError("LOADING Redis is loading the dataset in memory")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, _, err := s.Append(ctx, kind.Draft{Channel: "c", Data: []byte(`1`)}, store.AppendOptions{}); err == nil {
		t.Error("append: no error")
	}
	if _, errs := s.Tips(ctx, []string{"c"}, true); errs[0] == nil {
		t.Error("tips: no error")
	}
	if _, err := s.History(ctx, "c"); err == nil {
		t.Error("history: no error")
	}
}

func TestOneChannelsBrokenKeyDoesNotConcernTheOthers(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, rdb *redis.Client) {
		e := appendEvent(t, s, "good", `1`)
		if err := rdb.Set(t.Context(), "sluice:meta:{bad}", "somebody else's", time.Minute).Err(); err != nil {
			t.Fatal(err)
		}
		tips, errs := s.Tips(t.Context(), []string{"bad", "good", "new"}, true)
		if errs[0] == nil || errs[1] != nil || errs[2] != nil || tips[1].Position != e.Position {
			t.Errorf("tips %+v, errors %v", tips, errs)
		}
	})
}
