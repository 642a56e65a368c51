package pubsub_test

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync"
	"testing"

	"sluice/pubsub"
	"sluice/store/storetest"
)

// dam is a TCP proxy that can hold back what Redis sends over its present subscribing connections, and let it through bit by
// bit.
type dam struct {
	addr string

	mu    sync.Mutex
	links []*link // guarded by mu
}

// link is a connection through a dam, on its way from the server. The dam's lock guards all of it.
type link struct {
	near, far   net.Conn
	subscribing bool
	held        bool
	waiting     [][]byte // what the server has sent, each message by itself
	over        bool     // the server has closed the connection
}

func newDam(t *testing.T, to string) *dam {
	t.Helper()
	d := &dam{}
	d.addr = between(t, to, func(near, far net.Conn) {
		k := &link{near: near, far: far}
		d.mu.Lock()
		d.links = append(d.links, k)
		d.mu.Unlock()
		var wg sync.WaitGroup
		wg.Go(func() { d.pass(k) })
		d.toServer(k)
		wg.Wait()
	})
	return d
}

// toServer passes on what the client sends, and notes whether it subscribes.
func (d *dam) toServer(k *link) {
	buf := make([]byte, 32<<10)
	for {
		n, err := k.near.Read(buf)
		if bytes.Contains(buf[:n], []byte("SUBSCRIBE")) {
			d.mu.Lock()
			k.subscribing = true
			d.mu.Unlock()
		}
		_, _ = k.far.Write(buf[:n]) // a server that is gone does not read it
		if err != nil {
			k.far.Close()
			return
		}
	}
}

// pass takes what the server sends.
func (d *dam) pass(k *link) {
	buf := make([]byte, 32<<10)
	for {
		n, err := k.far.Read(buf)
		d.mu.Lock()
		k.waiting = append(k.waiting, bytes.SplitAfter(bytes.Clone(buf[:n]), []byte("\r\n>"))...) // the next one begins with >
		k.over = err != nil
		if !k.held {
			k.flow(len(k.waiting))
		}
		d.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// flow sends n pieces on.
func (k *link) flow(n int) {
	for _, piece := range k.waiting[:n] {
		_, _ = k.near.Write(piece) // a client that is gone does not read it
	}
	if k.waiting = k.waiting[n:]; k.over && len(k.waiting) == 0 {
		k.near.Close()
	}
}

// shut holds everything back that comes over the present subscribing connections.
func (d *dam) shut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range d.links {
		k.held = k.subscribing
	}
}

// find returns the connection in which a piece with a text waits, and how many pieces wait up to that one; nil if none does.
// d.mu is held.
func (d *dam) find(text string) (k *link, pieces int) {
	for _, k := range d.links {
		for i, piece := range k.waiting {
			if bytes.Contains(piece, []byte(text)) {
				return k, i + 1
			}
		}
	}
	return nil, 0
}

// await waits until the server has sent a piece with a text.
func (d *dam) await(t *testing.T, text string) {
	t.Helper()
	waitFor(t, text+" to be sent", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		k, _ := d.find(text)
		return k != nil
	})
}

// letThrough sends on what waits up to the first piece with a text.
func (d *dam) letThrough(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k, pieces := d.find(text)
	k.flow(pieces)
}

// open lets everything through.
func (d *dam) open() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range d.links {
		k.held = false
		k.flow(len(k.waiting))
	}
}

// A replica stands still and has a raw message in its socket that another replica has stored. Redis comes back from an older
// snapshot, which does not know of that. The message must not be stored again: clients have it.
func TestARawMessageThatClientsHaveIsNotStoredAgainAfterRedisCameBackOlder(t *testing.T) {
	s := storetest.Real(t, "--dbfilename", "dump.rdb")
	d := newDam(t, s.Addr)
	quick := start(t, s.Addr, "quick")
	v := quick.open(t, pubsub.Request{Channels: []string{"orders"}})
	rdb := s.Client(t)
	publishRaw(t, rdb, "orders", "one") // quick is the one that presents
	v.want(`"one"`)
	slow := start(t, d.addr, "slow")
	slow.open(t, pubsub.Request{Channels: []string{"orders"}})
	if err := rdb.Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	d.shut()
	if n, err := rdb.Publish(t.Context(), "orders", "two").Result(); n != 2 || err != nil {
		t.Fatalf("%d replicas get the message, want 2; %v", n, err)
	}
	v.want(`"two"`)
	d.await(t, `"data":"two"`)
	s.Real.Kill()
	s.Real.Start(t) // with "one" alone
	d.letThrough("two")
	waitFor(t, "the replica to present the message", func() bool {
		return strings.Contains(s.Client(t).Info(t.Context(), "errorstats").Val(), "ELSEWHERE") ||
			s.Client(t).LLen(t.Context(), "sluice:history:{orders}").Val() > 1
	})
	d.open()
	for _, r := range []*replica{quick, slow} {
		waitFor(t, r.Replica()+" to be ready", func() bool { return r.Ready() == nil })
	}
	publishRaw(t, rdb, "orders", "three")
	v.want(`"three"`)
	h, err := slow.store.History(t.Context(), "orders")
	if err != nil || len(h.Events) != 2 {
		t.Errorf("stored are %d events, want 2; %v", len(h.Events), err)
	}
}

// What nobody has stored is stored when there is a connection again.
func TestARawMessageThatNobodyStoredBeforeRedisCameBackOlderIsStoredOnce(t *testing.T) {
	s := storetest.Real(t, "--dbfilename", "dump.rdb")
	d := newDam(t, s.Addr)
	a := start(t, d.addr, "a")
	a.open(t, pubsub.Request{Channels: []string{"orders"}})
	rdb := s.Client(t)
	if err := rdb.Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	d.shut()
	publishRaw(t, rdb, "orders", "one")
	d.await(t, "one")
	s.Real.Kill()
	s.Real.Start(t)
	d.open()
	waitFor(t, "the message to be stored", func() bool {
		h, err := a.store.History(context.Background(), "orders")
		return err == nil && len(h.Events) == 1 && string(h.Events[0].Data) == `"one"`
	})
}
