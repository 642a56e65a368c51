package writer

import (
	"fmt"
	"net"
	"runtime"
	"sync/atomic"
	"time"
)

// Loops carry streams without a goroutine each: a few loops, each with a set of raw sockets. All methods are safe for
// concurrent use, and do nothing on a nil *Loops.
type Loops struct {
	cfg  Config
	all  []*loop
	next atomic.Uint32 // counts the streams; the remainder says which loop gets one
}

// StartLoops starts one loop per processor. Close ends them.
func StartLoops(cfg Config) (*Loops, error) {
	ls := &Loops{cfg: cfg.withDefaults()}
	for range runtime.GOMAXPROCS(0) {
		l, err := newLoop(ls.cfg)
		if err != nil {
			ls.Close()
			return nil, fmt.Errorf("start a writer loop: %w", err)
		}
		l.start()
		ls.all = append(ls.all, l)
	}
	return ls, nil
}

// Take hands a stream and its connection to a loop, which ends the connection and calls Done when the stream is over. The
// caller closes tcp when Take has returned, and must not shut it down; the loop has a descriptor of its own. head
// is the head of the HTTP response. It announces chunks if chunked is true, and otherwise a response that ends with the
// connection: a client of HTTP/1.0 knows no chunks.
func (ls *Loops) Take(tcp *net.TCPConn, head []byte, chunked bool, st Stream) {
	fd, err := detach(tcp)
	if err != nil {
		st.Done(err)
		return
	}
	ls.all[ls.next.Add(1)%uint32(len(ls.all))].add(fd, head, chunked, st)
}

// Drain ends all streams, spread over most of the drain time, and each stream that comes later likewise.
func (ls *Loops) Drain(drainTime time.Duration) {
	if ls == nil {
		return
	}
	for _, l := range ls.all {
		l.drain(drainTime)
	}
}

// Sweep asks Config.Revoked about every stream, and ends those for which it says so.
func (ls *Loops) Sweep() {
	if ls == nil {
		return
	}
	for _, l := range ls.all {
		l.sweep()
	}
}

// Close ends all streams at once, and returns when the loops have ended.
func (ls *Loops) Close() {
	if ls == nil {
		return
	}
	for _, l := range ls.all {
		l.close()
	}
}
