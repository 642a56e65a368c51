package network

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// Conn is one end of a connection. It is a net.Conn, safe for concurrent use.
type Conn struct {
	net           *Network
	id            uint64
	local, remote net.Addr
	out, in       *pipe
	closed        bool      // by this end; guarded by net.mu
	readBy        time.Time // deadline; guarded by net.mu
	writeBy       time.Time // deadline; guarded by net.mu
}

// pipe is one direction of a connection. All of it is guarded by net.mu.
type pipe struct {
	net      *Network
	way      way
	pieces   []piece // under way or arrived, not read yet
	size     int     // bytes of pieces
	capacity int
	delay    time.Duration // of this direction of this connection, beyond that of its way
	arrives  time.Time     // of the newest piece: data stays in order
	finished bool          // the writer has closed; what is in pieces still arrives
	finishes time.Time     // when the reader learns of it
	deaf     bool          // the reader has closed: whatever is written is lost
	broken   bool          // reset
	lost     time.Time     // stamp of the oldest data that will never be read; zero: none
	changed  chan struct{}
}

// piece is some data that was written at once.
type piece struct {
	stamp   time.Time // since when its oldest byte has existed; see WriteStamped
	arrives time.Time
	data    []byte
}

// wake lets everybody look again who waits for the pipe; net.mu is held.
func (p *pipe) wake() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// wait returns a channel that is closed when the pipe has changed; net.mu is held.
func (p *pipe) wait() <-chan struct{} {
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	return p.changed
}

// lose notes that data from a moment on will not be read; net.mu is held.
func (p *pipe) lose(stamp time.Time) {
	if p.lost.IsZero() || stamp.Before(p.lost) {
		p.lost = stamp
	}
}

// discard loses what is under way; net.mu is held.
func (p *pipe) discard() {
	if len(p.pieces) > 0 {
		p.lose(p.pieces[0].stamp)
	}
	p.pieces, p.size = nil, 0
	p.wake()
}

// breakOff resets the pipe; net.mu is held.
func (p *pipe) breakOff() {
	p.broken = true
	p.discard()
}

// Read reads what has arrived.
func (c *Conn) Read(b []byte) (int, error) {
	p := c.in
	for {
		c.net.mu.Lock()
		now := time.Now()
		n, until, err := c.tryRead(b, now)
		if n > 0 || err != nil || len(b) == 0 {
			c.net.mu.Unlock()
			return n, err
		}
		changed := p.wait()
		c.net.mu.Unlock()
		await(changed, until, now)
	}
}

// tryRead is Read without waiting; until says when to look again at the latest (zero: when something changes).
func (c *Conn) tryRead(b []byte, now time.Time) (n int, until time.Time, err error) {
	p := c.in
	switch {
	case c.closed:
		return 0, until, c.fail("read", net.ErrClosed)
	case !c.readBy.IsZero() && !now.Before(c.readBy):
		return 0, until, c.fail("read", os.ErrDeadlineExceeded)
	case p.broken:
		return 0, until, c.fail("read", syscall.ECONNRESET)
	}
	until = c.readBy
	if c.net.condition(p.way).stalled {
		return 0, until, nil
	}
	for n < len(b) && len(p.pieces) > 0 && !p.pieces[0].arrives.After(now) {
		k := copy(b[n:], p.pieces[0].data)
		n += k
		if k == len(p.pieces[0].data) {
			p.pieces[0] = piece{}
			p.pieces = p.pieces[1:]
		} else {
			p.pieces[0].data = p.pieces[0].data[k:]
		}
	}
	if n > 0 {
		p.size -= n
		p.wake()
		return n, until, nil
	}
	next := p.finishes
	if len(p.pieces) > 0 {
		next = p.pieces[0].arrives
	} else if p.finished && !next.After(now) {
		return 0, until, io.EOF
	}
	if !next.IsZero() && (until.IsZero() || next.Before(until)) {
		until = next
	}
	return 0, until, nil
}

// Write hands all of b to the network, or fails.
func (c *Conn) Write(b []byte) (int, error) { return c.WriteStamped(b, time.Now()) }

// WriteStamped is Write for data that has existed since stamp; see LostSince.
func (c *Conn) WriteStamped(b []byte, stamp time.Time) (written int, err error) {
	p := c.out
	for {
		c.net.mu.Lock()
		now := time.Now()
		switch {
		case c.closed:
			err = c.fail("write", net.ErrClosed)
		case !c.writeBy.IsZero() && !now.Before(c.writeBy):
			err = c.fail("write", os.ErrDeadlineExceeded)
		case p.broken:
			err = c.fail("write", syscall.EPIPE)
			p.lose(stamp)
		}
		if err != nil {
			c.net.mu.Unlock()
			return written, err
		}
		if p.deaf {
			p.lose(stamp)
			c.net.mu.Unlock()
			return len(b), nil // it goes out, and is answered by a reset that nobody waits for
		}
		if k := min(len(b)-written, p.capacity-p.size); k > 0 {
			c.send(b[written:written+k], stamp, now)
			written += k
		}
		if written == len(b) {
			c.net.mu.Unlock()
			return written, nil
		}
		changed, until := p.wait(), c.writeBy
		c.net.mu.Unlock()
		await(changed, until, now)
	}
}

// send puts data on its way; net.mu is held.
func (c *Conn) send(b []byte, stamp, now time.Time) {
	p := c.out
	arrives := now.Add(c.net.delay(p.way) + p.delay)
	if arrives.Before(p.arrives) {
		arrives = p.arrives
	}
	p.arrives = arrives
	p.pieces = append(p.pieces, piece{stamp: stamp, arrives: arrives, data: append([]byte(nil), b...)})
	p.size += len(b)
	p.wake()
}

// Close closes this end: the peer reads what is under way and then the end; what this end has not read is lost.
func (c *Conn) Close() error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.closed {
		return c.fail("close", net.ErrClosed)
	}
	c.closed = true
	now := time.Now()
	c.out.finished, c.out.finishes = true, now.Add(c.net.delay(c.out.way))
	if c.out.finishes.Before(c.out.arrives) {
		c.out.finishes = c.out.arrives
	}
	c.out.wake()
	c.in.deaf = true
	c.in.discard()
	if c.net.dials%64 == 0 {
		c.net.forgetClosed()
	}
	return nil
}

// Abort breaks the connection at both ends at once: what is under way is lost.
func (c *Conn) Abort() {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.closed = true
	c.out.breakOff()
	c.in.breakOff()
}

// LostSince returns since when there is data of this end that its peer never read and never will; ok is false if there
// is none. It is of use once the connection is over.
func (c *Conn) LostSince() (stamp time.Time, ok bool) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	return c.out.lost, !c.out.lost.IsZero()
}

// Shrink makes the direction towards this end hold only so many bytes: a client that does not read is felt sooner.
func (c *Conn) Shrink(bytes int) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.in.capacity = bytes
}

// Delay makes what is written from now on travel longer by d.
func (c *Conn) Delay(d time.Duration) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.out.delay = d
}

// ID numbers connections in the order of their making.
func (c *Conn) ID() uint64 { return c.id }

// Peer returns the name of the host at the other end.
func (c *Conn) Peer() string { return c.out.way.to }

// LocalAddr returns an address that stands for this host.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns an address that stands for the peer.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines; also for calls that wait already.
func (c *Conn) SetDeadline(t time.Time) error { return c.setDeadlines(&t, &t) }

// SetReadDeadline sets the deadline of Read.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(&t, nil) }

// SetWriteDeadline sets the deadline of Write.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(nil, &t) }

func (c *Conn) setDeadlines(read, write *time.Time) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.closed {
		return c.fail("set", net.ErrClosed)
	}
	if read != nil {
		c.readBy = *read
		c.in.wake()
	}
	if write != nil {
		c.writeBy = *write
		c.out.wake()
	}
	return nil
}

func (c *Conn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// await returns when changed is closed, or at a moment; zero: never.
func await(changed <-chan struct{}, until, now time.Time) {
	if until.IsZero() {
		<-changed
		return
	}
	timer := time.NewTimer(until.Sub(now))
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
}
