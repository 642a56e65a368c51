package writer

import (
	"context"
	"sync"
	"time"
)

// deadline bounds each write to a connection: by Config.Stall, and by the moment at which a draining stream must be over. It is
// safe for concurrent use.
type deadline struct {
	conn  Conn
	stall time.Duration

	mu   sync.Mutex
	last time.Time // the moment at which the stream must be over; zero while nothing drains; guarded by mu
}

// begin sets the deadline of the write that follows.
func (d *deadline) begin() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := time.Now().Add(d.stall)
	if !d.last.IsZero() && d.last.Before(at) {
		at = d.last
	}
	return d.conn.SetWriteDeadline(at)
}

// watch bounds all writes once the drain has begun, also the one that is under way then: a client that reads nothing must not
// hold up the end of the server. stop ends that, and returns when the connection is no longer touched.
func (d *deadline) watch(drain Drain) (stop func()) {
	done := make(chan struct{})
	cancel := context.AfterFunc(drain.Begin, func() {
		defer close(done)
		d.mu.Lock()
		defer d.mu.Unlock()
		d.last = time.Now().Add(drain.Time)
		_ = d.conn.SetWriteDeadline(d.last) // fails only if the connection is closed
	})
	return func() {
		if !cancel() {
			<-done
		}
	}
}

// draining reports whether the drain has begun.
func (d *deadline) draining() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.last.IsZero()
}
