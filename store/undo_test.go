package store_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/store"
	"sluice/store/kind"
	"sluice/store/storetest"
)

// contents returns everything that Redis holds but the format, as text by key. An empty string, and an empty field of a
// hash, stand for none.
func contents(t *testing.T, rdb *redis.Client) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, key := range keysOf(t, rdb) {
		switch rdb.Type(t.Context(), key).Val() {
		case "list":
			all[key] = fmt.Sprint(rdb.LRange(t.Context(), key, 0, -1).Val())
		case "hash":
			fields := rdb.HGetAll(t.Context(), key).Val()
			maps.DeleteFunc(fields, func(_, value string) bool { return value == "" })
			if len(fields) > 0 {
				all[key] = fmt.Sprint(fields)
			}
		default:
			if text := rdb.Get(t.Context(), key).Val(); text != "" {
				all[key] = text
			}
		}
	}
	return all
}

// keysOf returns all keys but the two that name the format and the dataset, which have no TTL.
func keysOf(t *testing.T, rdb *redis.Client) []string {
	t.Helper()
	return slices.DeleteFunc(rdb.Keys(t.Context(), "*").Val(), func(key string) bool {
		return key == "sluice:format" || key == "sluice:epoch"
	})
}

// restricted returns a client whose user may do everything but what the rules forbid.
func restricted(t *testing.T, server *storetest.Server, admin *redis.Client, rules ...string) *redis.Client {
	t.Helper()
	args := []any{"ACL", "SETUSER", "gateway", "reset", "on", ">secret", "~*", "&*", "+@all"}
	for _, r := range rules {
		args = append(args, r)
	}
	if err := admin.Do(t.Context(), args...).Err(); err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr, Username: "gateway", Password: "secret"})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// rights are the parts of a publish that a user of Redis may lack the right to.
var rights = [][]string{
	{"-publish"}, {"resetchannels"}, {"-lpush"}, {"-hset"}, {"-set"}, {"-expire"}, {"-hmget"}, {"-llen"}, {"-get"}, {"-time"},
	{"-publish", "-hdel"}, {"-lpush", "-hdel"}, {"-publish", "-hdel", "-del"},
}

func TestAPublishThatRedisRefusesHalfWayLeavesNothingBehind(t *testing.T) {
	server := storetest.Real(t)
	admin := server.Client(t)
	for _, rules := range rights {
		for _, before := range []int{0, 1, config.HistorySize} { // events that the channel has
			for _, channel := range []string{"orders", "progress:t1"} {
				t.Run(fmt.Sprintf("%s/%d/%s", strings.Join(rules, " "), before, channel), func(t *testing.T) {
					testRefusedPublish(t, server, admin, rules, before, channel)
				})
			}
		}
	}
}

func testRefusedPublish(t *testing.T, server *storetest.Server, admin *redis.Client, rules []string, before int, channel string) {
	if err := admin.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	all := store.New(admin, config)
	for i := range before {
		appendEvent(t, all, channel, fmt.Sprintf(`{"progress":%d}`, i))
	}
	was := contents(t, admin)
	d := draft(t, channel, `{"progress":100}`)
	s := store.New(restricted(t, server, admin, rules...), config)
	for range 3 {
		_, _, err := s.Append(t.Context(), d, store.AppendOptions{IdempotencyKey: "k"})
		if got := store.TroubleOf(err).Code; err == nil || errors.Is(err, store.ErrUncertain) || got != "redis_forbidden" {
			t.Errorf("got %v, code %s; want a refusal after which nothing is done", err, got)
		}
		if r := s.Refusal(); r == nil || r.Code != "redis_forbidden" || time.Since(r.At) > time.Minute {
			t.Errorf("refusal: got %+v", r)
		}
		if is := contents(t, admin); !maps.Equal(is, was) {
			t.Errorf("refused with %v, but Redis had\n%v\nand has\n%v", err, was, is)
		}
	}
	// Once the user may, the same idempotency key stores the event, once.
	e, _, err := all.Append(t.Context(), d, store.AppendOptions{IdempotencyKey: "k"})
	if err != nil {
		t.Fatal(err)
	}
	h := history(t, all, channel)
	if n := len(h.Events); n == 0 || h.Events[n-1].Position != e.Position || e.Position.Offset != uint64(before+1) {
		t.Errorf("stored %v as %v", datas(h.Events), e.Position)
	}
	for _, key := range keysOf(t, admin) {
		if ttl := admin.PTTL(t.Context(), key).Val(); ttl <= 0 {
			t.Errorf("key %s has the TTL %v", key, ttl)
		}
	}
}

// The events cannot be taken out of the list again. Then they stay as stored, and so does what says so.
func TestAPublishThatCannotBeUndoneIsUncertainAndARepetitionFindsIt(t *testing.T) {
	server := storetest.Real(t)
	admin := server.Client(t)
	s := store.New(restricted(t, server, admin, "-publish", "-ltrim"), config)
	d := draft(t, "orders", `1`)
	if _, _, err := s.Append(t.Context(), d, store.AppendOptions{IdempotencyKey: "k"}); !errors.Is(err, store.ErrUncertain) {
		t.Errorf("got %v, want ErrUncertain", err)
	}
	if e, again, err := s.Append(t.Context(), d, store.AppendOptions{IdempotencyKey: "k"}); err != nil || !again || e.Position.Offset != 1 {
		t.Errorf("repeated: got %+v, %v, %v", e, again, err)
	}
	for range 3 {
		_, err := s.Adopt(t.Context(), "", "raw", "A", 1, raw(t, "raw", "x", "y"))
		if n := len(history(t, s, "raw").Events); n != 2 {
			t.Errorf("raw messages: %d events stored, want 2 (%v)", n, err)
		}
	}
}

func TestRawMessagesThatRedisRefusesHalfWayAreStoredOnce(t *testing.T) {
	server := storetest.Real(t)
	admin := server.Client(t)
	for _, rules := range rights {
		t.Run(strings.Join(rules, " "), func(t *testing.T) {
			if err := admin.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			s := store.New(restricted(t, server, admin, rules...), config)
			messages := raw(t, kind.Notifications, "one", `{"type":"info"}`, "two") // the second one is rejected
			was := contents(t, admin)
			for range 12 {
				_, err := s.Adopt(t.Context(), "", kind.Notifications, "A", 1, messages)
				if err == nil || errors.Is(err, store.ErrUncertain) {
					t.Fatalf("got %v, want a refusal after which nothing is done", err)
				}
				if is := contents(t, admin); !maps.Equal(is, was) {
					t.Errorf("refused with %v, but Redis has %v", err, is)
				}
			}
			all := store.New(admin, config)
			if _, err := all.Adopt(t.Context(), "", kind.Notifications, "A", 1, messages); err != nil {
				t.Fatal(err)
			}
			if n := len(history(t, all, kind.Notifications).Events); n != 2 {
				t.Errorf("%d events stored, want 2", n)
			}
			if n := admin.LLen(t.Context(), "sluice:rejected:{notifications}").Val(); n != 1 {
				t.Errorf("%d messages rejected, want 1", n)
			}
		})
	}
}

func TestAListThatCannotBeTrimmedStaysBounded(t *testing.T) {
	server := storetest.Real(t)
	admin := server.Client(t)
	s := store.New(restricted(t, server, admin, "-ltrim"), config)
	for i := range 3 * config.HistorySize {
		_, _, err := s.Append(t.Context(), draft(t, "orders", `1`), store.AppendOptions{})
		if refused := i > config.HistorySize; (err != nil) != refused {
			t.Errorf("event %d: %v", i+1, err)
		}
	}
	if n := admin.LLen(t.Context(), "sluice:history:{orders}").Val(); n != int64(config.HistorySize)+1 {
		t.Errorf("the list has %d events", n)
	}
}

func TestWhatAChannelRefusesForGoodCanBePutAside(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, rdb *redis.Client) {
		for _, key := range []string{"sluice:meta:{orders}", "sluice:history:{orders}"} {
			if err := rdb.Set(t.Context(), key, "x", time.Hour).Err(); err != nil {
				t.Fatal(err)
			}
		}
		messages := raw(t, "orders", "x", "y")
		_, err := s.Adopt(t.Context(), "", "orders", "A", 1, messages)
		if err == nil || store.Temporary(err) {
			t.Fatalf("got %v, want an error for good", err)
		}
		for i := range messages {
			messages[i].Reason = store.TroubleOf(err).Message
		}
		for _, want := range []int{2, 0} { // the second time they are done with
			if a, err := s.Adopt(t.Context(), "", "orders", "A", 1, messages); err != nil || a.Rejected != want || a.Unlisted != 0 {
				t.Errorf("put aside: %+v, %v; want %d", a, err, want)
			}
		}
		if rejected, err := s.Rejected(t.Context(), "orders"); err != nil || len(rejected) != 2 ||
			!strings.Contains(string(rejected[0]), "that the gateway did not write") {
			t.Errorf("rejected: %s, %v", rejected, err)
		}
	})
}

func TestARejectedListOfAnotherProgramHoldsUpNothing(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, rdb *redis.Client) {
		if err := rdb.Set(t.Context(), "sluice:rejected:{notifications}", "x", time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
		a, err := s.Adopt(t.Context(), "", kind.Notifications, "A", 1, raw(t, kind.Notifications, `{"type":"info"}`, "two"))
		if err != nil || a.Stored != 1 || a.Rejected != 1 || a.Unlisted != 1 {
			t.Errorf("got %+v, %v", a, err)
		}
	})
}

func TestAKeyOfAnotherProgramRefusesAPublishAndStaysAsItIs(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, rdb *redis.Client) {
		for name, spoil := range map[string]func(key string) error{
			"a string":      func(key string) error { return rdb.Set(t.Context(), key, "x", time.Hour).Err() },
			"a set":         func(key string) error { return rdb.SAdd(t.Context(), key, "x").Err() },
			"another's map": func(key string) error { return rdb.HSet(t.Context(), key, "offset", "many", "nonce", "x").Err() },
			"a bad nonce":   func(key string) error { return rdb.HSet(t.Context(), key, "base", "0000000000", "nonce", `"`).Err() },
			"a bad report":  func(key string) error { return rdb.HSet(t.Context(), key, "base", "0000000000", "progress", `}`).Err() },
		} {
			for _, key := range []string{"sluice:meta:{orders}", "sluice:history:{orders}"} {
				if err := rdb.FlushAll(t.Context()).Err(); err != nil {
					t.Fatal(err)
				}
				if err := spoil(key); err != nil {
					t.Fatal(err)
				}
				was := contents(t, rdb)
				_, _, err := s.Append(t.Context(), draft(t, "orders", `1`), store.AppendOptions{IdempotencyKey: "k"})
				_, err2 := s.Adopt(t.Context(), "", "orders", "A", 1, raw(t, "orders", "x"))
				for _, err := range []error{err, err2} {
					if got := store.TroubleOf(err); err == nil || got.Temporary || errors.Is(err, store.ErrUncertain) {
						t.Errorf("%s is %s: got %v, %+v", key, name, err, got)
					}
				}
				if r := s.Refusal(); r != nil {
					t.Errorf("%s is %s: it is told as a refusal of Redis's: %+v", key, name, r)
				}
				if is := contents(t, rdb); !maps.Equal(is, was) {
					t.Errorf("%s was %s: Redis has %v", key, name, is)
				}
			}
		}
	})
}
