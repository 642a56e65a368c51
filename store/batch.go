package store

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Bounds of batches.
const (
	batchCalls   = 128             // in one batch
	maxSenders   = 2               // batches that wait for replies at the same time; with more of them each would be smaller
	batchTimeout = 5 * time.Second // for sending a batch and getting all replies
)

// batcher sends scripts to Redis. Calls that wait at the same time share a round trip: a lone call is sent at once, and
// calls that arrive while others are on their way wait for the next batch. It is safe for concurrent use.
//
// go-redis has a similar AutoPipeline, but calls it experimental.
type batcher struct {
	rdb     redis.UniversalClient
	sending sync.WaitGroup // the goroutines that send

	mu      sync.Mutex
	waiting []*call // guarded by mu
	senders int     // goroutines that send; guarded by mu
}

// call is one script call.
type call struct {
	script *redis.Script
	keys   []string
	args   []any
	reply  *redis.Cmd
	done   chan struct{} // closed when reply is set

	sent      bool // guarded by batcher.mu
	abandoned bool // the caller gave up before the call was sent; guarded by batcher.mu
}

// errNotSent is the error of a call that was not sent before its caller gave up.
var errNotSent = errors.New("redis is too slow")

// run runs a script and waits for the reply, at most until ctx ends. If the error is errNotSent, Redis has not run the
// script and will not run it. If it is the error of ctx, Redis may still run the script.
func (b *batcher) run(ctx context.Context, script *redis.Script, keys []string, args []any) *redis.Cmd {
	c := &call{script: script, keys: keys, args: args, done: make(chan struct{})}
	b.mu.Lock()
	b.waiting = append(b.waiting, c)
	if b.senders < maxSenders {
		b.senders++
		b.sending.Go(b.send)
	}
	b.mu.Unlock()
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

// wait waits until no call is being sent or answered. No call may be made after it.
func (b *batcher) wait() { b.sending.Wait() }

// send sends batches until no call waits.
func (b *batcher) send() {
	for {
		b.mu.Lock()
		n := min(len(b.waiting), batchCalls)
		if n == 0 {
			b.senders--
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
		b.sendBatch(batch)
	}
}

// sendBatch runs the scripts of a batch in one round trip. Each call gets a reply or an error of its own.
func (b *batcher) sendBatch(batch []*call) {
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	defer cancel()
	p := b.rdb.Pipeline()
	for _, c := range batch {
		c.reply = c.script.EvalSha(ctx, p, c.keys, c.args...)
	}
	_, _ = p.Exec(ctx) // if the whole pipeline fails, each call gets the error too
	for _, c := range batch {
		if err := c.reply.Err(); err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") {
			c.reply = c.script.Eval(ctx, b.rdb, c.keys, c.args...) // Redis does not know the script yet; EVAL loads it
		}
		close(c.done)
	}
}
