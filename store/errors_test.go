package store_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/store"
	"sluice/store/storetest"
)

// reply is an error that Redis answered with.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

var _ redis.Error = reply("")

func TestWhatRedisSaidIsToldInOurWords(t *testing.T) {
	for _, test := range []struct {
		reply, code string
		temporary   bool
	}{
		{"OOM command not allowed when used memory > 'maxmemory'.", "redis_full", true},
		{"OOM command not allowed when used memory > 'maxmemory'. script: 63, on @user_script:35.", "redis_full", true},
		{"ERR Error running script (call to f_63): @user_script:35: -OOM command not allowed when used memory > 'maxmemory'.", "redis_full", true},
		{"ERR Error running script (call to f_63): @user_script: 35: WRONGTYPE Operation against a key", "redis_wrong_type", false},
		{"MISCONF Redis is configured to save RDB snapshots", "redis_disk", true},
		{"LOADING Redis is loading the dataset in memory", "redis_loading", true},
		{"BUSY Redis is busy running a script.", "redis_busy", true},
		{"READONLY You can't write against a read only replica.", "redis_read_only", true},
		{"MASTERDOWN Link with MASTER is down", "redis_read_only", true},
		{"NOREPLICAS Not enough good replicas to write.", "redis_replicas", true},
		{"CLUSTERDOWN The cluster is down", "redis_cluster_down", true},
		{"TRYAGAIN Multiple keys request during rehashing of slot", "redis_cluster_down", true},
		{"MOVED 3999 10.0.0.9:6381", "redis_cluster", false},
		{"ASK 3999 10.0.0.9:6381", "redis_cluster", false},
		{"CROSSSLOT Keys in request don't hash to the same slot", "redis_cluster", false},
		{"WRONGTYPE Operation against a key holding the wrong kind of value", "redis_wrong_type", false},
		{"NOPERM this user has no permissions to run the 'evalsha' command", "redis_forbidden", false},
		{"ERR The user executing the script can't run this command or subcommand script: cf", "redis_forbidden", false},
		{"NOAUTH Authentication required.", "redis_login", false},
		{"WRONGPASS invalid username-password pair or user is disabled.", "redis_login", false},
		{"ERR max number of clients reached", "redis_error", true},
		{"SOMETHING new", "redis_error", true},
	} {
		err := fmt.Errorf("append to channel %q: %w", "orders", reply(test.reply))
		got := store.TroubleOf(err)
		if got.Code != test.code || got.Temporary != test.temporary || store.Temporary(err) != test.temporary {
			t.Errorf("%s: got %+v, temporary %v; want %s, %v", test.reply, got, store.Temporary(err), test.code, test.temporary)
		}
		for word := range strings.FieldsSeq(test.reply) {
			if strings.ContainsAny(word, ".:'_") && strings.Contains(got.Message, word) {
				t.Errorf("%s: %q has %q of it", test.reply, got.Message, word)
			}
		}
	}
}

func TestAnErrorThatIsNotAReplyIsSilence(t *testing.T) {
	for _, err := range []error{
		&net.OpError{Op: "dial", Err: errors.New("connection refused")}, redis.ErrPoolTimeout, redis.ErrClosed,
		fmt.Errorf("append: %w: %w", store.ErrUncertain, errors.New("EOF")),
	} {
		if got := store.TroubleOf(err); got.Code != "unavailable" || !store.Temporary(err) {
			t.Errorf("%v: got %+v", err, got)
		}
	}
}

func TestWhatIsDecidedForGoodIsNotTemporary(t *testing.T) {
	for _, err := range []error{nil, store.ErrEnded, store.ErrExists, fmt.Errorf("task: %w", store.ErrEnded)} {
		if store.Temporary(err) {
			t.Errorf("%v is temporary", err)
		}
	}
}

// The replies of real servers, through the scripts.
func TestWhyARedisTakesNoEventIsRecognised(t *testing.T) {
	try := func(s *store.Store, channel string) store.Trouble {
		_, _, err := s.Append(t.Context(), draft(t, channel, `1`), store.AppendOptions{})
		if err == nil {
			t.Errorf("channel %s: the event was taken", channel)
		}
		return store.TroubleOf(err)
	}
	each(t, func(t *testing.T, s *store.Store, rdb *redis.Client) {
		for key, channel := range map[string]string{"sluice:meta:{meta}": "meta", "sluice:history:{list}": "list"} {
			if err := rdb.Set(t.Context(), key, "somebody else's", time.Minute).Err(); err != nil {
				t.Fatal(err)
			}
			if got := try(s, channel); got.Code != "redis_wrong_type" {
				t.Errorf("%s: got %+v", key, got)
			}
		}
		// Another program's fields in the hash.
		rdb.HSet(t.Context(), "sluice:meta:{fields}", "base", "0000000000", "offset", "1", "nonce", "rubbish")
		if _, err := s.History(t.Context(), "fields"); store.TroubleOf(err).Code != "redis_unreadable" {
			t.Errorf("a foreign hash: got %v", err)
		}
	})
	rdb := storetest.Real(t).Client(t)
	s := store.New(rdb, config)
	configure := func(name, value string) {
		if err := rdb.ConfigSet(t.Context(), name, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	configure("maxmemory", "1")
	if got := try(s, "orders"); got.Code != "redis_full" {
		t.Errorf("a full Redis: got %+v", got)
	}
	configure("maxmemory", "0")
	configure("min-replicas-to-write", "1")
	if got := try(s, "orders"); got.Code != "redis_replicas" {
		t.Errorf("too few replicas: got %+v", got)
	}
	configure("min-replicas-to-write", "0")
	rdb.Do(t.Context(), "ACL", "SETUSER", "default", "-lpush")
	if got := try(s, "orders"); got.Code != "redis_forbidden" {
		t.Errorf("a user without LPUSH: got %+v", got)
	}
}

func TestARefusedLoginIsSaidAndNothingWasStored(t *testing.T) {
	server := storetest.Real(t)
	s := store.New(server.Client(t), config)
	appendEvent(t, s, "orders", `1`) // the format is known
	if err := server.Client(t).ConfigSet(t.Context(), "requirepass", "secret").Err(); err != nil {
		t.Fatal(err)
	}
	right := redis.NewClient(&redis.Options{Addr: server.Addr, Password: "secret"})
	t.Cleanup(func() { _ = right.Close() })
	wrong := redis.NewClient(&redis.Options{Addr: server.Addr, Password: "wrong"})
	t.Cleanup(func() { _ = wrong.Close() })
	if err := store.New(wrong, config).CheckFormat(t.Context()); store.TroubleOf(err).Code != "redis_login" {
		t.Errorf("format: got %v", err)
	}
	// A server that kills connections makes those who come back log in again.
	if err := right.Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, _, err := s.Append(t.Context(), draft(t, "orders", `2`), store.AppendOptions{})
		if err == nil || errors.Is(err, store.ErrUncertain) && store.TroubleOf(err).Code == "redis_login" {
			t.Errorf("append: got %v", err)
		}
	}
	if n := len(history(t, store.New(right, config), "orders").Events); n != 1 {
		t.Errorf("%d events stored, want 1", n)
	}
}
