package pubsub_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"sluice/pubsub"
	"sluice/store"
	"sluice/store/kind"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// encoder writes frames that are easy to take apart: kind, id, channel, data or reason.
type encoder struct{}

func (encoder) ID(dst, id []byte) []byte { return fmt.Appendf(dst, "%s ", id) }

func (encoder) Event(dst []byte, e store.Event) []byte {
	return fmt.Appendf(dst, "event %s %s\n", e.Channel, e.Data)
}

func (encoder) Gap(dst []byte, channel string, reason store.Reason) []byte {
	return fmt.Appendf(dst, "gap %s %s\n", channel, reason)
}

func (e encoder) Position(dst, id []byte) []byte { return append(e.ID(dst, id), "at - -\n"...) }

// replica is a broker with all around it.
type replica struct {
	*pubsub.Broker
	store *store.Store
	rdb   *redis.Client
	stop  func()
}

// start runs a broker on a Redis until the test ends.
func start(t testing.TB, addr, name string, change ...func(*pubsub.Config)) *replica {
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
func (r *replica) metric(t testing.TB, name string) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry() // finds a metric that is described wrongly
	registry.MustRegister(r.Broker)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			sum := 0.0 // over all labels
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
			return sum
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

func (r *replica) append(t testing.TB, channel, data string) store.Event {
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
	due, _, err := v.stream.Next(&pubsub.Answer{})
	v.rest += string(due)
	return err
}

// behind reports whether the next part must be made before anything is due.
func (v *viewer) behind() bool {
	before := len(v.rest)
	err := v.take()
	return len(v.rest) == before && errors.Is(err, pubsub.ErrBehind)
}

// next returns the next frame that is not just a position.
func (v *viewer) next() frame {
	v.t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		line, rest, whole := strings.Cut(v.rest, "\n")
		if whole {
			v.rest = rest
			if strings.HasPrefix(line, "gap ") {
				line = "none " + line // a gap that says nothing of the client's place
			}
			parts := strings.SplitN(line, " ", 4)
			f := frame{parts[1], parts[0], parts[2], parts[3]}
			if f.id != "none" {
				v.lastID = f.id
			}
			if f.kind == "at" {
				continue
			}
			return f
		}
		grown := make(chan struct{}, 1)
		for _, f := range v.stream.Feeds() {
			defer f.Notify(func() {
				select {
				case grown <- struct{}{}:
				default:
				}
			})()
		}
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
		case <-grown:
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
