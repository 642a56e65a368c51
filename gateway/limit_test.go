package gateway

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

func TestOneClientIsOneIPv4AddressOrOneIPv6Network(t *testing.T) {
	for _, test := range []struct {
		name, a, b string
		same       bool
	}{
		{"the same IPv4 address", "192.0.2.1", "192.0.2.1", true},
		{"neighbours in IPv4", "192.0.2.1", "192.0.2.2", false},
		{"IPv4 written as IPv6", "192.0.2.1", "::ffff:192.0.2.1", true},
		{"neighbours in IPv4 written as IPv6", "::ffff:192.0.2.1", "::ffff:192.0.2.2", false},
		{"the same /64 of IPv6", "2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true},
		{"two /64 of IPv6", "2001:db8:1:2::1", "2001:db8:1:3::1", false},
		{"a zone is no address", "fe80::1%eth0", "fe80::1%eth1", true},
		{"IPv6 written in full", "2001:db8::1", "2001:0db8:0000:0000:0000:0000:0000:0001", true},
		{"unreadable addresses share one allowance", "", "nonsense", true},
		{"unreadable is not the zero address", "", "0.0.0.0", false},
	} {
		l := newAddressLimit(1)
		if _, ok := l.acquire(test.a); !ok {
			t.Fatalf("%s: the first stream of %q was refused", test.name, test.a)
		}
		if _, ok := l.acquire(test.b); ok == test.same {
			t.Errorf("%s: %q and %q count as one client: %v, want %v", test.name, test.a, test.b, !ok, test.same)
		}
	}
}

func TestAReleasedStreamMakesRoomOnceOnly(t *testing.T) {
	l := newAddressLimit(2)
	first, _ := l.acquire("192.0.2.1")
	if _, ok := l.acquire("192.0.2.1"); !ok {
		t.Fatal("the second of two streams was refused")
	}
	if _, ok := l.acquire("192.0.2.1"); ok {
		t.Fatal("a third stream got in")
	}
	first()
	first() // a second release of one stream must not make room for two
	if _, ok := l.acquire("192.0.2.1"); !ok {
		t.Error("no room after a release")
	}
	if _, ok := l.acquire("192.0.2.1"); ok {
		t.Error("two releases of one stream made room for two")
	}
}

func TestNoLimitCountsNobody(t *testing.T) {
	l := newAddressLimit(0)
	for range 1000 {
		if _, ok := l.acquire("192.0.2.1"); !ok {
			t.Fatal("refused without a limit")
		}
	}
	if len(l.open) != 0 {
		t.Errorf("%d addresses are remembered", len(l.open))
	}
}

func TestTheLimitHoldsAndForgetsUnderConcurrency(t *testing.T) {
	const most = 3
	l := newAddressLimit(most)
	var open [4]atomic.Int64 // by address
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			address := fmt.Sprintf("192.0.2.%d", i%4)
			for range 200 {
				release, ok := l.acquire(address)
				if !ok {
					continue
				}
				if n := open[i%4].Add(1); n > most {
					t.Errorf("%d streams of %s at once", n, address)
				}
				open[i%4].Add(-1)
				release()
			}
		})
	}
	wg.Wait()
	if len(l.open) != 0 {
		t.Errorf("addresses without a stream are remembered: %v", l.open)
	}
}

func TestNoStreamOpensOnceTheEndHasBegun(t *testing.T) {
	var o openStreams
	for range 2 {
		if !o.open() {
			t.Fatal("a stream did not open")
		}
	}
	ended := o.end()
	if o.open() {
		t.Error("a stream opened after the end had begun")
	}
	o.close()
	select {
	case <-ended:
		t.Error("ended with one stream open")
	default:
	}
	o.close()
	<-ended
	<-o.end() // as often as anybody likes
	if o.count() != 0 {
		t.Errorf("%d streams are open", o.count())
	}
}

func TestTheEndOfNoStreamsIsImmediate(t *testing.T) {
	var o openStreams
	<-o.end()
}
