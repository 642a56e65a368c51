package store_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/store"
	"sluice/store/storetest"
)

// held is a hook that lets a pipeline through once it is released.
type held struct {
	release chan struct{}
	sent    *atomic.Bool // set when a pipeline has been through
}

func (held) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (held) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h held) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		<-h.release
		err := next(ctx, commands)
		h.sent.Store(true)
		return err
	}
}

func TestCloseWaitsForTheCallsOfThoseWhoGaveUp(t *testing.T) {
	rdb := storetest.Mini(t).Client(t)
	h := held{release: make(chan struct{}), sent: new(atomic.Bool)}
	rdb.AddHook(h)
	s := store.New(rdb, config)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, _, err := s.Append(ctx, draft(t, "orders", `1`), store.AppendOptions{}); !errors.Is(err, store.ErrUncertain) {
		t.Fatalf("append to a Redis that does not answer: got %v, want ErrUncertain", err)
	}
	time.AfterFunc(50*time.Millisecond, func() { close(h.release) })
	s.Close()
	if !h.sent.Load() {
		t.Error("closed while a call was on its way")
	}
}
