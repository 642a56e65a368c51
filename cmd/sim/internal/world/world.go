package world

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice/cmd/internal/judge"
	"sluice/cmd/sim/internal/network"
	"sluice/cmd/sim/internal/redismodel"
)

// Result is what came of a world.
type Result struct {
	Seed      uint64            `json:"seed"`
	Hash      string            `json:"hash"`    // of the trace: of everything that happened, with its time
	Virtual   time.Duration     `json:"virtual"` // that passed in the world
	Recovered time.Duration     `json:"recovered"`
	Faults    map[Kind]Exercise `json:"faults"`
	Publishes int               `json:"publishes"`
	Verdict   judge.Verdict     `json:"verdict"`
	Actions   int               `json:"actions"`
}

// Exercise says how often a fault happened, and how often it hit something.
type Exercise struct {
	Began int `json:"began"`
	Hit   int `json:"hit"`
}

// Bounds of the time after the faults have stopped.
const (
	recovery = 40 * time.Second        // until everybody is live and has everything
	silence  = 8 * time.Second         // the same where nothing is published any more that would show it
	quiet    = 1500 * time.Millisecond // nothing is stored any more: longer than a newcomer holds raw messages back
)

// world is one run.
type world struct {
	plan  Plan
	began time.Time
	net   *network.Network
	redis *redismodel.Server
	log   *slog.Logger
	out   io.Writer

	ctx  context.Context // ends with the world; held because everything in it ends with it
	stop context.CancelFunc
	wg   sync.WaitGroup

	traceMu sync.Mutex
	trace   hash.Hash // guarded by traceMu

	mu       sync.Mutex
	members  []*replica              // that clients may turn to; guarded by mu
	hosts    map[string]*replica     // by host of an incarnation; guarded by mu
	serial   int                     // of replicas; guarded by mu
	record   judge.Record            // guarded by mu
	outages  map[string][]judge.Span // by host, "" for all: raw messages could not be stored; guarded by mu
	exercise map[Kind]Exercise       // guarded by mu

	branch   int                   // how often Redis lost something; guarded by mu
	redisUse chan struct{}         // 1: held while Redis is down
	lostRaw  int                   // messages that replicas reported as lost; guarded by mu
	running  map[int]time.Duration // outages that are not over; guarded by mu
	tokens   int                   // of running; guarded by mu

	clients []*client
	tasks   []*client
	worker  *worker
}

// Run lives through a plan and judges it. A readable log of everything goes to out; it is always made, so that a run
// whose log is looked at is the same as one whose log is not.
func Run(p Plan, out io.Writer) Result {
	w := &world{
		plan: p, began: time.Now(), out: out, trace: sha256.New(), hosts: map[string]*replica{},
		outages: map[string][]judge.Span{}, exercise: map[Kind]Exercise{}, running: map[int]time.Duration{},
		redisUse: make(chan struct{}, 1),
	}
	w.ctx, w.stop = context.WithCancel(context.Background())
	w.log = slog.New(&productLog{world: w})
	w.net = network.New(newDice(p.Seed, 2).Rand)
	w.redis = redismodel.New(w.net, newDice(p.Seed, 3).Rand, redismodel.Config{
		DeferPush: p.Defer, Log: w.tracef,
		Cut: func(peer string, since time.Time) { w.cut(peer, since.Sub(w.began)) },
	})
	w.record.Rules = judge.Rules{RawOrder: p.Steady, Steady: p.Steady, Swaps: p.swaps()}
	if p.Trim {
		w.record.Rules.Trim = p.History
	}
	recovered := w.live()
	r := Result{
		Seed: p.Seed, Virtual: w.now(), Recovered: recovered, Faults: w.exercise, Actions: len(p.Actions),
		Publishes: len(w.record.Publishes),
	}
	r.Verdict = judge.Judge(w.record)
	w.tracef("verdict %v", r.Verdict.Counts)
	r.Hash = hex.EncodeToString(w.trace.Sum(nil)[:8])
	w.close()
	return r
}

// now is the time since the world began.
func (w *world) now() time.Duration { return time.Since(w.began) }

// tracef adds a line to the trace, and to the log.
func (w *world) tracef(format string, args ...any) {
	line := fmt.Sprintf("%12.6f ", w.now().Seconds()) + fmt.Sprintf(format, args...) + "\n"
	w.traceMu.Lock()
	defer w.traceMu.Unlock()
	_, _ = io.WriteString(w.trace, line) // a hash never fails
	_, _ = io.WriteString(w.out, line)   // of no consequence
}

// sleep waits and reports whether the world goes on.
func (w *world) sleep(d time.Duration) bool { return sleep(w.ctx, d) }

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// live runs the world from beginning to end. It returns how long the recovery took.
func (w *world) live() time.Duration {
	w.redis.Start("redis", nil)
	for range w.plan.Replicas {
		w.join()
	}
	w.until("ready at the beginning", 20*time.Second, w.allReady)
	w.makeClients()
	w.until("clients at the beginning", 20*time.Second, func() string { return w.unbound(true) })

	load, stopLoad := context.WithCancel(w.ctx)
	var publishing, breaking sync.WaitGroup
	start := w.now()
	for i, p := range w.plan.Publishers {
		publishing.Go(func() { w.publisher(i, p).run(load) })
	}
	if w.worker != nil {
		publishing.Go(func() { w.worker.run(load) })
	}
	for i, c := range w.clients {
		w.wg.Go(func() { c.disturb(load, newDice(w.plan.Seed, 1000+uint64(i))) })
	}
	for i, a := range w.plan.Actions {
		breaking.Go(func() {
			if sleep(load, start+a.At-w.now()) {
				w.act(i, a)
			}
		})
	}
	w.sleep(w.plan.Load)
	breaking.Wait()
	stopLoad()
	publishing.Wait()
	return w.settle()
}

// settle waits until everybody has everything, and writes down how the world is then.
func (w *world) settle() time.Duration {
	w.tracef("the faults are over")
	healed := w.now()
	w.until("ready after the faults", recovery, w.allReady)
	w.until("clients after the faults", recovery, func() string { return w.unbound(false) })
	last := w.lastWords()
	if w.worker != nil {
		w.worker.finish()
	}
	if w.plan.Silent {
		w.sleep(silence) // the judge sees what has not come by then
	} else {
		w.until("caught up", recovery, func() string { return w.behind(last) })
	}
	recovered := w.now() - healed
	w.quieten()
	if !w.plan.Silent {
		w.until("caught up at the end", recovery, func() string { return w.behind(last) })
	}
	w.collect()
	return recovered
}

// until waits for a condition, which says what is still missing. It is a violation if that takes longer than a limit.
func (w *world) until(what string, limit time.Duration, missing func() string) {
	from, pause := w.now(), 10*ms
	for {
		why := missing()
		if why == "" {
			return
		}
		if w.now()-from > limit {
			w.blame(judge.NotLive, "%s: %s after %v", what, why, limit)
			return
		}
		w.sleep(pause)
		pause = min(2*pause, 100*ms)
	}
}

// quieten waits until nothing new has been stored for a while.
func (w *world) quieten() {
	newest, since, began := w.newest(), w.now(), w.now()
	for w.now()-since < quiet && w.now()-began < recovery {
		w.sleep(100 * ms)
		if n := w.newest(); !equal(n, newest) {
			newest, since = n, w.now()
		}
	}
}

func equal(a, b map[string]string) bool {
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return len(a) == len(b)
}

// blame writes a violation down that is not for the judge to find.
func (w *world) blame(kind, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.tracef("%s: %s", kind, text)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.record.Wrong = append(w.record.Wrong, judge.Violation{Kind: kind, At: w.now(), Detail: text})
}

func (w *world) allChannels() []string { return append([]string{notifications}, w.plan.Channels...) }

func historyKey(channel string) string { return "sluice:history:{" + channel + "}" }

// stored reads events as they are in a list.
func stored(lines []string) []judge.Event {
	out := make([]judge.Event, 0, len(lines))
	for _, line := range lines {
		var e struct {
			ID, Type string
			Data     json.RawMessage
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			e.ID, e.Data = "unreadable", []byte(line)
		}
		out = append(out, judge.Event{ID: e.ID, Type: e.Type, Data: string(e.Data)})
	}
	return out
}

// newest returns the id of each channel's newest event.
func (w *world) newest() map[string]string {
	out := map[string]string{}
	for _, channel := range w.allChannels() {
		if list, _ := w.redis.List(historyKey(channel)); len(list) > 0 {
			out[channel] = stored(list[:1])[0].ID
		}
	}
	return out
}

// kept returns those of the events, by channel, that their channel still keeps.
func (w *world) kept(ids map[string]string) map[string]string {
	out := map[string]string{}
	for channel, id := range ids {
		list, _ := w.redis.List(historyKey(channel))
		if slices.ContainsFunc(stored(list), func(e judge.Event) bool { return e.ID == id }) {
			out[channel] = id
		}
	}
	return out
}

// behind says which client lacks what. A client of one type that was away need not have the newest event of its type: raw
// messages that had waited may have pushed it out of the history meanwhile.
func (w *world) behind(notes map[string]string) string {
	newest := w.newest()
	notes = w.kept(notes)
	for _, c := range slices.Concat(w.clients, w.tasks) {
		want := newest
		if c.plan.Type != "" {
			want = notes
		}
		if why := c.lacks(want); why != "" {
			return c.name + " " + why
		}
	}
	return ""
}

func (w *world) unbound(early bool) string {
	for i, c := range w.clients {
		if !(early && w.plan.Clients[i].Late > 0) && !c.bound() {
			return c.name + " has no stream"
		}
	}
	return ""
}

// lastWords publishes one more event per channel, so that a client that missed the end has something behind the hole.
func (w *world) lastWords() map[string]string {
	ids := map[string]string{}
	if w.plan.Silent {
		return ids
	}
	for i, channel := range w.allChannels() {
		p := w.publisher(100+i, PublisherPlan{Channel: channel})
		ids[channel] = p.one(w.ctx, noteEvery).ID
	}
	return ids
}

// collect completes the record.
func (w *world) collect() {
	w.mu.Lock()
	w.record.Log, w.record.Kept = map[string][]judge.Event{}, map[string][]judge.Event{}
	w.record.Outages = w.outages[""]
	slices.SortFunc(w.record.Outages, func(a, b judge.Span) int { return int(a.From - b.From) })
	w.mu.Unlock()
	for _, channel := range w.allChannels() {
		list, log := w.redis.List(historyKey(channel))
		slices.Reverse(list)
		kept := stored(list)
		w.record.Log[channel], w.record.Kept[channel] = kept, kept
		if w.plan.Trim && channel != notifications {
			w.record.Log[channel] = stored(log)
		}
		w.view(channel, kept)
	}
	for _, c := range w.clients {
		w.record.Clients = append(w.record.Clients, c.seen())
	}
	for _, c := range w.tasks {
		w.record.Tasks = append(w.record.Tasks, c.task())
	}
	slices.SortStableFunc(w.record.Publishes, func(a, b judge.Publish) int { return int(a.First - b.First) })
}

// close ends everything that runs.
func (w *world) close() {
	w.stop()
	w.mu.Lock()
	all := slices.Collect(func(yield func(*replica) bool) {
		for _, r := range w.hosts {
			if !yield(r) {
				return
			}
		}
	})
	w.mu.Unlock()
	for _, r := range all {
		w.net.Down(r.host)
		r.cancel()
	}
	w.redis.Close()
	w.wg.Wait()
}

// productLog takes what the gateway logs.
type productLog struct {
	world *world
	attrs string
}

// Enabled leaves out what only a developer of the gateway reads.
func (l *productLog) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

// Handle writes a line to the log, not to the trace.
func (l *productLog) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "raw messages lost") {
		l.world.mu.Lock()
		l.world.lostRaw++
		l.world.mu.Unlock()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%12.6f   %s%s %s", l.world.now().Seconds(), l.attrs, r.Level, r.Message)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
		return true
	})
	l.world.traceMu.Lock()
	defer l.world.traceMu.Unlock()
	_, err := fmt.Fprintln(l.world.out, b.String())
	return err
}

// WithAttrs is for the name of a replica.
func (l *productLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := *l
	for _, a := range attrs {
		out.attrs += fmt.Sprintf("%v ", a.Value)
	}
	return &out
}

// WithGroup is not used by the gateway.
func (l *productLog) WithGroup(string) slog.Handler { return l }
