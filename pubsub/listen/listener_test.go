package listen_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"sluice/pubsub/ingest"
	"sluice/pubsub/listen"
	"sluice/store"
	"sluice/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// diary is a Receiver that writes down what it is told.
type diary struct {
	mu    sync.Mutex
	lines []string // guarded by mu
	grown chan struct{}
}

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
	select {
	case d.grown <- struct{}{}:
	default:
	}
}

func (d *diary) Announced(channel string, payload []byte) {
	d.note("announced %s %s", channel, payload)
}
func (d *diary) Raw(channel string, m ingest.Message) {
	d.note("raw %s %s %d", channel, m.Payload, m.ID.Number)
}
func (d *diary) Subscribed(channels []string, alone bool) {
	slices.Sort(channels)
	d.note("subscribed %v, alone: %v", channels, alone)
}
func (d *diary) Adopted(channel string, id ingest.RawID) {
	d.note("adopted %s %s %d", channel, id.Marker, id.Number)
}
func (d *diary) Connected(string) { d.note("connected") }
func (d *diary) Lost()            { d.note("lost") }

// waitFor waits until a line has been written n times.
func (d *diary) waitFor(t *testing.T, line string, n int) {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		d.mu.Lock()
		lines := slices.Clone(d.lines)
		d.mu.Unlock()
		count := 0
		for _, l := range lines {
			if l == line {
				count++
			}
		}
		if count >= n {
			return
		}
		select {
		case <-d.grown:
		case <-timeout:
			t.Fatalf("%q came %d times, want %d:\n%q", line, count, n, lines)
		}
	}
}

// names are those of all listeners here.
var names = store.NewNames(store.DefaultPrefix, 0)

// atOnce is a listen.Queue in which nothing waits, because a diary handles all at once.
type atOnce struct{}

func (atOnce) Flush()               {}
func (atOnce) Fence(handled func()) { handled() }

// start runs a listener until the test ends.
func start(t *testing.T, rdb *redis.Client, replica string) (*listen.Listener, *diary) {
	d := &diary{grown: make(chan struct{}, 1)}
	l := listen.New(listen.Config{
		Redis: rdb, Replica: replica, Names: names, MaxPayload: 4096, Receiver: d, Queue: atOnce{},
		Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { l.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return l, d
}

func TestWhatIsPublishedAfterSubscribedIsHandedOverUntilTheSubscriptionEnds(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		rdb := s.Client(t)
		l, d := start(t, rdb, "a")
		l.Want(listen.Subscription{Channel: "orders", Live: true, Raw: true})
		l.Want(listen.Subscription{Channel: "progress:*", Raw: true, Pattern: true})
		d.waitFor(t, "subscribed [orders], alone: true", 1)
		for i := range 2 {
			rdb.Publish(t.Context(), "orders", fmt.Sprint("order", i))
		}
		rdb.Publish(t.Context(), names.Live("orders"), "news")
		d.waitFor(t, "raw orders order0 1", 1)
		d.waitFor(t, "raw orders order1 2", 1)
		d.waitFor(t, "announced orders news", 1)
		if err := l.Fence(t.Context()); err != nil {
			t.Error(err)
		}
		for l.Ready() != nil { // the first probe may not be back yet
			if err := l.Fence(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		l.Unwant("orders")
		for {
			n, err := rdb.Publish(t.Context(), "orders", "late").Result()
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
		}
	})
}

func TestALostConnectionIsReplacedAndAllOfItsSubscriptionsComeBack(t *testing.T) {
	s := storetest.Real(t)
	rdb := s.Client(t)
	l, d := start(t, rdb, "a")
	l.Want(listen.Subscription{Channel: "orders", Live: true, Raw: true})
	d.waitFor(t, "subscribed [orders], alone: true", 1)
	if err := rdb.ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err(); err != nil {
		t.Fatal(err)
	}
	d.waitFor(t, "lost", 1)
	d.waitFor(t, "subscribed [orders], alone: true", 2)
	rdb.Publish(t.Context(), "orders", "after")
	d.waitFor(t, "raw orders after 1", 1)
}

func TestTheSecondReplicaHearsThatItIsNotAlone(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		first, a := start(t, s.Client(t), "a")
		first.Want(listen.Subscription{Channel: "orders", Live: true})
		a.waitFor(t, "subscribed [orders], alone: true", 1)
		second, b := start(t, s.Client(t), "b")
		second.Want(listen.Subscription{Channel: "orders", Live: true})
		b.waitFor(t, "subscribed [orders], alone: false", 1)
	})
}

func TestAReplicaHearsOfWhichChannelsItIsTheOnlyFollower(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		first, a := start(t, s.Client(t), "a")
		first.Want(listen.Subscription{Channel: "orders", Live: true, Raw: true})
		first.Want(listen.Subscription{Channel: "progress:*", Raw: true, Pattern: true})
		a.waitFor(t, "subscribed [orders], alone: true", 1)
		a.waitFor(t, "subscribed [progress:*], alone: true", 1)
		second, b := start(t, s.Client(t), "b")
		for _, channel := range []string{"orders", "stock"} {
			second.Want(listen.Subscription{Channel: channel, Live: true, Raw: true})
		}
		second.Want(listen.Subscription{Channel: "progress:*", Raw: true, Pattern: true})
		b.waitFor(t, "subscribed [orders], alone: false", 1)
		b.waitFor(t, "subscribed [stock], alone: true", 1)
		b.waitFor(t, "subscribed [progress:*], alone: false", 1)
	})
}

func TestANoticeOfAdoptedMessagesIsHandedOver(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		rdb := s.Client(t)
		l, d := start(t, rdb, "a")
		l.Want(listen.Subscription{Channel: "progress:*", Raw: true, Pattern: true})
		d.waitFor(t, "subscribed [progress:*], alone: true", 1)
		for _, text := range []string{"not readable", "m1 7 progress:t1", "m1 8 progress:any name"} {
			rdb.Publish(t.Context(), names.Adopted, text)
		}
		d.waitFor(t, "adopted progress:t1 m1 7", 1)
		d.waitFor(t, "adopted progress:any name m1 8", 1)
	})
}
