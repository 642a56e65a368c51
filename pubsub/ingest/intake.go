package ingest

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/pubsub/boottime"
	"sluice/store"
)

// Bounds and times; the package comment has them in a table.
const (
	waitingBytes    = 64 << 20 // all waiting messages, with the overheads
	messageOverhead = 128      // of a message: waiting, its place in the array, what malloc adds
	backlogOverhead = 384      // of a channel: backlog, its places in the maps, the heap and the queue
	waitingTime     = 15 * time.Minute

	newcomerDelay = time.Second
	holdAtLeast   = 100 * time.Millisecond
	holdAtMost    = 800 * time.Millisecond
	holdInAll     = 10 * time.Second

	logEvery = 10 * time.Second
)

// Adopter stores raw messages. *store.Store is one.
type Adopter interface {
	// Adopt stores those of the messages that are not stored yet. Their numbers since marker are first, first+1, …. It
	// fails if session is not empty, and the connection of that name is not one to the Redis that it asks.
	Adopt(
		ctx context.Context, session, channel, marker string, first uint64, messages []store.RawMessage,
	) (store.Adopted, error)
}

// Message is a raw message that has a name.
type Message struct {
	Source  string // the channel or pattern because of whose subscription it came
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
	wg     sync.WaitGroup // one for each presenter

	mu         sync.Mutex
	backlogs   map[string]*backlog // by channel, while messages wait there; guarded by mu
	leads      map[string]*lead    // by source, of those that are followed; guarded by mu
	bytes      int                 // of all waiting messages and backlogs; guarded by mu
	timed      byDue               // backlogs that wait for a time; guarded by mu
	alarm      *time.Timer         // rings when the first of timed is due; guarded by mu
	ready      []*backlog          // backlogs to be presented, in this order; guarded by mu
	presenters int                 // goroutines that present; guarded by mu
	failing    int                 // backlogs whose last presentation failed; guarded by mu
	refused    refusals            // guarded by mu
	closing    bool                // no message is accepted any more, and those that wait are due at once; guarded by mu
	session    string              // of the connection by which messages come, or came last; guarded by mu
	lost       bool                // that connection is lost; guarded by mu
	unheard    bool                // what came by the one before it may not all be heard yet; guarded by mu
	losses     int                 // how many connections were lost; guarded by mu
	empty      chan struct{}       // closed when closing and no message waits any more; guarded by mu
}

// refusals is what the next line of the log says of messages that were dropped because too many wait.
type refusals struct {
	count  int
	logged time.Duration // when the last line was written; 0: never
}

// New returns an Intake that has adopter store messages. A payload of more than maxPayload bytes is rejected. Close
// must be called if Add was.
func New(adopter Adopter, maxPayload int, log *slog.Logger) *Intake {
	ctx, cancel := context.WithCancel(context.Background())
	in := &Intake{
		adopter: adopter, maxPayload: maxPayload, log: log, now: boottime.Now, ctx: ctx, cancel: cancel,
		backlogs: make(map[string]*backlog), leads: make(map[string]*lead), empty: make(chan struct{}),
	}
	in.metrics = in.collectors()
	return in
}

// Followed notes that every message of these channels or patterns is going to be added from now on. alone is true if
// nobody else follows them.
func (in *Intake) Followed(sources []string, alone bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	now := in.now()
	for _, s := range sources {
		if in.leads[s] == nil { // else only a new marker was published, and nothing has changed
			in.leads[s] = newLead(alone, now)
		}
	}
}

// Forget drops what is remembered about channels that this replica no longer follows.
func (in *Intake) Forget(channels []string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, c := range channels {
		delete(in.leads, c)
	}
}

// Connected notes that messages are going to be added from a connection that has a name, which the Adopter checks.
func (in *Intake) Connected(session string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.session, in.lost = session, false
	in.presentAgain()
}

// Lost notes that nothing is added any more, until Connected and Followed are called. The messages that wait remain, and none
// is presented until then. Redis may be another one, or an older one, which does not know which of them are stored. So none is
// presented either before all that came by the connection is heard (see Adopted): the caller calls heard then.
func (in *Intake) Lost() (heard func()) {
	in.mu.Lock()
	defer in.mu.Unlock()
	clear(in.leads)
	in.lost, in.unheard = true, true
	in.losses++
	n := in.losses
	for _, b := range in.backlogs {
		in.schedule(b)
	}
	return func() {
		in.mu.Lock()
		defer in.mu.Unlock()
		if in.losses == n {
			in.unheard = false
			in.presentAgain()
		}
	}
}

// presentAgain has the messages presented that had to wait for a new connection; in.mu is held.
func (in *Intake) presentAgain() {
	if in.lost || in.unheard {
		return
	}
	for _, b := range in.backlogs {
		b.retryAt = 0 // whatever failed, this Redis has not refused it yet
		in.schedule(b)
	}
}

// Add accepts a message. It is kept until it is stored, rejected or dropped (see the bounds in the package comment).
// Add does not block. The messages of a channel must be added in the order in which Redis delivers them.
func (in *Intake) Add(channel string, m Message) {
	in.stats.seen.Add(1)
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closing {
		return
	}
	b := in.backlogs[channel]
	size, held := len(m.Payload)+messageOverhead, 0
	if b == nil {
		size += backlogOverhead
	} else {
		held = b.bytes
	}
	// A channel may hold three times as much as is left free for all, so that flooded ones leave something for others.
	if free := waitingBytes - in.bytes; size > free || held+size > 3*free {
		in.refuse(channel, m, size > free)
		return
	}
	if b == nil {
		b = &backlog{channel: channel}
		in.backlogs[channel] = b
	}
	w := &waiting{Message: m, notBefore: in.lead(m.Source).endOfDelay(m.ReceivedAt)}
	b.source = m.Source
	b.messages = append(b.messages, w)
	b.bytes += w.size()
	in.bytes += size
	in.schedule(b)
}

// refuse drops a message because there is no place for it; in.mu is held. Other replicas may have taken it: if this
// one presented the messages behind it at once, they could no longer present it. So it waits as a newcomer does.
func (in *Intake) refuse(channel string, m Message, all bool) {
	cause, now := lostChannelFull, in.now()
	if all {
		cause = lostAllFull
	}
	in.stats.lost[cause].Add(1)
	in.lead(m.Source).join(now)
	in.refused.count++
	if in.refused.logged != 0 && now-in.refused.logged < logEvery {
		return
	}
	why := "they come faster than they can be stored"
	if in.failing > 0 {
		why = "Redis does not store them"
	}
	in.log.Error("raw messages dropped: too many wait, because "+why,
		"messages", in.refused.count, "cause", string(cause), "last channel", channel, "waiting MiB", in.bytes>>20)
	in.refused = refusals{logged: now}
}

// lead returns the lead of a source; in.mu is held. Of a source that is no longer followed nothing is known.
func (in *Intake) lead(name string) *lead {
	if s := in.leads[name]; s != nil {
		return s
	}
	return &lead{hold: 2 * holdAtLeast, limit: holdAtLeast}
}

// Adopted notes that the message with this RawID is stored, and so are those before it with the same marker: an
// announcement or a notice said so.
func (in *Intake) Adopted(channel string, id RawID) {
	in.mu.Lock()
	defer in.mu.Unlock()
	b := in.backlogs[channel]
	if b == nil {
		return
	}
	in.lead(b.source).heard = in.now()
	if from, to := b.upTo(id); from < to {
		in.remove(b, from, to)
		in.schedule(b)
	}
}

// Close makes Add drop all further messages. It goes on presenting those that wait, for grace at most, and returns when
// all goroutines have ended.
func (in *Intake) Close(grace time.Duration) {
	in.mu.Lock()
	in.closing = true
	for _, b := range in.backlogs {
		in.schedule(b) // it may be waiting for its first message to become due
	}
	in.noteEmpty()
	in.mu.Unlock()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-in.empty:
	case <-timer.C:
	}
	in.mu.Lock()
	in.cancel()
	if in.alarm != nil {
		in.alarm.Stop()
	}
	left := 0
	for _, b := range in.backlogs {
		left += len(b.messages)
	}
	in.mu.Unlock()
	in.wg.Wait()
	if left > 0 {
		in.stats.lost[lostStopped].Add(int64(left))
		in.log.Error("raw messages lost: Redis does not store them, and this replica stops", "messages", left)
	}
}
