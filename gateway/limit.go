package gateway

import (
	"net/netip"
	"sync"
)

// addressLimit bounds how many streams one client address has open at a time, on this replica. It is safe for
// concurrent use.
type addressLimit struct {
	max int // 0: no bound

	mu   sync.Mutex
	open map[netip.Prefix]int // guarded by mu
}

func newAddressLimit(most int) *addressLimit {
	return &addressLimit{max: most, open: make(map[netip.Prefix]int)}
}

// take counts one more stream of address. ok is false if it has as many as it may; otherwise release must be called
// once when the stream ends.
func (l *addressLimit) take(address string) (release func(), ok bool) {
	if l.max == 0 {
		return func() {}, true
	}
	key := client(address)
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

// client returns what counts as one client: an IPv4 address, or an IPv6 /64, which is what one subscriber gets and can
// pick addresses from at will. Anything unreadable counts as one client too.
func client(address string) netip.Prefix {
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
	ending chan struct{} // set once no more may open, closed when none is open; guarded by mu
}

// open counts one more stream, unless the replica has begun to end them.
func (o *openStreams) open() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ending != nil {
		return false
	}
	o.n++
	return true
}

// close counts one less.
func (o *openStreams) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.n--
	if o.n == 0 && o.ending != nil {
		close(o.ending)
	}
}

// end lets no more open, and returns a channel that is closed when none is.
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

// count returns how many are open.
func (o *openStreams) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.n
}
