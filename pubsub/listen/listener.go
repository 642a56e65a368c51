package listen

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"sluice/pubsub/boottime"
	"sluice/pubsub/ingest"
	"sluice/store"
	"sluice/store/kind"
)

// Times between two sessions.
const (
	retryAtLeast = 50 * time.Millisecond
	retryAtMost  = 2 * time.Second
	stableTime   = 10 * time.Second // after a longer session the pause is retryAtLeast again
)

// How many names go into one command.
const (
	namesPerBatch = 500
	// Without a transaction Redis must still carry out the commands of a write in one step. It does if they fit into
	// the 16 KiB that it reads at a time.
	namesPerWrite = 25
)

// Receiver gets what arrives from Redis. One goroutine at a time calls its methods, the one that reads the connection.
// They must not block, because Redis's output buffer for this connection fills up meanwhile.
type Receiver interface {
	// Connected says that there is a new connection. session is the name of a pub/sub channel to which it is subscribed, and
	// nobody else.
	Connected(session string)
	// Announced hands over an announcement of a new event of channel. The payload is the receiver's to keep.
	Announced(channel string, payload []byte)
	// Raw hands over a raw message.
	Raw(channel string, m ingest.Message)
	// Adopted says that the raw message of channel with this name is stored, and so are those before it that have the
	// same marker. Where an announcement says so, Adopted may not.
	Adopted(channel string, id ingest.RawID)
	// Subscribed says that everything published on channels (or patterns) from now on is handed over. alone is true if
	// nobody else had subscribed to any of them at that moment.
	Subscribed(channels []string, alone bool)
	// Lost says that nothing is handed over any more, until Connected is called.
	Lost()
}

// Queue is where announcements that were handed over wait to be handled. *dispatch.Queue is one.
type Queue interface {
	// Flush is called when the reader has no more to hand over at the moment.
	Flush()
	// Fence calls handled once everything that was handed over before has been handled.
	Fence(handled func())
}

// Config of a Listener. All fields but Before are required.
type Config struct {
	// Redis publishes probes. Its options, such as address, TLS and user, serve the subscribing connection too.
	Redis *redis.Client
	// Replica is the name of this replica, unique among those on one Redis.
	Replica string
	// Names are the names of the gateway's own pub/sub channels.
	Names store.Names
	// MaxPayload is how long a payload may be and is still handed over whole. Of a longer payload the Receiver gets
	// more than MaxPayload bytes, but maybe not all.
	MaxPayload int
	Receiver   Receiver
	Queue      Queue
	Log        *slog.Logger
	// Before is called before each session begins to follow Redis. If it returns an error, the session does not begin, and
	// another one is tried later. nil: nothing has to be done before.
	Before func(context.Context) error
}

// Subscription is a replica's interest in one channel.
type Subscription struct {
	Channel string
	Live    bool // the announcements of its events
	Raw     bool // the raw messages on the channel itself
	// Pattern says that Channel is a pattern (see Redis's PSUBSCRIBE) of which only raw messages are wanted.
	Pattern bool
}

// redisChannels returns the names to subscribe to by SUBSCRIBE, and the source of raw messages ("" for none).
func (s Subscription) redisChannels(own store.Names) (names []string, source string) {
	if s.Live {
		names = append(names, own.Live(s.Channel))
	}
	if s.Raw {
		source = s.Channel
		if !s.Pattern {
			names = append(names, s.Channel)
		}
	}
	return names, source
}

// Listener holds a replica's subscriptions in Redis. It is safe for concurrent use. It is also the prometheus.Collector
// of what it counts.
type Listener struct {
	cfg      Config
	maxBytes int                  // of a payload: MaxPayload, or what a marker with its sources needs
	now      func() time.Duration // a clock that cannot be set and goes on while the machine sleeps

	mu       sync.Mutex
	wanted   map[string]Subscription // by channel; guarded by mu
	toAdd    []string                // channels to subscribe to in the running session; guarded by mu
	toRemove []Subscription          // to end in the running session; guarded by mu
	changed  chan struct{}           // capacity 1: toAdd or toRemove is not empty

	renewedAt time.Duration // when renew made new markers the last time, by now; guarded by mu

	running   atomic.Pointer[session]
	sequencer *ingest.Sequencer // of the newest session; only sessions, one after the other, use it
	probing   sync.WaitGroup    // the probing goroutines of all sessions
	full      atomic.Bool       // Redis refused a transaction because it is full
	state     state

	sessionsLost atomic.Int64
	probeTime    atomic.Int64 // of the newest probe that came back; nanoseconds
	fenceTime    atomic.Int64 // of the newest probe behind which everything was handled; nanoseconds
	lost         lost
	metrics      []prometheus.Collector
}

var errNoSession = errors.New("not connected to Redis")

// New returns a Listener. Run makes it work.
func New(cfg Config) *Listener {
	l := &Listener{
		cfg: cfg, maxBytes: max(cfg.MaxPayload, namesPerBatch*(kind.MaxChannelLength+1)+100),
		now: boottime.Now, wanted: make(map[string]Subscription), changed: make(chan struct{}, 1),
		sequencer: ingest.NewSequencer(), renewedAt: -renewEvery,
	}
	l.state.problem = errors.New("not connected to Redis yet")
	l.metrics = []prometheus.Collector{
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "sluice_redis_sessions_lost_total", Help: "Subscribing connections to Redis that were lost or refused.",
		}, func() float64 { return float64(l.sessionsLost.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sluice_probe_seconds", Help: "Time of the newest probe through Redis.",
		}, func() float64 { return time.Duration(l.probeTime.Load()).Seconds() }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sluice_fence_seconds", Help: "Time of the newest probe through Redis and behind all that came before it.",
		}, func() float64 { return time.Duration(l.fenceTime.Load()).Seconds() }),
	}
	l.metrics = append(l.metrics, l.lost.collectors()...)
	return l
}

// Before sets Config.Before. It must not be called after Run.
func (l *Listener) Before(do func(context.Context) error) { l.cfg.Before = do }

// Want adds a subscription, or replaces that of the same channel. Receiver.Subscribed is called when it is in place,
// unless it is for a pattern. Want may be called before Run and does not block.
func (l *Listener) Want(s Subscription) {
	l.mu.Lock()
	l.wanted[s.Channel] = s
	l.toAdd = append(l.toAdd, s.Channel)
	l.mu.Unlock()
	l.wake()
}

// Unwant ends the subscription of a channel, if there is one. It does not block.
func (l *Listener) Unwant(channel string) {
	l.mu.Lock()
	if s, ok := l.wanted[channel]; ok {
		delete(l.wanted, channel)
		l.toRemove = append(l.toRemove, s)
	}
	l.mu.Unlock()
	l.wake()
}

// Ready returns why messages may not be arriving, or nil.
func (l *Listener) Ready() error {
	if problem := l.state.get(); problem != nil {
		return problem
	}
	if s := l.running.Load(); s != nil && s.late() {
		return errLate
	}
	return nil
}

// Fence returns when everything that was published on subscribed channels before the call has been handled, by the
// Receiver and by what is behind the Queue. It returns an error if that cannot be known.
func (l *Listener) Fence(ctx context.Context) error {
	s := l.running.Load()
	if s == nil {
		return errNoSession
	}
	return s.fence(ctx)
}

// Run keeps a session open until ctx ends.
func (l *Listener) Run(ctx context.Context) {
	defer l.probing.Wait()
	retry := retryAtLeast
	var next *conn // for the next session, if there is one already
	for ctx.Err() == nil {
		began := time.Now()
		var err error
		next, err = l.runSession(ctx, next)
		if ctx.Err() != nil {
			if next != nil {
				_ = next.Close()
			}
			l.state.set(redisProblem(err))
			l.cfg.Receiver.Lost()
			return
		}
		l.failed(err)
		l.cfg.Receiver.Lost()
		// A full Redis refuses SUBSCRIBE inside a transaction. The next session does without one. No raw message is
		// lost by that, because a full Redis stores none anyway.
		l.full.Store(strings.HasPrefix(err.Error(), "OOM"))
		if time.Since(began) > stableTime {
			retry = retryAtLeast
		}
		l.sessionsLost.Add(1)
		if next != nil {
			continue
		}
		pause := time.NewTimer(retry/2 + rand.N(retry/2+1))
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		retry = min(2*retry, retryAtMost)
	}
}

// Describe implements prometheus.Collector.
func (l *Listener) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range l.metrics {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (l *Listener) Collect(ch chan<- prometheus.Metric) {
	for _, c := range l.metrics {
		c.Collect(ch)
	}
}

// renewEvery is how often renew does something.
const renewEvery = 10 * time.Second

// renew makes new markers for sources, because an old one came once more. A replica that did not see it the first time
// takes it for a new one; with the next marker all of them count alike again.
func (l *Listener) renew(sources []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now()-l.renewedAt < renewEvery {
		return
	}
	l.renewedAt = l.now()
	l.cfg.Log.Warn("a marker came twice: somebody else publishes on the gateway's own channels", "sources", sources)
	for _, source := range sources {
		if _, ok := l.wanted[source]; ok {
			l.toAdd = append(l.toAdd, source)
		}
	}
	l.wake()
}

// wake tells the session that toAdd or toRemove has changed.
func (l *Listener) wake() {
	select {
	case l.changed <- struct{}{}:
	default: // it has been told already
	}
}

// restart queues everything that is wanted for a new session.
func (l *Listener) restart() {
	l.mu.Lock()
	l.toAdd, l.toRemove = l.toAdd[:0], nil
	for channel := range l.wanted {
		l.toAdd = append(l.toAdd, channel)
	}
	l.mu.Unlock()
	l.wake()
}

// nextBatch returns which subscriptions to make and which to end next. The caller ends subscriptions before it makes
// new ones, so that a channel that was ended and is wanted again stays subscribed.
func (l *Listener) nextBatch() (add, remove []Subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.toRemove {
		if _, again := l.wanted[s.Channel]; !again {
			remove = append(remove, s)
		}
	}
	l.toRemove = nil
	most := namesPerBatch
	if l.full.Load() {
		most = namesPerWrite
	}
	n := min(len(l.toAdd), most)
	for _, channel := range l.toAdd[:n] {
		if s, still := l.wanted[channel]; still {
			add = append(add, s)
		}
	}
	l.toAdd = l.toAdd[n:]
	if len(l.toAdd) == 0 {
		l.toAdd = nil // frees the array, which may be large
	}
	return add, remove
}
