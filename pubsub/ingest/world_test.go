package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sluice/store"
)

// world is one Redis and the replicas on it, in fake time: real Sequencers and Intakes, a model of Redis between them. A
// seed fixes what happens to the replicas and when, but not how their goroutines take turns.
type world struct {
	start time.Time
	rng   *rand.Rand // only the test's goroutine uses it

	mu        sync.Mutex // guards all of what follows, and the fields of members that say so
	members   []*member
	adopted   map[string]uint64 // per channel and marker: the highest number
	stored    map[int]int       // how often each message was stored
	order     map[string][]int  // per channel: the messages as they are stored
	published int
	calls     int // scripts that were run
	trips     *rand.Rand
	sessions  map[string]bool   // of connections that there are
	saved     map[string]uint64 // adopted, in a snapshot
	restored  bool
	slowest   time.Duration // of a trip to Redis or back
	loses     bool          // presentations and replies get lost
}

// member is a replica.
type member struct {
	world     *world
	name      string
	sequencer *Sequencer
	intake    *Intake
	session   string          // the name of its connection; guarded by world.mu
	over      bool            // nothing comes into inbox any more; guarded by world.mu
	own       map[string]bool // markers; those that came alone are true; guarded by world.mu
	inbox     []worldItem     // what its connection has not delivered yet; guarded by world.mu
	handling  []func()        // announcements that its connection has delivered, and that are handled later; guarded by world.mu
	got       map[int]bool    // messages that it has named; guarded by world.mu
	resumed   chan struct{}   // closed unless it stands still; guarded by world.mu
	gone      bool            // guarded by world.mu
}

// worldItem is one thing that a connection delivers.
type worldItem struct {
	marker  string // of a marker
	message int    // of a raw message; 0: it is something else
	channel string
	adopted RawID // of an announcement or a notice
}

// worldSources are followed by all members: two channels by a pattern, and one by its name.
var worldSources = map[string]string{"progress:a": "progress:*", "progress:b": "progress:*", "orders": "orders"}

var (
	errLost      = errors.New("lost on its way")
	errElsewhere = errors.New("the connection is not here")
)

func newWorld(seed uint64) *world {
	return &world{
		start: time.Now().Add(-time.Hour), rng: rand.New(rand.NewPCG(seed, 1)), trips: rand.New(rand.NewPCG(seed, 2)),
		adopted: map[string]uint64{}, stored: map[int]int{}, order: map[string][]int{}, sessions: map[string]bool{},
	}
}

// Adopt is what adopt.lua does, behind a network.
func (m *member) Adopt(
	ctx context.Context, session, channel, marker string, first uint64, messages []store.RawMessage,
) (store.Adopted, error) {
	w := m.world
	w.mu.Lock()
	there, back := w.trip(), w.trip()
	lostThere, lostBack := w.loses && w.trips.IntN(8) == 0, w.loses && w.trips.IntN(8) == 0
	w.mu.Unlock()
	if err := m.pass(ctx, there); err != nil || lostThere {
		return store.Adopted{}, errLost
	}
	result, err := w.adopt(session, channel, marker, first, messages)
	if err != nil {
		return result, err
	}
	if err := m.pass(ctx, back); err != nil || lostBack {
		return store.Adopted{}, errLost
	}
	return result, nil
}

// trip returns how long something is on its way; w.mu is held.
func (w *world) trip() time.Duration { return time.Duration(w.trips.Int64N(int64(w.slowest) + 1)) }

// pass waits for a trip, and as long as the member stands still. It returns an error if the member is gone then.
func (m *member) pass(ctx context.Context, trip time.Duration) error {
	time.Sleep(trip)
	for {
		m.world.mu.Lock()
		resumed, gone := m.resumed, m.gone
		m.world.mu.Unlock()
		if gone {
			return errLost
		}
		select {
		case <-resumed:
			return nil
		default:
		}
		select {
		case <-resumed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *world) adopt(session, channel, marker string, first uint64, messages []store.RawMessage) (store.Adopted, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	if !w.sessions[session] {
		return store.Adopted{}, errElsewhere
	}
	key := channel + " " + marker
	result := store.Adopted{Before: w.adopted[key]}
	for i, m := range messages {
		number := first + uint64(i)
		if number <= w.adopted[key] {
			continue
		}
		w.adopted[key] = number
		id, _ := strconv.Atoi(string(m.Payload)) // publish wrote it
		w.stored[id]++
		w.order[channel] = append(w.order[channel], id)
		result.Stored++
	}
	if result.Stored > 0 {
		w.deliver(worldItem{channel: channel, adopted: RawID{marker, w.adopted[key]}})
	}
	return result, nil
}

// deliver puts something into the connections of all members; w.mu is held.
func (w *world) deliver(item worldItem) {
	for _, m := range w.members {
		if !m.gone && !m.over {
			m.inbox = append(m.inbox, item)
		}
	}
}

// alive returns the members that are not gone; w.mu is held.
func (w *world) alive() []*member {
	return slices.DeleteFunc(slices.Clone(w.members), func(m *member) bool { return m.gone })
}

func (w *world) join() {
	m := &member{
		world: w, own: map[string]bool{}, got: map[int]bool{}, resumed: make(chan struct{}),
		name: fmt.Sprint("r", len(w.members)), sequencer: NewSequencer(),
	}
	close(m.resumed)
	m.intake = New(m, 1000, slog.New(slog.DiscardHandler))
	m.intake.now = func() time.Duration { return time.Since(w.start) }
	w.mu.Lock()
	defer w.mu.Unlock()
	w.members = append(w.members, m)
	w.connect(m)
}

// connect gives a member a connection; w.mu is held.
func (w *world) connect(m *member) {
	delete(w.sessions, m.session)
	m.session = fmt.Sprint(m.name, " ", len(m.own))
	w.sessions[m.session] = true
	m.sequencer, m.inbox, m.over = NewSequencer(), nil, false
	m.intake.Connected(m.session)
	w.mark(m)
}

// mark has a member publish a marker, in one step with its subscription; w.mu is held.
func (w *world) mark(m *member) {
	marker := fmt.Sprint(m.name, ".", len(m.own))
	m.own[marker] = len(w.alive()) == 1
	w.deliver(worldItem{marker: marker})
}

func (w *world) publish(channel string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.published++
	w.deliver(worldItem{message: w.published, channel: channel})
}

// reconnect has a member lose its connection and all that is in it.
func (w *world) reconnect(m *member) {
	m.intake.Lost()()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.connect(m)
}

// save makes a snapshot of what Redis knows; restore has Redis come back from it, or without anything. What has been sent to
// the members still arrives, and then their connections are over. That happens once: a member without a connection does not
// hear what is stored meanwhile, and only Redis remembers it.
func (w *world) save() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.saved = maps.Clone(w.adopted)
}

func (w *world) restore() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.restored {
		return
	}
	w.restored = true
	if w.adopted = w.saved; w.adopted == nil {
		w.adopted = map[string]uint64{}
	}
	clear(w.sessions)
	for _, m := range w.members {
		m.over = true
	}
}

// crash ends a member at once.
func (w *world) crash(m *member) {
	w.mu.Lock()
	m.gone = true
	w.mu.Unlock()
	m.intake.Close(0)
}

// standStill stops a member until resume.
func (w *world) standStill(m *member) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if m.running() {
		m.resumed = make(chan struct{})
	}
}

func (w *world) resume(m *member) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !m.running() {
		close(m.resumed)
	}
}

// running reports whether the member does not stand still; world.mu is held.
func (m *member) running() bool {
	select {
	case <-m.resumed:
		return true
	default:
		return false
	}
}

// receive has a member's connection deliver its first n items.
func (w *world) receive(m *member, n int) {
	w.mu.Lock()
	if !m.running() {
		w.mu.Unlock()
		return
	}
	items := m.inbox[:min(n, len(m.inbox))]
	m.inbox = m.inbox[len(items):]
	w.mu.Unlock()
	for _, item := range items {
		m.take(item)
	}
	w.mu.Lock()
	over := m.over && len(m.inbox) == 0
	w.mu.Unlock()
	if !over {
		return
	}
	heard := m.intake.Lost()
	w.mu.Lock()
	w.connect(m)
	m.handling = append(m.handling, heard)
	w.mu.Unlock()
}

// handle has a member handle at most n announcements.
func (w *world) handle(m *member, n int) {
	w.mu.Lock()
	some := m.handling[:min(n, len(m.handling))]
	m.handling = m.handling[len(some):]
	w.mu.Unlock()
	for _, f := range some {
		f()
	}
}

// take is what listen and the broker do with an item.
func (m *member) take(item worldItem) {
	switch {
	case item.marker != "":
		m.world.mu.Lock()
		alone, own := m.own[item.marker]
		m.world.mu.Unlock()
		m.sequencer.Marker(item.marker, []string{"progress:*", "orders"}, own)
		if own {
			m.intake.Followed([]string{"progress:*", "orders"}, alone)
		}
	case item.message == 0 && item.channel == "orders": // an announcement; the others are notices
		m.world.mu.Lock()
		m.handling = append(m.handling, func() { m.intake.Adopted(item.channel, item.adopted) })
		m.world.mu.Unlock()
	case item.message == 0:
		m.intake.Adopted(item.channel, item.adopted)
	default:
		source := worldSources[item.channel]
		id, ok := m.sequencer.Next(source, item.channel)
		if !ok {
			return
		}
		m.world.mu.Lock()
		m.got[item.message] = true
		m.world.mu.Unlock()
		m.intake.Add(item.channel, Message{
			Source: source, ID: id, Payload: []byte(strconv.Itoa(item.message)), ReceivedAt: m.intake.now(),
		})
	}
}

// settle lets everybody who lives get everything done.
func (w *world) settle() {
	for range 60 {
		w.mu.Lock()
		all := w.alive()
		w.mu.Unlock()
		for _, m := range all {
			w.resume(m)
			w.receive(m, 1<<30)
			w.handle(m, 1<<30)
		}
		time.Sleep(time.Second)
		synctest.Wait()
	}
}

// end closes all members and returns what is wrong.
func (w *world) end(inOrder bool) error {
	w.settle()
	for _, m := range w.members {
		if !m.gone {
			if held := m.intake.held(); held > 0 {
				return fmt.Errorf("%s still holds %d bytes", m.name, held)
			}
			m.intake.Close(0)
		}
	}
	for message := 1; message <= w.published; message++ {
		if w.stored[message] > 1 {
			return fmt.Errorf("message %d was stored %d times", message, w.stored[message])
		}
		for _, m := range w.members {
			if !m.gone && m.got[message] && w.stored[message] != 1 {
				return fmt.Errorf("message %d reached %s, which lives, and was stored %d times", message, m.name, w.stored[message])
			}
		}
	}
	for channel, order := range w.order {
		if inOrder && !slices.IsSorted(order) {
			return fmt.Errorf("channel %s is stored as %v", channel, order)
		}
	}
	return nil
}

// story is a random history of faults. With restores Redis comes back older now and then, and no connection breaks before
// everything has arrived: else a member cannot know which messages are stored.
func story(seed uint64, steps int, restores bool) error {
	w := newWorld(seed)
	w.loses = w.rng.IntN(2) == 0
	w.slowest = []time.Duration{0, time.Millisecond, 50 * time.Millisecond, 400 * time.Millisecond}[w.rng.IntN(4)]
	channels := []string{"progress:a", "progress:b", "orders"}
	w.join()
	joins := 0
	for range steps {
		w.mu.Lock()
		all := w.alive()
		w.mu.Unlock()
		m := all[w.rng.IntN(len(all))]
		switch w.rng.IntN(20) {
		case 0:
			if len(all) < 5 {
				w.join()
				joins++
			}
		case 1:
			if len(all) > 1 {
				w.crash(m)
			}
		case 2:
			w.standStill(m)
		case 3:
			w.resume(m)
		case 4:
			joins++
			switch {
			case !restores:
				w.reconnect(m)
			case w.rng.IntN(2) == 0:
				w.save()
			default:
				w.restore()
			}
		case 5:
			w.mu.Lock()
			w.mark(m)
			w.mu.Unlock()
		case 6, 7, 8:
			time.Sleep(time.Duration(w.rng.Int64N(int64(400 * time.Millisecond))))
		case 9, 10, 11, 12:
			w.receive(m, w.rng.IntN(20))
			w.handle(m, w.rng.IntN(6))
		default:
			w.publish(channels[w.rng.IntN(len(channels))])
		}
		if w.rng.IntN(3) == 0 {
			synctest.Wait()
		}
	}
	return w.end(joins == 0)
}

func TestEveryRawMessageIsStoredExactlyOnceWhoeverPresentsFirst(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		seed, steps := rapid.Uint64().Draw(r, "seed"), rapid.IntRange(10, 300).Draw(r, "steps")
		restores := rapid.Bool().Draw(r, "restores")
		var problem error
		synctest.Test(t, func(*testing.T) { problem = story(seed, steps, restores) })
		if problem != nil {
			r.Fatalf("seed %d, %d steps: %v", seed, steps, problem)
		}
	})
}

// calm is a history of some replicas, all of which hear everything after a short trip. If leaderDies, the one that presents
// first crashes in the middle; else there are no faults. It returns the number of scripts that were run.
func calm(seed uint64, replicas int, leaderDies bool) (calls int, problem error) {
	w := newWorld(seed)
	w.slowest = 5 * time.Millisecond
	everybody := func() {
		for _, m := range w.members {
			if !m.gone {
				w.receive(m, 1<<30)
				w.handle(m, 1<<30)
			}
		}
	}
	for range replicas {
		w.join()
		everybody()
	}
	for i := range 300 {
		if leaderDies && i == 150 && replicas > 1 {
			w.crash(w.members[0])
		}
		for channel := range worldSources {
			w.publish(channel)
		}
		everybody()
		for range 4 {
			time.Sleep(time.Duration(w.rng.Int64N(int64(10 * time.Millisecond))))
			everybody()
		}
	}
	problem = w.end(true)
	return w.calls, problem
}

func TestCallsForRawMessagesDoNotGrowWithTheReplicas(t *testing.T) {
	for seed := range uint64(10) {
		leaderDies := seed%2 == 1
		cost := map[int]int{}
		for _, replicas := range []int{1, 3, 6} {
			synctest.Test(t, func(t *testing.T) {
				calls, problem := calm(seed, replicas, leaderDies)
				if problem != nil {
					t.Errorf("seed %d, %d replicas: %v", seed, replicas, problem)
				}
				cost[replicas] = calls
			})
		}
		t.Logf("seed %d: calls by replicas: %v", seed, cost)
		if limit := float64(cost[1]) * 1.2; float64(cost[3]) > limit || float64(cost[6]) > limit {
			t.Errorf("seed %d: calls by replicas: %v, want at most 1.2 times those of one", seed, cost)
		}
	}
}
