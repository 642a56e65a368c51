package store

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Bounds of a batch.
const (
	batchCalls   = 128
	batchFlights = 2 // batches on their way at a time: one more would only make each smaller
	batchTimeout = 5 * time.Second
)

// batcher sends scripts that are called at the same time in one round trip. A lone call goes at once; calls that come
// while batches are on their way go together in the next. It is safe for concurrent use.
//
// go-redis has the like (AutoPipeline), but calls it experimental.
type batcher struct {
	rdb redis.UniversalClient

	mu      sync.Mutex
	waiting []*call // guarded by mu
	flights int     // guarded by mu
}

// call is one script call.
type call struct {
	script *redis.Script
	keys   []string
	args   []any
	reply  *redis.Cmd
	done   chan struct{} // closed when reply is set

	sent      bool // guarded by batcher.mu
	abandoned bool // the caller has given up before it was sent; guarded by batcher.mu
}

// errNotSent is the error of a call whose turn did not come in time.
var errNotSent = errors.New("redis is too slow")

// run runs a script. If ctx ends first, the script is not run (errNotSent) or may run all the same (ctx's error).
func (b *batcher) run(ctx context.Context, script *redis.Script, keys []string, args []any) *redis.Cmd {
	c := &call{script: script, keys: keys, args: args, done: make(chan struct{})}
	b.mu.Lock()
	b.waiting = append(b.waiting, c)
	fly := b.flights < batchFlights
	if fly {
		b.flights++
	}
	b.mu.Unlock()
	if fly {
		go b.fly() // ends when nothing waits any more
	}
	select {
	case <-c.done:
		return c.reply
	case <-ctx.Done():
		failed := redis.NewCmd(ctx)
		failed.SetErr(ctx.Err())
		b.mu.Lock()
		defer b.mu.Unlock()
		if !c.sent {
			c.abandoned = true
			failed.SetErr(errNotSent)
		}
		return failed
	}
}

// fly sends batches until nothing waits.
func (b *batcher) fly() {
	for {
		b.mu.Lock()
		n := min(len(b.waiting), batchCalls)
		if n == 0 {
			b.flights--
			b.waiting = nil
			b.mu.Unlock()
			return
		}
		batch := make([]*call, 0, n)
		for _, c := range b.waiting[:n] {
			if !c.abandoned {
				c.sent = true
				batch = append(batch, c)
			}
		}
		b.waiting = b.waiting[n:]
		b.mu.Unlock()
		b.send(batch)
	}
}

// send runs a batch in one round trip. Each call's error is its own.
func (b *batcher) send(batch []*call) {
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	defer cancel()
	p := b.rdb.Pipeline()
	for _, c := range batch {
		c.reply = c.script.EvalSha(ctx, p, c.keys, c.args...)
	}
	_, _ = p.Exec(ctx) // an error of the whole is in each of them as well
	for _, c := range batch {
		if err := c.reply.Err(); err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") {
			c.reply = c.script.Eval(ctx, b.rdb, c.keys, c.args...) // Redis has not run it, and knows it from now on
		}
		close(c.done)
	}
}
