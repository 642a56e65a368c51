package pubsub_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"sluice/pubsub"
	"sluice/store"
	"sluice/store/kind"
	"sluice/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// encoder writes frames that are easy to take apart: kind, id, channel, data or reason.
type encoder struct{}

func (encoder) Event(dst, id []byte, e store.Event) []byte {
	return fmt.Appendf(dst, "event %s %s %s\n", id, e.Channel, e.Data)
}

func (encoder) Gap(dst, id []byte, channel string, reason store.Reason) []byte {
	if id == nil {
		id = []byte("none")
	}
	return fmt.Appendf(dst, "gap %s %s %s\n", id, channel, reason)
}

func (encoder) Position(dst, id []byte) []byte { return fmt.Appendf(dst, "at %s - -\n", id) }

// replica is a broker with all around it.
type replica struct {
	*pubsub.Broker
	store *store.Store
	rdb   *redis.Client
	stop  func()
}

// start runs a broker on a Redis until the test ends.
func start(t *testing.T, addr, name string, change ...func(*pubsub.Config)) *replica {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{
		Addr: addr, ContextTimeoutEnabled: true, DialerRetries: 1, MaxRetries: -1, DialTimeout: time.Second,
	})
	s := store.New(rdb, store.Config{HistorySize: 100, HistoryTTL: time.Hour, MaxBodyBytes: 4096})
	cfg := pubsub.Config{Replica: name, FeedBytes: 1 << 20, CheckEvery: 100 * time.Millisecond}
	for _, c := range change {
		c(&cfg)
	}
	b := pubsub.NewBroker(rdb, s, cfg, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.Run(ctx)
	}()
	r := &replica{Broker: b, store: s, rdb: rdb}
	r.stop = sync.OnceFunc(func() {
		cancel()
		<-ended
		_ = rdb.Close()
	})
	t.Cleanup(r.stop)
	waitFor(t, name+" to be ready", func() bool { return b.Ready() == nil })
	return r
}

// metric returns the value of a metric of the broker.
func (r *replica) metric(t *testing.T, name string) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry() // finds a metric that is described wrongly
	registry.MustRegister(r.Broker)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	t.Fatalf("the broker has no metric %s", name)
	return 0
}

// waitFor polls until ok is true.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
		time.Sleep(2 * time.Millisecond) // between two tries of a poll
	}
}

func (r *replica) append(t *testing.T, channel, data string) store.Event {
	t.Helper()
	d, err := kind.DraftJSON(channel, "", []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	e, _, err := r.store.Append(t.Context(), d, store.AppendOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// frame is one frame as encoder wrote it.
type frame struct{ kind, id, channel, text string }

// viewer is a client: it reads a stream frame by frame and remembers its last event id.
type viewer struct {
	t      *testing.T
	stream *pubsub.Stream
	rest   string
	parts  int // made by Advance
	lastID string
}

func (r *replica) open(t *testing.T, q pubsub.Request) *viewer {
	t.Helper()
	q.Encoder = encoder{}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := r.Open(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	v := &viewer{t: t, stream: s}
	if err := v.take(); err != nil && !errors.Is(err, pubsub.ErrBehind) {
		t.Fatal(err)
	}
	return v
}

// take adds what is due now to rest.
func (v *viewer) take() error {
	due, err := v.stream.Due(&pubsub.Answer{})
	v.rest += string(due)
	v.stream.Took(len(due))
	return err
}

// behind reports whether the next part must be made before anything is due.
func (v *viewer) behind() bool {
	due, err := v.stream.Due(&pubsub.Answer{})
	return len(due) == 0 && errors.Is(err, pubsub.ErrBehind)
}

// next returns the next frame that is not just a position.
func (v *viewer) next() frame {
	v.t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		line, rest, whole := strings.Cut(v.rest, "\n")
		if whole {
			v.rest = rest
			parts := strings.SplitN(line, " ", 4)
			f := frame{parts[0], parts[1], parts[2], parts[3]}
			if f.id != "none" {
				v.lastID = f.id
			}
			if f.kind == "at" {
				continue
			}
			return f
		}
		changed := v.stream.Feed().Changed()
		switch before, err := len(v.rest), v.take(); {
		case errors.Is(err, pubsub.ErrBehind):
			if wait := v.stream.Advance(); wait == nil {
				v.parts++
			} else if err := wait(v.t.Context()); err != nil {
				v.t.Fatal(err)
			}
			continue
		case err != nil:
			v.t.Fatal(err)
		case len(v.rest) > before:
			continue
		}
		select {
		case <-changed:
		case <-timeout:
			v.t.Fatalf("no frame came; last id %s", v.lastID)
		}
	}
}

// texts returns the text of the next n frames, which must be events.
func (v *viewer) texts(n int) []string {
	v.t.Helper()
	var all []string
	for range n {
		f := v.next()
		if f.kind != "event" {
			v.t.Fatalf("got %+v, want an event", f)
		}
		all = append(all, f.text)
	}
	return all
}

func (v *viewer) want(texts ...string) {
	v.t.Helper()
	if got := v.texts(len(texts)); !slices.Equal(got, texts) {
		v.t.Fatalf("got %v, want %v", got, texts)
	}
}

// wantGap expects a gap notice.
func (v *viewer) wantGap(channel string, reason store.Reason) {
	v.t.Helper()
	if f := v.next(); f.kind != "gap" || f.channel != channel || f.text != string(reason) {
		v.t.Fatalf("got %+v, want a gap of %s: %s", f, channel, reason)
	}
}

// nothingMore checks that an event published now is the very next frame.
func (v *viewer) nothingMore(r *replica, channel string) {
	v.t.Helper()
	r.append(v.t, channel, `"sentinel"`)
	v.want(`"sentinel"`)
}

func numbers(from, to int) []string {
	var all []string
	for i := from; i <= to; i++ {
		all = append(all, strconv.Itoa(i))
	}
	return all
}

func TestAnEventPublishedAfterOpenArrivesOnEveryReplicaWithTheSameID(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		a, b := start(t, s.Addr, "a"), start(t, s.Addr, "b")
		va := a.open(t, pubsub.Request{Channels: []string{"orders"}})
		vb := b.open(t, pubsub.Request{Channels: []string{"orders"}})
		e := a.append(t, "orders", `1`)
		for _, v := range []*viewer{va, vb} {
			if f := v.next(); f.id != e.ID() || f.text != `1` {
				t.Errorf("got %+v, want %s", f, e.ID())
			}
		}
	})
}

func TestAClientResumesOnAnotherReplicaWhilePublishingGoesOn(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		replicas := []*replica{start(t, s.Addr, "a"), start(t, s.Addr, "b")}
		const events = 90 // fewer than are kept
		v := replicas[0].open(t, pubsub.Request{Channels: []string{"orders"}})
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := 1; i <= events; i++ {
				replicas[0].append(t, "orders", strconv.Itoa(i))
			}
		})
		defer wg.Wait()
		var got []string
		for n := 1; len(got) < events; n++ {
			got = append(got, v.texts(min(1+n%4, events-len(got)))...)
			id := v.lastID
			v.stream.Close()
			v = replicas[n%2].open(t, pubsub.Request{Channels: []string{"orders"}, LastEventID: id})
		}
		if want := numbers(1, events); !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
	})
}

func TestAClientThatNeverGotAnEventResumesFromWhereItConnected(t *testing.T) {
	a := start(t, storetest.Mini(t).Addr, "a")
	v := a.open(t, pubsub.Request{Channels: []string{"orders", "stock"}})
	line, _, _ := strings.Cut(v.rest, "\n")
	id := strings.Fields(line)[1] // the position that Start begins with
	v.stream.Close()
	a.append(t, "stock", `1`)
	a.append(t, "orders", `2`)
	v = a.open(t, pubsub.Request{Channels: []string{"orders", "stock"}, LastEventID: id})
	got := v.texts(2)
	slices.Sort(got)
	if !slices.Equal(got, []string{`1`, `2`}) {
		t.Errorf("got %v", got)
	}
}

func TestOneConnectionResumesAllOfItsChannels(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		a, b := start(t, s.Addr, "a"), start(t, s.Addr, "b")
		channels := []string{"c1", "c2", "c3"}
		v := a.open(t, pubsub.Request{Channels: channels})
		for i := 1; i <= 9; i++ {
			a.append(t, channels[i%3], strconv.Itoa(i))
		}
		v.want(numbers(1, 5)...)
		v = b.open(t, pubsub.Request{Channels: channels, LastEventID: v.lastID})
		got := v.texts(4)
		slices.Sort(got) // channels have one clock each; among them only the millisecond tells
		if !slices.Equal(got, numbers(6, 9)) {
			t.Errorf("got %v", got)
		}
		// With one channel more and one less, what is common goes on and the new one says that it is unknown.
		id := v.lastID
		a.append(t, "c2", `10`)
		a.append(t, "c4", `11`)
		v = a.open(t, pubsub.Request{Channels: []string{"c2", "c4"}, LastEventID: id})
		v.wantGap("c4", store.Unknown)
		v.want(`10`, `11`)
	})
}

func TestAGapIsAnnouncedExactlyWhenEventsAreGone(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		a := start(t, s.Addr, "a")
		var first, kept store.Event
		for i := 1; i <= 103; i++ { // the newest 100 are kept: 4 to 103
			e := a.append(t, "orders", strconv.Itoa(i))
			switch i {
			case 2:
				first = e
			case 3:
				kept = e
			}
		}
		resume := func(id string) *viewer {
			return a.open(t, pubsub.Request{Channels: []string{"orders"}, LastEventID: id})
		}
		v := resume(kept.ID()) // everything after it is stored, if only just
		v.want(numbers(4, 103)...)

		v = resume(first.ID())
		v.wantGap("orders", store.Trimmed)
		v.want(numbers(4, 103)...)
		v = resume(v.lastID)
		v.nothingMore(a, "orders")

		for name, id := range map[string]string{
			"rubbish": "rubbish", "another channel's": "3-0123456789", "from the future": "9000-0123456789",
		} {
			t.Run(name, func(t *testing.T) {
				v := resume(id)
				v.t = t
				if f := v.next(); f.kind != "gap" {
					t.Errorf("got %+v, want a gap", f)
				}
			})
		}
	})
}

func TestAFirstConnectGetsTheReplayItAsksFor(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		a := start(t, s.Addr, "a")
		for i := 1; i <= 5; i++ {
			a.append(t, "orders", strconv.Itoa(i))
		}
		v := a.open(t, pubsub.Request{Channels: []string{"orders"}, Replay: 2})
		v.want(`4`, `5`)
		v.nothingMore(a, "orders")
		v = a.open(t, pubsub.Request{Channels: []string{"orders"}, Replay: 1000})
		v.want(`1`, `2`, `3`, `4`, `5`, `"sentinel"`)
	})
}

func TestAFilterPassesItsTypesAndThePositionGoesOn(t *testing.T) {
	a := start(t, storetest.Mini(t).Addr, "a")
	add := func(typ, data string) {
		d, err := kind.DraftJSON("orders", typ, []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := a.store.Append(t.Context(), d, store.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	v := a.open(t, pubsub.Request{Channels: []string{"orders"}, Types: []string{"paid"}})
	add("paid", `1`)
	v.want(`1`)
	for range 99 {
		add("seen", `2`)
	}
	add("paid", `3`)
	v.want(`3`)
	add("seen", `4`)
	v = a.open(t, pubsub.Request{Channels: []string{"orders"}, Types: []string{"paid"}, LastEventID: v.lastID})
	add("paid", `5`)
	v.want(`5`)
}

func TestAFinishedTaskEndsItsStream(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		a, b := start(t, s.Addr, "a"), start(t, s.Addr, "b")
		request := pubsub.Request{Channels: []string{"progress:t"}, Replay: 1}
		waiting := a.open(t, request)
		for _, p := range []string{"10", "20", "30"} {
			a.append(t, "progress:t", `{"progress":`+p+`}`)
		}
		waiting.texts(3)
		late := b.open(t, request)
		if text := late.next().text; !strings.Contains(text, `"progress":30`) {
			t.Errorf("a late joiner got %s first", text)
		}
		a.append(t, "progress:t", `{"progress":100}`)
		for _, v := range []*viewer{waiting, late} {
			if text := v.next().text; !strings.Contains(text, `"completed"`) {
				t.Errorf("got %s, want the end", text)
			}
			if err := v.take(); !errors.Is(err, pubsub.ErrEnded) {
				t.Errorf("after the end: got %v, want ErrEnded", err)
			}
		}
		again := request
		again.LastEventID, again.Encoder = late.lastID, encoder{}
		if _, err := b.Open(t.Context(), again); !errors.Is(err, pubsub.ErrEnded) {
			t.Errorf("a client that has seen the end is told %v, want ErrEnded", err)
		}
		if v := b.open(t, request); !strings.Contains(v.next().text, `"completed"`) {
			t.Error("a client that has not seen the end does not get it")
		}
	})
}

// publishRaw is redis-cli PUBLISH; it waits until somebody has subscribed.
func publishRaw(t *testing.T, rdb *redis.Client, channel, payload string) {
	t.Helper()
	waitFor(t, "a receiver of "+channel, func() bool {
		n, err := rdb.Publish(t.Context(), channel, payload).Result()
		if err != nil {
			t.Fatal(err)
		}
		return n > 0
	})
}

func TestARawPublishIsStoredOnceWithOneIDHoweverManyReplicasRun(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		replicas := []*replica{start(t, s.Addr, "a"), start(t, s.Addr, "b"), start(t, s.Addr, "c")}
		rdb := s.Client(t)
		for _, channel := range []string{"orders", kind.Notifications} {
			var viewers []*viewer
			for _, r := range replicas {
				viewers = append(viewers, r.open(t, pubsub.Request{Channels: []string{channel}}))
			}
			const messages = 60
			for range messages {
				publishRaw(t, rdb, channel, `the same`) // equal payloads are events of their own
			}
			var ids []string
			for i, v := range viewers {
				for j := range messages {
					f := v.next()
					if i == 0 {
						ids = append(ids, f.id)
					} else if f.id != ids[j] {
						t.Fatalf("replica %d has %s where the first has %s", i, f.id, ids[j])
					}
				}
			}
			slices.Sort(ids)
			if len(slices.Compact(ids)) != messages {
				t.Errorf("ids repeat: %v", ids)
			}
			h, err := replicas[0].store.History(t.Context(), channel)
			if err != nil || h.Tip.Position.Offset != messages {
				t.Errorf("channel %s: stored %d events, want %d (%v)", channel, h.Tip.Position.Offset, messages, err)
			}
		}
		// Nobody watches this task, and it is taken in all the same.
		publishRaw(t, rdb, "progress:t1", `{"progress":40}`)
		waitFor(t, "the task", func() bool {
			h, err := replicas[0].store.History(t.Context(), "progress:t1")
			return err == nil && len(h.Events) == 1
		})
	})
}

func TestRawMessagesKeepTheirOrder(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		a := start(t, s.Addr, "a")
		start(t, s.Addr, "b")
		v := a.open(t, pubsub.Request{Channels: []string{"orders"}})
		rdb := s.Client(t)
		publishRaw(t, rdb, "orders", "0")
		for i := 1; i <= 90; i++ {
			if err := rdb.Publish(t.Context(), "orders", i).Err(); err != nil {
				t.Fatal(err)
			}
		}
		v.want(numbers(0, 90)...)
	})
}

func TestAChannelInTheSettingsIsTakenInWhileNobodyWatches(t *testing.T) {
	s := storetest.Mini(t)
	a := start(t, s.Addr, "a", func(c *pubsub.Config) { c.Ingest = []string{"audit"} })
	publishRaw(t, s.Client(t), "audit", "x")
	waitFor(t, "the event", func() bool {
		h, err := a.store.History(t.Context(), "audit")
		return err == nil && len(h.Events) == 1
	})
}

func TestNothingIsLostOrRepeatedWhenRedisKillsTheSubscription(t *testing.T) {
	s := storetest.Real(t)
	a, b := start(t, s.Addr, "a"), start(t, s.Addr, "b")
	va := a.open(t, pubsub.Request{Channels: []string{"orders"}})
	vb := b.open(t, pubsub.Request{Channels: []string{"orders", "stock"}})
	rdb := s.Client(t)
	const events = 80
	for i := 1; i <= events; i++ {
		if i%20 == 0 {
			if err := rdb.ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err(); err != nil {
				t.Fatal(err)
			}
		}
		a.append(t, "orders", strconv.Itoa(i))
	}
	va.want(numbers(1, events)...)
	vb.want(numbers(1, events)...)
}

func TestFlushAllIsAnnouncedAsAResetAndWhatComesNextIsDelivered(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		a := start(t, s.Addr, "a")
		quiet := a.open(t, pubsub.Request{Channels: []string{"quiet"}})
		busy := a.open(t, pubsub.Request{Channels: []string{"busy"}})
		a.append(t, "quiet", `1`)
		a.append(t, "busy", `1`)
		quiet.want(`1`)
		busy.want(`1`)
		if err := s.Client(t).FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		a.append(t, "busy", `2`)
		busy.wantGap("busy", store.Reset)
		busy.want(`2`)
		quiet.wantGap("quiet", store.Reset) // found by the check of quiet channels
		a.append(t, "quiet", `2`)
		quiet.want(`2`)
		// A client that knows this is not told of it again.
		v := a.open(t, pubsub.Request{Channels: []string{"quiet"}, LastEventID: quiet.lastID})
		v.nothingMore(a, "quiet")
	})
}

func TestRedisRestoredFromAnOlderSnapshotLosesAndRepeatsNothingForConnectedClients(t *testing.T) {
	s := storetest.Real(t, "--dbfilename", "dump.rdb")
	a, b := start(t, s.Addr, "a"), start(t, s.Addr, "b")
	rdb := s.Client(t)
	v := a.open(t, pubsub.Request{Channels: []string{"orders"}})
	w := b.open(t, pubsub.Request{Channels: []string{"orders"}})
	for i := 1; i <= 5; i++ {
		a.append(t, "orders", strconv.Itoa(i))
	}
	if err := rdb.Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	for i := 6; i <= 9; i++ {
		a.append(t, "orders", strconv.Itoa(i))
	}
	v.want(numbers(1, 9)...)
	w.want(numbers(1, 9)...)
	s.Real.Kill()
	s.Real.Start(t) // with what the snapshot has: 1 to 5
	var e store.Event
	waitFor(t, "Redis", func() bool {
		d, _ := kind.DraftJSON("orders", "", []byte(`100`))
		var err error
		e, _, err = a.store.Append(t.Context(), d, store.AppendOptions{})
		return err == nil
	})
	if e.Position.Offset != 6 {
		t.Fatalf("the offset after the restore is %d: this is not the scenario", e.Position.Offset)
	}
	for i := 101; i <= 106; i++ { // beyond where the lost branch ended
		a.append(t, "orders", strconv.Itoa(i))
	}
	v.want(numbers(100, 106)...)
	// A client that was at a lost event goes on after the last common one, on a replica that saw it.
	lost := w.lastID
	waitFor(t, "both replicas", func() bool { return a.Ready() == nil && b.Ready() == nil })
	w = b.open(t, pubsub.Request{Channels: []string{"orders"}, LastEventID: lost})
	w.want(numbers(100, 106)...)
}

func TestAFrozenRedisEndsReadinessAndNothingElse(t *testing.T) {
	s := storetest.Real(t)
	a := start(t, s.Addr, "a")
	v := a.open(t, pubsub.Request{Channels: []string{"orders"}})
	a.append(t, "orders", `1`)
	v.want(`1`)
	s.Real.Signal(t, syscall.SIGSTOP)
	waitFor(t, "the replica not to be ready", func() bool { return a.Ready() != nil })
	s.Real.Signal(t, syscall.SIGCONT)
	waitFor(t, "the replica to be ready", func() bool { return a.Ready() == nil })
	a.append(t, "orders", `2`)
	v.want(`2`)
}

func TestABlackHoleBetweenTheReplicaAndRedisIsNoticedAndHealed(t *testing.T) {
	s := storetest.Real(t)
	hole := newProxy(t, s.Addr)
	a, far := start(t, hole.addr, "a"), start(t, s.Addr, "far")
	v := a.open(t, pubsub.Request{Channels: []string{"orders"}})
	far.append(t, "orders", `1`)
	v.want(`1`)
	hole.swallow(true)
	for i := 2; i <= 5; i++ {
		far.append(t, "orders", strconv.Itoa(i))
	}
	waitFor(t, "the replica not to be ready", func() bool { return a.Ready() != nil })
	hole.swallow(false)
	v.want(numbers(2, 5)...)
	waitFor(t, "the replica to be ready", func() bool { return a.Ready() == nil })
}

func TestAMassResumeReadsEachChannelOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		a := start(t, s.Addr, "a")
		from := a.append(t, "orders", `1`).ID()
		for i := 2; i <= 50; i++ {
			a.append(t, "orders", strconv.Itoa(i))
		}
		var wg sync.WaitGroup
		for range 300 {
			wg.Go(func() {
				st, err := a.Open(t.Context(), pubsub.Request{
					Channels: []string{"orders"}, Encoder: encoder{}, LastEventID: from,
				})
				if err != nil {
					t.Error(err)
					return
				}
				defer st.Close()
				first, err := st.Due(&pubsub.Answer{})
				if n := strings.Count(string(first), "event "); n != 49 || err != nil {
					t.Errorf("got %d events and error %v, want 49 and none", n, err)
				}
			})
		}
		wg.Wait()
		if n := a.metric(t, "sluice_history_reads_total"); n > 1 {
			t.Errorf("the history was read %v times for 300 clients", n)
		}
	})
}

func TestChannelsAndFeedsThatNobodyUsesAreRemoved(t *testing.T) {
	a := start(t, storetest.Mini(t).Addr, "a")
	var streams []*pubsub.Stream
	for i := range 200 {
		st, err := a.Open(t.Context(), pubsub.Request{Channels: []string{fmt.Sprint("c", i%50)}, Encoder: encoder{}})
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, st)
	}
	if channels, feeds := a.Counts(); channels != 52 || feeds != 50 {
		t.Errorf("%d channels and %d feeds for 50 channels in use", channels, feeds)
	}
	for _, st := range streams {
		st.Close()
		st.Close()
	}
	if _, feeds := a.Counts(); feeds != 0 {
		t.Errorf("%d feeds are left", feeds)
	}
}

// proxy is a TCP proxy that can swallow everything without closing anything.
type proxy struct {
	addr string

	mu    sync.Mutex
	hole  bool       // guarded by mu
	conns []net.Conn // guarded by mu
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, near, far)
			p.mu.Unlock()
			wg.Go(func() { p.pipe(near, far) })
			wg.Go(func() { p.pipe(far, near) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		wg.Wait()
	})
	return p
}

// pipe copies until either side closes; what comes while the hole is open is gone for good.
func (p *proxy) pipe(from, to net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		hole := p.hole
		p.mu.Unlock()
		if hole && err == nil {
			continue
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				from.Close()
				return
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) || !hole {
				to.Close()
			}
			return
		}
	}
}

func (p *proxy) swallow(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hole = yes
}

func TestAFullRedisTakesNoEventsAndTheGatewayGoesOn(t *testing.T) {
	s := storetest.Real(t, "--maxmemory-policy", "noeviction")
	a := start(t, s.Addr, "a")
	rdb := s.Client(t)
	v := a.open(t, pubsub.Request{Channels: []string{"orders"}})
	a.append(t, "orders", `1`)
	v.want(`1`)
	if err := rdb.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	d, _ := kind.DraftJSON("orders", "", []byte(`2`))
	if _, _, err := a.store.Append(t.Context(), d, store.AppendOptions{}); err == nil {
		t.Fatal("a full Redis took an event: this is not the scenario")
	}
	// A channel that Redis cannot begin: its stream does not open, and nothing else happens.
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := a.Open(ctx, pubsub.Request{Channels: []string{"new"}, Encoder: encoder{}}); err == nil {
		t.Error("a stream opened on a channel that could not be begun")
	}
	if err := rdb.ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the replica to be ready on a full Redis", func() bool { return a.Ready() == nil })
	v2 := a.open(t, pubsub.Request{Channels: []string{"orders"}, Replay: 50}) // more than is in memory
	v2.want(`1`)
	if err := rdb.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	a.append(t, "orders", `2`)
	v.want(`2`)
	v2.want(`2`)
	late := a.open(t, pubsub.Request{Channels: []string{"new"}})
	late.nothingMore(a, "new")
}

func TestAChannelWhoseKeySomebodyElseWroteDoesNotConcernTheOthers(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		a := start(t, s.Addr, "a")
		if err := s.Client(t).Set(t.Context(), "sluice:{bad}:meta", "x", time.Minute).Err(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if _, err := a.Open(ctx, pubsub.Request{Channels: []string{"bad"}, Encoder: encoder{}}); err == nil {
			t.Error("a stream opened on a channel that cannot be read")
		}
		v := a.open(t, pubsub.Request{Channels: []string{"good"}})
		v.nothingMore(a, "good")
	})
}

func TestAReplicaThatStopsStoresWhatItWasCountedAsAReceiverOf(t *testing.T) {
	s := storetest.Real(t)
	a := start(t, s.Addr, "a")
	b := start(t, s.Addr, "b")
	v := a.open(t, pubsub.Request{Channels: []string{"orders"}}) // only a follows it, and for less than a second
	rdb := s.Client(t)
	received := 0
	stopped := make(chan struct{})
	for i := 0; ; i++ {
		n, err := rdb.Publish(t.Context(), "orders", i).Result()
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		received++
		if i == 500 {
			go func() {
				defer close(stopped)
				a.stop()
			}()
		}
	}
	<-stopped
	v.stream.Close()
	h, err := b.store.History(t.Context(), "orders")
	if err != nil || h.Tip.Position.Offset != uint64(received) {
		t.Errorf("stored %d of %d messages that had a receiver (%v)", h.Tip.Position.Offset, received, err)
	}
}
