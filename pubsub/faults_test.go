package pubsub_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice/pubsub"
	"sluice/store"
	"sluice/store/kind"
	"sluice/store/storetest"
)

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

// proxy is a TCP proxy that can swallow everything without closing anything.
type proxy struct {
	addr string

	mu   sync.Mutex
	hole bool // guarded by mu
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	p := &proxy{}
	p.addr = between(t, to, func(near, far net.Conn) {
		var wg sync.WaitGroup
		wg.Go(func() { p.pipe(near, far) })
		p.pipe(far, near)
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
	early := a.open(t, pubsub.Request{Channels: []string{"new"}}) // who only reads needs no memory of Redis's
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
	early.nothingMore(a, "new")
}

func TestAChannelWhoseKeySomebodyElseWroteDoesNotConcernTheOthers(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		a := start(t, s.Addr, "a")
		if err := s.Client(t).Set(t.Context(), "sluice:meta:{bad}", "x", time.Minute).Err(); err != nil {
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
