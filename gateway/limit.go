package gateway

import (
	"net/netip"
	"sync"
)

// addressLimit bounds how many streams one client address may have open at the same time, on this replica. It is safe for
// concurrent use.
type addressLimit struct {
	max int // 0: no bound

	mu   sync.Mutex
	open map[netip.Prefix]int // streams by address; guarded by mu
}

func newAddressLimit(most int) *addressLimit {
	return &addressLimit{max: most, open: make(map[netip.Prefix]int)}
}

// acquire counts one more stream of address. ok is false if the address has as many streams as it may. Otherwise release
// must be called when the stream ends; calling it again does nothing.
func (l *addressLimit) acquire(address string) (release func(), ok bool) {
	if l.max == 0 {
		return func() {}, true
	}
	key := clientOf(address)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[key] >= l.max {
		return nil, false
	}
	l.open[key]++
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.open[key]--; l.open[key] == 0 {
			delete(l.open, key)
		}
	}), true
}

// clientOf returns the network that counts as one client: an IPv4 address, or a /64 of IPv6. An internet provider gives
// each customer at least a /64, and the customer can use any address in it. All addresses that cannot be parsed count
// as one client together.
func clientOf(address string) netip.Prefix {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{}
	}
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// openStreams counts the streams of a replica. It is safe for concurrent use.
type openStreams struct {
	mu     sync.Mutex
	n      int           // guarded by mu
	ending chan struct{} // nil until end is called, then closed as soon as no stream is open; guarded by mu
}

// open counts one more stream. After end it returns false and counts nothing.
func (o *openStreams) open() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ending != nil {
		return false
	}
	o.n++
	return true
}

// close counts one stream less.
func (o *openStreams) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.n--
	if o.n == 0 && o.ending != nil {
		close(o.ending)
	}
}

// end refuses streams from now on, and returns a channel that is closed as soon as no stream is open. It may be called again.
func (o *openStreams) end() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ending == nil {
		o.ending = make(chan struct{})
		if o.n == 0 {
			close(o.ending)
		}
	}
	return o.ending
}

// count returns how many streams are open.
func (o *openStreams) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.n
}
