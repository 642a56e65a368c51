package pubsub

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"sluice/store"
	"sluice/store/kind"
)

// Bounds and times of taking raw messages in.
const (
	presentMessages = 64        // presented in one call
	presentBytes    = 256 << 10 // likewise
	queueBytes      = 64 << 20  // waiting, in all channels together, with queueOverhead for each message
	queueOverhead   = 64
	maxHold         = 15 * time.Minute
	joinHold        = time.Second           // a newcomer's first presentations wait
	loserHold       = 40 * time.Millisecond // so do those of a replica that usually comes second
	presentTimeout  = 5 * time.Second
)

// adopter is the part of the store that ingest needs.
type adopter interface {
	Adopt(ctx context.Context, channel, marker string, first uint64, messages []store.RawMessage) (store.Adopted, error)
}

// ingest takes raw PUBLISH messages in: it presents each one, in order and under its name, until it is stored,
// by this replica or another one.
//
// Every replica could present at once and be right; but all but one would do it in vain. So a replica that was beaten
// to it waits a moment the next time, and drops what it sees announced meanwhile.
type ingest struct {
	ctx      context.Context // ends all presenting; held because queues start goroutines when messages come
	store    adopter
	maxBytes int // of a payload
	log      *slog.Logger
	stats    *Stats

	mu      sync.Mutex
	wg      sync.WaitGroup
	queues  map[string]*queue    // by channel, while they have something; guarded by mu
	joins   map[string]time.Time // by channel: when we became a newcomer there; guarded by mu
	loser   map[string]bool      // by channel: another replica was first the last time; guarded by mu
	bytes   int                  // of all messages; guarded by mu
	stopped bool                 // no more messages are taken, and those there are wait for nobody; guarded by mu
}

// queue holds one channel's raw messages that may not be stored yet. One goroutine works on it.
type queue struct {
	channel  string
	messages []named       // guarded by ingest.mu
	covered  chan struct{} // 1: another replica's presentations were announced
}

// named is a raw message with its name.
type named struct {
	name
	payload []byte
	came    time.Time
}

func newIngest(ctx context.Context, s adopter, maxBytes int, log *slog.Logger, stats *Stats) *ingest {
	return &ingest{
		ctx: ctx, store: s, maxBytes: maxBytes, log: log, stats: stats,
		queues: make(map[string]*queue), joins: make(map[string]time.Time), loser: make(map[string]bool),
	}
}

// joined notes that we have just begun to follow channels that other replicas may be following already. A slow one
// may still have messages from before to present; ours must not overtake them.
func (g *ingest) joined(channels []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	for _, c := range channels {
		g.joins[c] = now
	}
}

// add takes a message. It does not block.
func (g *ingest) add(channel string, payload []byte, n name) {
	g.stats.RawSeen.Add(1)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return
	}
	if g.bytes+len(payload)+queueOverhead > queueBytes {
		g.stats.RawLost.Add(1)
		if g.stats.RawLost.Load()%1000 == 1 {
			g.log.Error("raw messages lost: Redis does not take them", "channel", channel)
		}
		return
	}
	q := g.queues[channel]
	if q == nil {
		q = &queue{channel: channel, covered: make(chan struct{}, 1)}
		g.queues[channel] = q
		g.wg.Go(func() { g.work(q) })
	}
	g.bytes += len(payload) + queueOverhead
	q.messages = append(q.messages, named{name: n, payload: payload, came: time.Now()})
}

// adopted notes that all messages up to n are stored.
func (g *ingest) adopted(channel string, n name) {
	g.mu.Lock()
	defer g.mu.Unlock()
	q := g.queues[channel]
	if q == nil {
		return
	}
	// What was named by an older marker than n's stands before it; whether it is stored, its own name must say.
	first := slices.IndexFunc(q.messages, func(m named) bool { return m.marker == n.marker })
	if first < 0 || q.messages[first].number > n.number {
		return
	}
	after := first // numbers of one marker stand in order and without a hole, unless the queue was full
	for after < len(q.messages) && q.messages[after].marker == n.marker && q.messages[after].number <= n.number {
		after++
	}
	g.drop(q, first, after)
	select {
	case q.covered <- struct{}{}:
	default:
	}
}

// drop takes messages out of a queue; g.mu is held.
func (g *ingest) drop(q *queue, from, to int) {
	for _, m := range q.messages[from:to] {
		g.bytes -= len(m.payload) + queueOverhead
	}
	if from == 0 {
		q.messages = q.messages[to:]
		return
	}
	q.messages = slices.Concat(q.messages[:from], q.messages[to:])
}

// finish takes no more messages and presents those there are, at once, for at most d. close must be called after it.
func (g *ingest) finish(d time.Duration) {
	g.mu.Lock()
	g.stopped = true
	for _, q := range g.queues {
		select {
		case q.covered <- struct{}{}: // so that it looks again when it is due
		default:
		}
	}
	g.mu.Unlock()
	done := make(chan struct{})
	go func() {
		g.wg.Wait() // it ends with close at the latest
		close(done)
	}()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		g.log.Error("raw messages lost: Redis does not take them")
	}
}

// close ends all presenting and waits for it. The context must have ended.
func (g *ingest) close() {
	g.mu.Lock()
	g.stopped = true
	g.mu.Unlock()
	g.wg.Wait()
}

// work presents a queue's messages until there are none.
func (g *ingest) work(q *queue) {
	retry := 50 * time.Millisecond
	for g.wait(q) {
		batch := g.batch(q)
		if len(batch) == 0 {
			continue
		}
		messages := make([]store.RawMessage, len(batch))
		for i, m := range batch {
			d, err := kind.DraftPayload(q.channel, m.payload, g.maxBytes)
			messages[i] = store.RawMessage{Draft: d, Payload: m.payload}
			if err != nil {
				messages[i].Reason = err.Error()
			}
		}
		ctx, cancel := context.WithTimeout(g.ctx, presentTimeout)
		result, err := g.store.Adopt(ctx, q.channel, batch[0].marker, batch[0].number, messages)
		cancel()
		if err != nil {
			if g.ctx.Err() != nil {
				return
			}
			g.log.Warn("raw messages not stored yet", "channel", q.channel, "messages", len(batch), "error", err)
			g.sleep(retry/2 + rand.N(retry/2+1))
			retry = min(2*retry, 2*time.Second)
			continue // the same ones again: order is what makes it exact
		}
		retry = 50 * time.Millisecond
		g.stats.RawStored.Add(int64(result.Stored))
		g.stats.RawRejected.Add(int64(result.Rejected))
		g.done(q, batch[len(batch)-1].name, result.Stored+result.Rejected == 0)
	}
}

// wait returns true when the queue's first message is due, and false, having ended the queue, when there is none.
func (g *ingest) wait(q *queue) bool {
	for {
		g.mu.Lock()
		for len(q.messages) > 0 && time.Since(q.messages[0].came) > maxHold {
			g.drop(q, 0, 1) // by now its name may have been forgotten
			g.stats.RawLost.Add(1)
		}
		if len(q.messages) == 0 || g.ctx.Err() != nil {
			delete(g.queues, q.channel)
			if kind.Of(q.channel).ByPattern() {
				delete(g.loser, q.channel) // nobody says when such a channel is no longer followed
			}
			g.mu.Unlock()
			return false
		}
		due := q.messages[0].came
		if g.stopped {
			g.mu.Unlock()
			return true
		}
		if g.loser[q.channel] {
			due = due.Add(loserHold)
		}
		if joined, ok := g.joins[q.channel]; ok {
			came, until := q.messages[0].came, joined.Add(joinHold)
			if !came.Before(joined) && came.Before(until) { // what came in an earlier session is old enough already
				due = until
			}
			if time.Now().After(until) {
				delete(g.joins, q.channel)
			}
		}
		g.mu.Unlock()
		left := time.Until(due)
		if left <= 0 {
			return true
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-q.covered:
			timer.Stop()
		case <-g.ctx.Done():
			timer.Stop()
		}
	}
}

// batch returns the messages to present together: they have one marker and numbers without a hole.
func (g *ingest) batch(q *queue) []named {
	g.mu.Lock()
	defer g.mu.Unlock()
	size := 0
	for i, m := range q.messages {
		size += len(m.payload)
		if i == presentMessages || (i > 0 && (size > presentBytes || m.marker != q.messages[0].marker ||
			m.number != q.messages[i-1].number+1)) {
			return q.messages[:i:i]
		}
	}
	return q.messages[:len(q.messages):len(q.messages)]
}

// done removes what was presented, and remembers whether it was in vain.
func (g *ingest) done(q *queue, last name, vain bool) {
	g.adopted(q.channel, last)
	g.mu.Lock()
	defer g.mu.Unlock()
	if vain {
		g.loser[q.channel] = true
	} else {
		delete(g.loser, q.channel)
	}
}

// sleep waits, or less if presenting ends.
func (g *ingest) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-g.ctx.Done():
	}
}

// forget drops what is remembered of channels nobody follows any more.
func (g *ingest) forget(channels []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range channels {
		delete(g.joins, c)
		delete(g.loser, c)
	}
}

var errClosed = errors.New("the broker is closed")
