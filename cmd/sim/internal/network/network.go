package network

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"time"
)

// capacity is how many bytes one direction of a connection holds unless a host says otherwise: what the kernels of
// both ends would buffer.
const capacity = 64 << 10

// Network joins hosts by name. It is safe for concurrent use.
type Network struct {
	mu        sync.Mutex
	rng       *rand.Rand           // guarded by mu
	listeners map[string]*Listener // by host; guarded by mu
	links     []*link              // open connections in the order of their making; guarded by mu
	ways      map[way]*condition   // guarded by mu
	down      map[string]bool      // hosts that are dead; guarded by mu
	addresses map[string]net.Addr  // guarded by mu
	dials     uint64               // how many connections were made; guarded by mu
	healed    chan struct{}        // closed at the next Resume or Down; guarded by mu
}

// way is the direction from one host to another.
type way struct{ from, to string }

// condition says how data travels on a way.
type condition struct {
	stalled bool
	delay   time.Duration // beyond the usual one
}

// link is one connection.
type link struct{ near, far *Conn } // near has dialled

// New returns a network that draws its delays from rng.
func New(rng *rand.Rand) *Network {
	return &Network{
		rng: rng, listeners: map[string]*Listener{}, ways: map[way]*condition{}, down: map[string]bool{},
		addresses: map[string]net.Addr{}, healed: make(chan struct{}),
	}
}

// Listen makes host reachable.
func (n *Network) Listen(host string) *Listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &Listener{net: n, host: host, backlog: make(chan *Conn, 1024), closed: make(chan struct{})}
	n.listeners[host] = l
	delete(n.down, host)
	return l
}

// Dial connects two hosts. Its error is a *net.OpError with Op "dial", as that of a net.Dialer.
func (n *Network) Dial(ctx context.Context, from, to string) (*Conn, error) {
	fail := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Addr: name(to), Err: err}
	}
	for {
		n.mu.Lock()
		pause := n.delay(way{from, to}) + n.delay(way{to, from})
		stalled, healed, down := n.condition(way{from, to}).stalled || n.condition(way{to, from}).stalled, n.healed, n.down[from]
		n.mu.Unlock()
		if down {
			return nil, fail(syscall.ENETUNREACH)
		}
		if stalled { // the handshake gets no answer
			select {
			case <-healed:
				continue
			case <-ctx.Done():
				return nil, fail(ctx.Err())
			}
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, fail(err)
		}
		c, err := n.connect(from, to)
		if err != nil {
			return nil, fail(err)
		}
		return c, nil
	}
}

// connect makes a connection at once.
func (n *Network) connect(from, to string) (*Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.listeners[to]
	if l == nil || n.down[to] || n.down[from] {
		return nil, syscall.ECONNREFUSED
	}
	n.dials++
	there, back := n.newPipe(way{from, to}), n.newPipe(way{to, from})
	near := &Conn{net: n, id: n.dials, local: n.address(from), remote: n.address(to), out: there, in: back}
	far := &Conn{net: n, id: n.dials, local: n.address(to), remote: n.address(from), out: back, in: there}
	select {
	case l.backlog <- far:
	default:
		return nil, syscall.ECONNREFUSED
	}
	n.links = append(n.links, &link{near, far})
	return near, nil
}

// newPipe makes one direction of a connection; n.mu is held.
func (n *Network) newPipe(w way) *pipe {
	return &pipe{net: n, way: w, capacity: capacity}
}

// address makes up an address for a host; n.mu is held.
func (n *Network) address(host string) net.Addr {
	a := n.addresses[host]
	if a == nil {
		i := len(n.addresses) + 1
		a = &net.TCPAddr{IP: net.IPv4(10, 0, byte(i>>8), byte(i)), Port: 80}
		n.addresses[host] = a
	}
	return a
}

// condition returns the condition of a way; n.mu is held.
func (n *Network) condition(w way) *condition {
	c := n.ways[w]
	if c == nil {
		c = &condition{}
		n.ways[w] = c
	}
	return c
}

// delay draws how long a piece of data travels; n.mu is held. Mostly a switch or two; now and then there is a queue.
func (n *Network) delay(w way) time.Duration {
	d := 20*time.Microsecond + time.Duration(n.rng.IntN(200))*time.Microsecond
	if n.rng.IntN(50) == 0 {
		d += time.Duration(n.rng.IntN(5000)) * time.Microsecond
	}
	return d + n.condition(w).delay
}

// Stall stops all data from one host to another, and new connections between them, until Resume.
func (n *Network) Stall(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.condition(way{from, to}).stalled = true
}

// Resume lets data from one host to another pass again.
func (n *Network) Resume(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.condition(way{from, to}).stalled = false
	for _, l := range n.links {
		for _, p := range []*pipe{l.near.out, l.far.out} {
			if p.way == (way{from, to}) {
				p.wake()
			}
		}
	}
	n.heal()
}

// heal lets those look again that wait for a way; n.mu is held.
func (n *Network) heal() {
	close(n.healed)
	n.healed = make(chan struct{})
}

// Slow makes data from one host to another take longer; zero: as usual.
func (n *Network) Slow(from, to string, d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.condition(way{from, to}).delay = d
}

// Reset breaks all connections between two hosts and returns how many there were.
func (n *Network) Reset(a, b string) int {
	return n.resetWhere(func(l *link) bool {
		w := l.near.out.way
		return w == way{a, b} || w == way{b, a}
	})
}

// Down kills a host: all its connections break, and it can neither dial nor be dialled until it listens again.
func (n *Network) Down(host string) int {
	n.mu.Lock()
	n.down[host] = true
	if l := n.listeners[host]; l != nil {
		delete(n.listeners, host)
		l.close()
	}
	for w, c := range n.ways {
		if w.from == host || w.to == host {
			c.stalled = false // whoever still tries is refused from now on
		}
	}
	n.heal()
	n.mu.Unlock()
	return n.resetWhere(func(l *link) bool { return l.near.out.way.from == host || l.near.out.way.to == host })
}

// Vanish takes a host off without a word, as a power failure does: it can neither send nor dial, but its peers do not
// learn of it before Down.
func (n *Network) Vanish(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down[host] = true
	if l := n.listeners[host]; l != nil {
		delete(n.listeners, host)
		l.close()
	}
	for _, l := range n.links {
		if w := l.near.out.way; w.from == host || w.to == host {
			n.condition(w).stalled = true
			n.condition(way{w.to, w.from}).stalled = true
		}
	}
	n.heal()
}

func (n *Network) resetWhere(hit func(*link) bool) (count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		if hit(l) && !l.over() {
			l.near.out.breakOff()
			l.far.out.breakOff()
			count++
		}
	}
	n.forgetClosed()
	return count
}

// forgetClosed drops connections that are over; n.mu is held.
func (n *Network) forgetClosed() {
	open := n.links[:0]
	for _, l := range n.links {
		if !l.over() {
			open = append(open, l)
		}
	}
	clear(n.links[len(open):])
	n.links = open
}

func (l *link) over() bool {
	return l.near.out.broken || l.near.closed && l.far.closed
}

// Listener hands out the connections that were made to a host. It is a net.Listener.
type Listener struct {
	net     *Network
	host    string
	backlog chan *Conn
	once    sync.Once
	closed  chan struct{}
}

// Accept waits for the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.backlog:
		return c, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: name(l.host), Err: net.ErrClosed}
	}
}

func (l *Listener) close() { l.once.Do(func() { close(l.closed) }) }

// Close ends Accept; connections that were accepted stay.
func (l *Listener) Close() error {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	if l.net.listeners[l.host] == l {
		delete(l.net.listeners, l.host)
	}
	l.close()
	return nil
}

// Addr returns an address that stands for the host.
func (l *Listener) Addr() net.Addr {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	return l.net.address(l.host)
}

// name is a host as the address in an error.
type name string

func (name) Network() string  { return "tcp" }
func (n name) String() string { return string(n) }

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fmt.Errorf("%w", context.DeadlineExceeded)
		}
		return ctx.Err()
	}
}
