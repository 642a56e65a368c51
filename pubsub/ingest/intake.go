package ingest

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/pubsub/boottime"
	"sluice/store"
	"sluice/store/kind"
)

// Bounds and times; the package comment has them in a table.
const (
	presentMessages = 64        // in one call to the store
	presentBytes    = 256 << 10 // in one call to the store
	presentTimeout  = 5 * time.Second

	waitingBytes    = 64 << 20 // all waiting messages, with messageOverhead for each
	messageOverhead = 64
	waitingTime     = 15 * time.Minute

	newcomerDelay = time.Second
	beatenDelay   = 40 * time.Millisecond

	retryAtLeast = 50 * time.Millisecond
	retryAtMost  = 2 * time.Second
)

// Adopter stores raw messages. *store.Store is one.
type Adopter interface {
	// Adopt stores those of the messages that are not stored yet. Their numbers since marker are first, first+1, ….
	Adopt(ctx context.Context, channel, marker string, first uint64, messages []store.RawMessage) (store.Adopted, error)
}

// Message is a raw message that has a name.
type Message struct {
	ID      RawID
	Payload []byte // not to be changed
	// ReceivedAt is when it was read from the connection, by the clock of package boottime. It may have been sent earlier.
	ReceivedAt time.Duration
}

// Intake holds the raw messages of all channels until they are stored, by this replica or another one. It is safe for
// concurrent use. It is also the prometheus.Collector of what it counts.
type Intake struct {
	adopter    Adopter
	maxPayload int // bytes
	log        *slog.Logger
	stats      stats
	metrics    []prometheus.Collector
	now        func() time.Duration // boottime.Now, because Redis may forget a marker while the machine sleeps

	// ctx ends all presenting. It is held here because Add starts goroutines, and a message comes without a context.
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // one for each backlog

	mu       sync.Mutex
	backlogs map[string]*backlog      // by channel, while messages wait there; guarded by mu
	joined   map[string]time.Duration // by channel: when this replica subscribed, by the clock now; guarded by mu
	beaten   map[string]bool          // by channel: another replica was faster the last time; guarded by mu
	bytes    int                      // of all waiting messages; guarded by mu
	closing  bool                     // no message is accepted any more, and those that wait are due at once; guarded by mu
}

// New returns an Intake that has adopter store messages. A payload of more than maxPayload bytes is rejected. Close
// must be called if Add was.
func New(adopter Adopter, maxPayload int, log *slog.Logger) *Intake {
	ctx, cancel := context.WithCancel(context.Background())
	in := &Intake{
		adopter: adopter, maxPayload: maxPayload, log: log, now: boottime.Now, ctx: ctx, cancel: cancel,
		backlogs: make(map[string]*backlog), joined: make(map[string]time.Duration), beaten: make(map[string]bool),
	}
	in.metrics = in.stats.collectors()
	return in
}

// Joined notes that this replica has just begun to follow channels that other replicas may be following already.
func (in *Intake) Joined(channels []string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	now := in.now()
	for _, c := range channels {
		in.joined[c] = now
	}
}

// Forget drops what is remembered about channels that this replica no longer follows.
func (in *Intake) Forget(channels []string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, c := range channels {
		delete(in.joined, c)
		delete(in.beaten, c)
	}
}

// Add accepts a message. It is kept until it is stored, rejected or dropped (see the limits in the package comment).
// Add does not block. The messages of a channel must be added in the order in which Redis delivers them.
func (in *Intake) Add(channel string, m Message) {
	in.stats.seen.Add(1)
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closing {
		return
	}
	if in.bytes+len(m.Payload)+messageOverhead > waitingBytes {
		if in.stats.lost.Add(1)%1000 == 1 {
			in.log.Error("raw messages lost: Redis accepts no writes, and too many messages wait", "channel", channel)
		}
		return
	}
	b := in.backlogs[channel]
	if b == nil {
		b = &backlog{channel: channel, wake: make(chan struct{}, 1)}
		in.backlogs[channel] = b
		in.wg.Go(func() { in.present(b) })
	}
	in.bytes += len(m.Payload) + messageOverhead
	b.messages = append(b.messages, waiting{Message: m, notBefore: in.endOfDelay(channel, m)})
}

// endOfDelay returns until when a message must wait because this replica has just subscribed to its channel; in.mu is
// held. A message that was added before Joined came over an earlier connection, so the other replicas have had enough
// time.
func (in *Intake) endOfDelay(channel string, m Message) time.Duration {
	joined, newcomer := in.joined[channel]
	switch end := joined + newcomerDelay; {
	case !newcomer:
		return 0
	case m.ReceivedAt >= end:
		delete(in.joined, channel)
		return 0
	default:
		return end
	}
}

// Adopted notes that the message with this RawID is stored, and so are those before it with the same marker: an
// announcement said so.
func (in *Intake) Adopted(channel string, id RawID) {
	in.mu.Lock()
	defer in.mu.Unlock()
	b := in.backlogs[channel]
	if b == nil {
		return
	}
	if from, to := b.upTo(id); from < to {
		in.remove(b, from, to)
		b.nudge()
	}
}

// Close makes Add drop all further messages. It goes on presenting those that wait, for grace at most, and returns when
// all goroutines have ended.
func (in *Intake) Close(grace time.Duration) {
	in.mu.Lock()
	in.closing = true
	for _, b := range in.backlogs {
		b.nudge() // it may be waiting for its first message to become due
	}
	in.mu.Unlock()
	presented := make(chan struct{})
	go func() { // waited for below
		in.wg.Wait()
		close(presented)
	}()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-presented:
	case <-timer.C:
		in.log.Error("raw messages lost: Redis accepts no writes, and this replica stops")
	}
	in.cancel()
	<-presented
}

// present is the goroutine of a backlog. It presents messages until none is left.
func (in *Intake) present(b *backlog) {
	retry := retryAtLeast
	for in.waitUntilDue(b) {
		batch := in.batch(b)
		if len(batch) == 0 {
			continue
		}
		ctx, cancel := context.WithTimeout(in.ctx, presentTimeout)
		result, err := in.adopter.Adopt(ctx, b.channel, batch[0].ID.Marker, batch[0].ID.Number, in.drafts(b.channel, batch))
		cancel()
		if err != nil {
			if in.ctx.Err() != nil {
				return
			}
			in.log.Warn("raw messages not stored yet", "channel", b.channel, "messages", len(batch), "error", err)
			in.sleep(retry/2 + rand.N(retry/2+1))
			retry = min(2*retry, retryAtMost)
			continue // The same messages must come next: RawIDs are exact only if the order is kept.
		}
		retry = retryAtLeast
		in.stats.stored.Add(int64(result.Stored))
		in.stats.rejected.Add(int64(result.Rejected))
		in.Adopted(b.channel, batch[len(batch)-1].ID)
		in.noteBeaten(b.channel, result.Stored+result.Rejected == 0)
	}
}

// drafts turns messages into the form that Adopt expects.
func (in *Intake) drafts(channel string, batch []waiting) []store.RawMessage {
	messages := make([]store.RawMessage, len(batch))
	for i, m := range batch {
		d, err := kind.DraftPayload(channel, m.Payload, in.maxPayload)
		messages[i] = store.RawMessage{Draft: d, Payload: m.Payload}
		if err != nil {
			messages[i].Reason = err.Error()
		}
	}
	return messages
}

// waitUntilDue returns true when the first message of a backlog is to be presented. When there is no message, it ends
// the backlog and returns false.
func (in *Intake) waitUntilDue(b *backlog) bool {
	for {
		delay, more := in.untilDue(b)
		switch {
		case !more:
			return false
		case delay <= 0:
			return true
		}
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-b.wake:
			timer.Stop() // the first message may be another one now: untilDue looks again
		case <-in.ctx.Done():
			timer.Stop() // untilDue ends the backlog
		}
	}
}

// untilDue returns how long the first message of a backlog must wait. more is false if there is none: then the backlog
// has ended.
func (in *Intake) untilDue(b *backlog) (delay time.Duration, more bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	now := in.now()
	for len(b.messages) > 0 && now-b.messages[0].ReceivedAt > waitingTime {
		in.remove(b, 0, 1) // the store may have forgotten its marker, and would store the message a second time
		in.stats.lost.Add(1)
	}
	if len(b.messages) == 0 || in.ctx.Err() != nil {
		delete(in.backlogs, b.channel)
		if kind.Of(b.channel).ByPattern() {
			delete(in.beaten, b.channel) // nobody calls Forget for such a channel, and there may be any number
		}
		return 0, false
	}
	if in.closing {
		return 0, true
	}
	due := b.messages[0].ReceivedAt
	if in.beaten[b.channel] {
		due += beatenDelay
	}
	return max(due, b.messages[0].notBefore) - now, true
}

// batch returns the messages to present next.
func (in *Intake) batch(b *backlog) []waiting {
	in.mu.Lock()
	defer in.mu.Unlock()
	return b.first()
}

// remove takes messages[from:to] out of a backlog; in.mu is held.
func (in *Intake) remove(b *backlog, from, to int) { in.bytes -= b.remove(from, to) }

// noteBeaten remembers whether another replica stored the last messages of a channel before this one could.
func (in *Intake) noteBeaten(channel string, beaten bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if beaten {
		in.beaten[channel] = true
	} else {
		delete(in.beaten, channel)
	}
}

// sleep waits for d, or less if the Intake is closed.
func (in *Intake) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-in.ctx.Done():
	}
}
