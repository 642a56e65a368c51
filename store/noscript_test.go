package store_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/store"
	"sluice/store/storetest"
)

// pipelines is a hook that sees every pipeline, numbered from 1. It may let it through by next.
type pipelines struct {
	seen *atomic.Int64
	each func(n int64, ctx context.Context, commands []redis.Cmder, next redis.ProcessPipelineHook) error
}

func (pipelines) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (pipelines) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h pipelines) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		return h.each(h.seen.Add(1), ctx, commands, next)
	}
}

// poll waits until ok is true.
func poll(ok func() bool) {
	for !ok() {
		time.Sleep(time.Millisecond)
	}
}

// Redis forgets scripts when it starts anew, and by SCRIPT FLUSH.
func TestABatchWhoseScriptRedisHasForgottenIsStoredAlsoBehindAnEventThatIsRefused(t *testing.T) {
	server := storetest.Real(t)
	rdb, admin := server.Client(t), server.Client(t)
	if err := admin.Set(t.Context(), "sluice:meta:{a}", "of another program", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s := store.New(rdb, config)
	defer s.Close()
	if err := s.CheckFormat(t.Context()); err != nil {
		t.Fatal(err)
	}
	release, taken := make(chan struct{}), make(chan struct{})
	var batch atomic.Int64 // the number of commands of the third pipeline
	var seen atomic.Int64
	rdb.AddHook(pipelines{&seen, func(n int64, ctx context.Context, commands []redis.Cmder, next redis.ProcessPipelineHook) error {
		switch n {
		case 1, 2:
			<-release
			if n == 2 {
				<-taken // the other sender takes everything that waits
			}
			return errors.New("no connection")
		case 3:
			batch.Store(int64(len(commands)))
			close(taken)
			if err := admin.ScriptFlush(ctx).Err(); err != nil {
				return err
			}
		}
		return next(ctx, commands)
	}})
	results := make(chan error, 8)
	send := func(channel string) {
		go func() {
			_, _, err := s.Append(t.Context(), draft(t, channel, `1`), store.AppendOptions{})
			results <- err
		}()
	}
	for i, channel := range []string{"busy", "busier"} {
		send(channel)
		poll(func() bool { return seen.Load() == int64(i+1) })
	}
	for i, channel := range []string{"a", "b", "c", "d"} { // the first one is refused, because its key is another program's
		send(channel)
		poll(func() bool { return s.Waiting() == i+1 })
	}
	close(release)
	failed := 0
	for range 6 {
		if err := <-results; err != nil {
			failed++
		}
	}
	if batch.Load() != 4 {
		t.Fatalf("the batch has %d commands, want 4", batch.Load())
	}
	if failed != 3 { // the two whose connection failed, and the one of the other program's key
		t.Errorf("%d events were not stored, want 3", failed)
	}
	for _, channel := range []string{"b", "c", "d"} {
		if n := admin.LLen(t.Context(), "sluice:history:{"+channel+"}").Val(); n != 1 {
			t.Errorf("channel %s has %d events", channel, n)
		}
	}
}

func TestAnEventIsKnownNotToBeStoredIfTheTimeIsOverBeforeRedisHasTheScript(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}) // the hook answers instead
		defer rdb.Close()
		sent := 0
		rdb.AddHook(pipelines{new(atomic.Int64), func(n int64, ctx context.Context, commands []redis.Cmder, _ redis.ProcessPipelineHook) error {
			switch n {
			case 1: // the format
				commands[0].SetErr(errors.New("OOM")) // none is there, and none can be written
				commands[1].SetErr(redis.Nil)
				return redis.Nil
			case 2: // the events: the answer comes as the time is over
				<-ctx.Done()
				commands[0].SetErr(noScriptError{})
				return noScriptError{}
			}
			sent++
			return ctx.Err()
		}})
		s := store.New(rdb, config)
		defer s.Close()
		began := time.Now()
		_, _, err := s.Append(t.Context(), draft(t, "orders", `1`), store.AppendOptions{})
		if err == nil || errors.Is(err, store.ErrUncertain) || !store.Temporary(err) {
			t.Errorf("got %v, want an error that says that nothing is stored, for now", err)
		}
		if took := time.Since(began); sent > 0 || took > 6*time.Second {
			t.Errorf("it took %v, and %d pipelines more were sent", took, sent)
		}
	})
}

// noScriptError is the reply of a Redis that does not know a script.
type noScriptError struct{}

func (noScriptError) Error() string { return "NOSCRIPT No matching script." }
func (noScriptError) RedisError()   {}
