package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Bounds of batches.
const (
	batchCalls   = 128             // that wait and are sent together
	maxSenders   = 2               // batches on their way at the same time; with more of them each would be smaller
	batchTimeout = 5 * time.Second // for a batch to be sent and answered

	stepEvents = 64        // of one channel that one script call stores; meanwhile Redis does nothing else
	stepBytes  = 256 << 10 // of these events; a single event may be larger
	// eventBytes is added to the data of an event: the greatest length of everything else in its text.
	eventBytes = 384
)

// batcher sends script calls to Redis. Calls that wait at the same time share a round trip, and the events of one channel
// among them share one run of the script. A lone call is sent at once, and calls that arrive while others are on their
// way wait for the next batch. It is safe for concurrent use.
//
// go-redis has a similar AutoPipeline, but calls it experimental.
type batcher struct {
	rdb redis.UniversalClient
	// together makes one script call for events of one channel.
	together func(channel string, calls []*call) step
	// mayWrite returns why nothing may be written, or nil. It may ask Redis.
	mayWrite func(context.Context) error
	sending  sync.WaitGroup // the goroutines that send

	mu      sync.Mutex
	waiting []*call // guarded by mu
	senders int     // goroutines that send; guarded by mu
}

// call is what one caller waits for: an event to append, or a script call of its own. Exactly one of the two is set.
type call struct {
	channel string // of event
	event   appendArgs
	once    string       // the key for the event's idempotency key, or ""
	result  appendResult // of event

	own   *step
	reply *redis.Cmd // of own

	err  error
	done chan struct{} // closed when result or reply, or err, is set

	sent      bool // guarded by batcher.mu
	abandoned bool // the caller gave up before the call was sent; guarded by batcher.mu
}

// bytes bounds the length of the event's stored text.
func (c *call) bytes() int { return len(c.event.Data) + eventBytes }

// fail ends a call that was not sent.
func (c *call) fail(err error) {
	c.err = err
	close(c.done)
}

// step is one run of a script, for one or several calls.
type step struct {
	script *redis.Script
	keys   []string
	args   []any
	calls  []*call
	cmd    *redis.Cmd
}

// errNotSent is the error of a call that was not sent, because its caller gave up before or because of another error that
// it wraps.
var errNotSent = errors.New("nothing was sent to Redis")

// do carries a call out and waits for its result, at most until ctx ends. After errNotSent nothing was done and nothing
// will be. After ctx's own error it may still be done.
func (b *batcher) do(ctx context.Context, c *call) error {
	c.done = make(chan struct{})
	b.mu.Lock()
	b.waiting = append(b.waiting, c)
	if b.senders < maxSenders {
		b.senders++
		b.sending.Go(b.send)
	}
	b.mu.Unlock()
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		b.mu.Lock()
		defer b.mu.Unlock()
		if !c.sent {
			c.abandoned = true
			return errNotSent
		}
		return ctx.Err()
	}
}

// run runs a script by itself and returns its reply. Errors are as those of do.
func (b *batcher) run(ctx context.Context, script *redis.Script, keys []string, args []any) *redis.Cmd {
	c := &call{own: &step{script: script, keys: keys, args: args}}
	if err := b.do(ctx, c); err != nil {
		failed := redis.NewCmd(ctx)
		failed.SetErr(err)
		return failed
	}
	return c.reply
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
		clear(b.waiting[:n]) // callers' data must not be kept for as long as others wait
		b.waiting = b.waiting[n:]
		b.mu.Unlock()
		b.sendBatch(batch)
	}
}

// steps groups the calls of a batch: the events of a channel go together, in the order in which they came.
func (b *batcher) steps(batch []*call) []step {
	var steps []step
	groups := make(map[string][]*call)
	bytes := make(map[string]int)
	end := func(channel string) {
		if calls := groups[channel]; len(calls) > 0 {
			steps = append(steps, b.together(channel, calls))
			delete(groups, channel)
			delete(bytes, channel)
		}
	}
	for _, c := range batch {
		if c.own != nil {
			c.own.calls = []*call{c}
			steps = append(steps, *c.own)
			continue
		}
		if len(groups[c.channel]) == stepEvents || bytes[c.channel]+c.bytes() > stepBytes {
			end(c.channel)
		}
		groups[c.channel] = append(groups[c.channel], c)
		bytes[c.channel] += c.bytes()
	}
	for _, c := range batch {
		end(c.channel)
	}
	return steps
}

// sendBatch runs the scripts of a batch in one round trip. If Redis does not know a script, it runs in a second one what
// was not run, however much that is, within the time that is left of batchTimeout. Each call gets a result or an error of
// its own.
func (b *batcher) sendBatch(batch []*call) {
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	defer cancel()
	if err := b.mayWrite(ctx); err != nil {
		for _, c := range batch {
			c.fail(fmt.Errorf("%w: %w", errNotSent, err))
		}
		return
	}
	steps := b.steps(batch)
	p := b.rdb.Pipeline()
	for i := range steps {
		steps[i].cmd = steps[i].script.EvalSha(ctx, p, steps[i].keys, steps[i].args...)
	}
	_, err := p.Exec(ctx)
	noteFailure(steps, err)
	if ctx.Err() == nil { // else Redis has run nothing of those, and that is what their callers hear
		b.sendAgain(ctx, steps)
	}
	for _, st := range steps {
		st.tell()
	}
}

// sendAgain sends the steps again whose script Redis did not know. The first one of each script carries its text: Redis
// learns it before it runs it, so the others find it even if the first one fails.
func (b *batcher) sendAgain(ctx context.Context, steps []step) {
	learns := make(map[*redis.Script]bool)
	p := b.rdb.Pipeline()
	for i := range steps {
		st := &steps[i]
		if err := st.cmd.Err(); err == nil || !strings.HasPrefix(err.Error(), "NOSCRIPT") {
			continue
		}
		if learns[st.script] {
			st.cmd = st.script.EvalSha(ctx, p, st.keys, st.args...)
		} else {
			st.cmd = st.script.Eval(ctx, p, st.keys, st.args...)
			learns[st.script] = true
		}
	}
	if p.Len() > 0 {
		_, err := p.Exec(ctx)
		noteFailure(steps, err)
	}
}

// noteFailure gives the error of a pipeline to its steps. Most errors are those of its commands already, but not that of a
// login that Redis refuses.
func noteFailure(steps []step, err error) {
	for _, st := range steps {
		if err != nil && st.cmd.Err() == nil && st.cmd.Val() == nil {
			st.cmd.SetErr(err)
		}
	}
}

// tell gives the calls of a step that was run their results.
func (st step) tell() {
	if own := st.calls[0]; own.own != nil {
		own.reply = st.cmd
		close(own.done)
		return
	}
	reply, err := st.cmd.Result()
	var results []appendResult
	if err == nil {
		results, err = appendReply(reply, len(st.calls))
	}
	for i, c := range st.calls {
		if c.err = err; err == nil {
			c.result = results[i]
		}
		close(c.done)
	}
}
