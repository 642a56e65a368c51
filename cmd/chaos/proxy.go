package main

import (
	"io"
	"net"
	"sync"
	"time"
)

// Moods of a proxy.
const (
	pass    mood = iota
	lag          // bytes come late
	freeze       // nothing moves; bytes wait and move on afterwards, like a network that comes back
	swallow      // bytes vanish; a connection that lost some stays dead, silently, whatever the mood is later
)

type mood int

// lagTime is how late bytes come, and for how long a chunk holds up the next one.
const lagTime = 150 * time.Millisecond

// proxy stands between one replica and Redis and breaks the network there.
type proxy struct {
	listener net.Listener
	target   string

	mu      sync.Mutex
	changed *sync.Cond         // on mu; the mood or closed changed
	mood    mood               // guarded by mu
	links   map[*link]struct{} // guarded by mu
	closed  bool               // guarded by mu
	wg      sync.WaitGroup
}

// link is one connection through the proxy.
type link struct {
	near, far net.Conn
	poisoned  bool // bytes were swallowed; guarded by proxy.mu
}

func (l *link) close() {
	l.near.Close()
	l.far.Close()
}

func newProxy(target string) (*proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: listener, target: target, links: map[*link]struct{}{}}
	p.changed = sync.NewCond(&p.mu)
	p.wg.Go(p.accept)
	return p, nil
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(near) })
	}
}

func (p *proxy) serve(near net.Conn) {
	far, err := net.DialTimeout("tcp", p.target, time.Second)
	if err != nil {
		near.Close() // Redis is down: the replica sees that too
		return
	}
	l := &link{near: near, far: far}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		l.close()
		return
	}
	p.links[l] = struct{}{}
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.pump(l, far, near) })
	both.Go(func() { p.pump(l, near, far) })
	both.Wait()
	l.close()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// pump moves bytes one way. What arrived before an end is delivered before the end is: the proxy must not lose what
// a network would not.
func (p *proxy) pump(l *link, to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && !p.admit(l) {
			n = 0 // swallowed
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				l.close()
				return
			}
		}
		if err != nil {
			p.hold() // the end is news too: a broken network does not bring it
			if tcp, ok := to.(*net.TCPConn); ok && err == io.EOF {
				_ = tcp.CloseWrite()
			} else {
				l.close()
			}
			return
		}
	}
}

// admit waits as long as the mood says and reports whether a chunk may go on.
func (p *proxy) admit(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mood == lag {
		p.mu.Unlock()
		time.Sleep(lagTime)
		p.mu.Lock()
	}
	for p.mood == freeze && !p.closed {
		p.changed.Wait()
	}
	if p.mood == swallow {
		l.poisoned = true
	}
	return !l.poisoned
}

// hold waits until the network brings something again.
func (p *proxy) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for (p.mood == freeze || p.mood == swallow) && !p.closed {
		p.changed.Wait()
	}
}

// set changes the mood. Connections that lost bytes stay as they are, open and dead, as behind a firewall that has
// forgotten them: who waits for such a connection to end waits for ever. New ones work.
func (p *proxy) set(m mood) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mood = m
	p.changed.Broadcast()
}

// cut breaks all connections and returns how many there were.
func (p *proxy) cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.close()
	}
	return len(p.links)
}

func (p *proxy) close() {
	p.mu.Lock()
	p.closed, p.mood = true, pass
	for l := range p.links {
		l.close()
	}
	p.changed.Broadcast()
	p.mu.Unlock()
	p.listener.Close()
	p.wg.Wait()
}
