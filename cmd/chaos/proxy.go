package main

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Conditions of the network that a proxy plays.
const (
	pass    condition = iota // everything works
	lag                      // bytes come late
	freeze                   // no byte moves; all arrive later, when the condition has changed
	swallow                  // bytes are lost; a connection that has lost some stays open and silent for good
)

type condition int

// lagTime is how late bytes come on a slow network. Each chunk waits for so long, and the next one waits behind it.
const lagTime = 150 * time.Millisecond

// proxy is a TCP proxy between one replica and Redis. It plays a broken network. It is safe for concurrent use.
type proxy struct {
	listener net.Listener
	target   string
	late     time.Duration // how late bytes come with the condition lag

	mu        sync.Mutex
	changed   *sync.Cond         // on mu; the condition or closed changed
	condition condition          // guarded by mu
	links     map[*link]struct{} // guarded by mu
	closed    bool               // guarded by mu
	wg        sync.WaitGroup
}

// link is one connection through the proxy.
type link struct {
	near, far net.Conn
	lostBytes bool // so it delivers nothing any more; guarded by proxy.mu
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
	p := &proxy{listener: listener, target: target, late: lagTime, links: map[*link]struct{}{}}
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

// pump moves bytes in one direction until the connection ends. What arrived before the end is delivered before the end:
// the proxy must not lose what a network would not lose.
func (p *proxy) pump(l *link, to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && !p.admit(l) {
			n = 0 // these bytes are lost
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				l.close()
				return
			}
		}
		if err != nil {
			p.hold() // a broken network does not deliver the end either
			if tcp, ok := to.(*net.TCPConn); ok && errors.Is(err, io.EOF) {
				_ = tcp.CloseWrite()
			} else {
				l.close()
			}
			return
		}
	}
}

// admit waits as long as the condition demands. It reports whether a chunk is delivered or lost.
func (p *proxy) admit(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.condition == lag {
		p.mu.Unlock()
		time.Sleep(p.late)
		p.mu.Lock()
	}
	for p.condition == freeze && !p.closed {
		p.changed.Wait()
	}
	if p.condition == swallow {
		l.lostBytes = true
	}
	return !l.lostBytes
}

// hold waits until the network delivers again.
func (p *proxy) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for (p.condition == freeze || p.condition == swallow) && !p.closed {
		p.changed.Wait()
	}
}

// set changes the condition. Connections that have lost bytes stay open and silent, as behind a firewall that has
// forgotten them: nobody will ever see them end. New connections work.
func (p *proxy) set(m condition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.condition = m
	p.changed.Broadcast()
}

// cut closes all connections and returns how many there were.
func (p *proxy) cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.close()
	}
	return len(p.links)
}

// close ends the proxy and waits for its goroutines.
func (p *proxy) close() {
	p.mu.Lock()
	p.closed, p.condition = true, pass
	for l := range p.links {
		l.close()
	}
	p.changed.Broadcast()
	p.mu.Unlock()
	p.listener.Close()
	p.wg.Wait()
}
