package writer

import (
	"container/heap"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sluice/gateway/wire"
	"sluice/pubsub"
)

const (
	clientBytes   = 16 << 10 // that a client may send after its request; it has no reason to send any
	eventsAtOnce  = 256
	wheelInterval = time.Second
)

var (
	errClientTalks = errors.New("client sends data")
	errLoopClosed  = errors.New("writer loop closed")
)

// loop carries streams on raw sockets. Two goroutines work on them, one at a time: flusher (flush_linux.go) wakes up when a
// feed has grown or a time has come, poller when a socket has news.
type loop struct {
	cfg     Config
	began   time.Time // the zero of socket.wrote
	epoll   *os.File  // the epoll set, itself watched by Go's poller: so poller costs no thread while it waits
	epollFD int

	// Feeds call the loop with their lock held. What they say has a lock of its own, which is never held while a feed's
	// lock or mu is taken.
	grownMu sync.Mutex
	grown   []*group      // feeds that have got something; guarded by grownMu
	advice  []advice      // streams whose wait for a next part is over; guarded by grownMu
	wake    chan struct{} // holds 1 if flusher has something to look at

	mu     sync.Mutex
	slots  []slot                  // sockets by number; guarded by mu
	free   []int32                 // numbers without a socket; guarded by mu
	groups map[*pubsub.Feed]*group // guarded by mu
	wheel  wheel                   // guarded by mu
	ends   endings                 // guarded by mu
	behind []place                 // sockets whose source must make its next part; guarded by mu
	answer pubsub.Answer           // of the round that is under way; guarded by mu
	chunk  framed                  // likewise
	closed bool                    // guarded by mu
	// A stream that arrives while the server drains gets its end right away; both are guarded by mu.
	draining  bool
	drainTime time.Duration

	work   sync.WaitGroup
	ctx    context.Context // ends the waits for next parts, which outlive any call; close cancels it
	cancel context.CancelFunc
}

// slot holds a socket. Its generation grows with each socket that it held, so that news about an earlier one are told from
// news about the present one.
type slot struct {
	generation int32
	sock       *socket
}

// place says where a socket is, or was: another one may have come to its slot since.
type place struct{ slot, generation int32 }

// group is all sockets of a loop that follow one feed.
type group struct {
	feed   *pubsub.Feed
	socks  []member
	queued atomic.Bool // the group stands in loop.grown
	stop   func()      // ends the feed's calls
}

// member is a socket in a group. A socket that follows several feeds is in several groups.
type member struct {
	sock *socket
	nth  int32 // of the socket's memberships
}

// membership is where a socket is in a group.
type membership struct {
	group *group
	index int32 // in group.socks
}

// socket is one stream.
type socket struct {
	fd       int32
	slot     int32
	spoke    int32 // of the wheel
	spot     int32 // in the spoke; -1: the socket is not on the wheel
	received int32 // bytes that the client has sent
	full     bool  // the kernel's buffer is full; EPOLLOUT tells when it is not
	chunked  bool  // the response is a sequence of chunks
	ending   bool  // the socket stands in loop.ends
	behind   bool  // the socket stands in loop.behind, or await waits for its next part
	in       []membership
	source   Source
	unsent   *[]byte       // what the kernel did not take of the last write, while full; else nil
	wrote    time.Duration // after loop.began: when the client last took something or, while full, since when
	silence  int32         // after which the socket gets a heartbeat, in milliseconds: the setting, less a random part of it
	expires  int32         // after loop.began, in seconds: when the stream is ended; 0: never
	done     func(error)
}

func newLoop(cfg Config) (*loop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // only then does Go's poller take it
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	now := time.Now()
	return &loop{
		ctx: ctx, cancel: cancel, cfg: cfg, began: now, epoll: os.NewFile(uintptr(fd), "epoll"), epollFD: fd,
		wake: make(chan struct{}, 1), groups: make(map[*pubsub.Feed]*group),
		wheel: newWheel(max(cfg.Heartbeat, cfg.Stall), now),
	}, nil
}

// start starts the loop's goroutines; close ends them.
func (l *loop) start() {
	l.work.Go(l.flusher)
	l.work.Go(l.poller)
}

// add takes a stream over.
func (l *loop) add(fd int, head []byte, chunked bool, st Stream) {
	now := time.Now()
	k := &socket{
		fd: int32(fd), chunked: chunked, source: st.Source, done: st.Done, wrote: now.Sub(l.began),
		silence: int32(jitter(l.cfg.Heartbeat).Milliseconds()), expires: l.seconds(st.Expires),
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = unix.Close(fd)
		st.Done(errLoopClosed)
		return
	}
	if n := len(l.free); n > 0 {
		k.slot, l.free = l.free[n-1], l.free[:n-1]
	} else {
		k.slot = int32(len(l.slots))
		l.slots = append(l.slots, slot{})
	}
	l.slots[k.slot].sock = k
	k.in = make([]membership, 0, len(st.Feeds))
	for _, f := range st.Feeds {
		l.join(k, f)
	}
	l.remindAt(k, now.Add(k.quiet()))
	err := unix.EpollCtl(l.epollFD, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLOUT | unix.EPOLLET,
		Fd:     k.slot, Pad: l.slots[k.slot].generation, // the kernel hands both back unread
	})
	if err != nil {
		l.end(k, os.NewSyscallError("epoll_ctl", err))
		return
	}
	if l.draining {
		l.endAt(k, now.Add(drainDelay(l.drainTime)), ErrDraining)
	}
	p := l.placeOf(k)
	l.begin(k, head, now)
	if l.at(p) != nil && l.cfg.revoked(k.source) {
		l.revoke(k, now)
	}
}

// begin writes the head of a stream's response, the reconnection time, and what comes first, all in one; l.mu is held.
func (l *loop) begin(k *socket, head []byte, now time.Time) {
	l.answer.Forget()
	first, _, err := k.source.Next(&l.answer)
	retry := wire.AppendRetry(nil, l.cfg.Retry())
	if k.chunked {
		head = appendChunk(head, retry, first)
	} else {
		head = append(append(head, retry...), first...)
	}
	if l.write(k, head, now) && (err != nil || len(first) > 0) {
		l.flushOne(k, now)
	}
}

// seconds returns the seconds from loop.began to at, and 0 for the zero time only.
func (l *loop) seconds(at time.Time) int32 {
	if at.IsZero() {
		return 0
	}
	return int32(min(max(at.Sub(l.began)/time.Second, 1), math.MaxInt32))
}

// quiet is how long the socket may have nothing before it gets a heartbeat.
func (k *socket) quiet() time.Duration { return time.Duration(k.silence) * time.Millisecond }

// expiry returns when a socket's stream is ended, if it is.
func (l *loop) expiry(k *socket) (at time.Time, ok bool) {
	return l.began.Add(time.Duration(k.expires) * time.Second), k.expires != 0
}

// remindAt has the wheel remind of a socket at a time, or when its stream expires, if that is earlier; l.mu is held.
func (l *loop) remindAt(k *socket, at time.Time) { l.wheel.add(k, l.orExpiry(k, at)) }

func (l *loop) orExpiry(k *socket, at time.Time) time.Time {
	if e, ok := l.expiry(k); ok && e.Before(at) {
		return e
	}
	return at
}

// jitter returns d less up to a fifth of it.
func jitter(d time.Duration) time.Duration { return d - rand.N(d/5+1) }

// join puts a socket into the group of a feed; l.mu is held.
func (l *loop) join(k *socket, feed *pubsub.Feed) {
	g := l.groups[feed]
	if g == nil {
		g = &group{feed: feed}
		g.stop = feed.Notify(func() { l.feedGrew(g) })
		l.groups[feed] = g
	}
	k.in = append(k.in, membership{g, int32(len(g.socks))})
	g.socks = append(g.socks, member{k, int32(len(k.in) - 1)})
}

// feedGrew has a group flushed. The feed calls it with its lock held.
func (l *loop) feedGrew(g *group) {
	if !g.queued.CompareAndSwap(false, true) {
		return
	}
	l.grownMu.Lock()
	l.grown = append(l.grown, g)
	l.grownMu.Unlock()
	l.nudge()
}

// nudge wakes flusher.
func (l *loop) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// flusher writes what feeds have got, what streams have missed, heartbeats, and ends what shall end.
func (l *loop) flusher() {
	timer := time.NewTimer(wheelInterval)
	defer timer.Stop()
	for {
		select {
		case <-l.wake:
		case <-timer.C:
		}
		l.grownMu.Lock()
		grown, news := l.grown, l.advice
		l.grown, l.advice = nil, nil
		l.grownMu.Unlock()

		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			return
		}
		r := round{now: time.Now()}
		for _, g := range grown {
			l.flushGroup(g, &r)
		}
		l.takeAdvice(news)
		l.flushBehind(&r)
		now := time.Now()
		l.wheel.turn(now, func(k *socket) (again time.Time, stays bool) { return l.remind(k, now) })
		l.endDue(now)
		next := l.wheel.next()
		if at, ok := l.ends.first(); ok && at.Before(next) {
			next = at
		}
		l.mu.Unlock()
		timer.Reset(time.Until(next))
	}
}

// remind looks at a socket whose reminder has come: it gets a heartbeat if it has had nothing for long, and is ended if the
// client has taken nothing for long, or the stream has expired. l.mu is held.
func (l *loop) remind(k *socket, now time.Time) (again time.Time, stays bool) {
	last := l.began.Add(k.wrote)
	if at, ok := l.expiry(k); ok && !at.After(now) {
		l.expire(k, now)
		return time.Time{}, false
	}
	if k.full {
		if at := last.Add(l.cfg.Stall); at.After(now) {
			return l.orExpiry(k, at), true
		}
		l.end(k, pubsub.ErrTooSlow)
		return time.Time{}, false
	}
	if at := last.Add(k.quiet()); at.After(now) {
		return l.orExpiry(k, at), true
	}
	p := l.placeOf(k)
	l.writeLine(k, idle(k.source), now)
	if l.at(p) == nil || k.spot >= 0 { // the socket is gone, or was put on the wheel as it became full
		return time.Time{}, false
	}
	return l.orExpiry(k, now.Add(k.quiet())), true
}

// sweepAtOnce is how many sockets are asked about before others have a turn.
const sweepAtOnce = 1000

// sweep ends the streams whose clients may not read any more. One that is added meanwhile was asked about by add.
func (l *loop) sweep() {
	for from := 0; ; from += sweepAtOnce {
		l.mu.Lock()
		now := time.Now()
		for _, s := range l.slots[min(from, len(l.slots)):min(from+sweepAtOnce, len(l.slots))] {
			if s.sock != nil && l.cfg.revoked(s.sock.source) {
				l.revoke(s.sock, now)
			}
		}
		done := from+sweepAtOnce >= len(l.slots)
		l.mu.Unlock()
		if done {
			return
		}
	}
}

// revoke ends a socket whose client may not read any more; l.mu is held.
func (l *loop) revoke(k *socket, now time.Time) {
	p := l.placeOf(k)
	if !k.full { // otherwise it is in the middle of a write
		l.writeLine(k, []byte(wire.Revoked), now)
	}
	if l.at(p) != nil && !k.full && k.chunked {
		l.write(k, lastChunk, now)
	}
	if l.at(p) != nil {
		l.end(k, ErrRevoked)
	}
}

// expire ends a socket whose client's session has ended; l.mu is held.
func (l *loop) expire(k *socket, now time.Time) {
	p := l.placeOf(k)
	if !k.full { // otherwise it is in the middle of a write
		l.writeLine(k, []byte(wire.Expired), now)
	}
	if l.at(p) != nil {
		l.end(k, ErrExpired)
	}
}

// becameFull notes that the client does not take any more at the moment. The wheel looks whether it does by the time that
// it counts as too slow; the reminder that stands there now may come much later. l.mu is held.
func (l *loop) becameFull(k *socket) {
	k.full = true
	l.wheel.remove(k)
	l.remindAt(k, l.began.Add(k.wrote+l.cfg.Stall))
}

// endAt has a socket ended later; l.mu is held.
func (l *loop) endAt(k *socket, at time.Time, reason error) {
	if k.ending {
		return
	}
	k.ending = true
	heap.Push(&l.ends, ending{l.placeOf(k), at, reason})
	l.nudge()
}

// endDue ends the sockets whose time has come; l.mu is held.
func (l *loop) endDue(now time.Time) {
	for {
		at, ok := l.ends.first()
		if !ok || at.After(now) {
			return
		}
		e := heap.Pop(&l.ends).(ending)
		k := l.at(e.place)
		if k == nil {
			continue // it is gone already
		}
		switch {
		case k.full: // it is in the middle of a write
		case errors.Is(e.reason, ErrDraining):
			l.flushOne(k, now)
			if k = l.at(e.place); k == nil {
				continue
			}
			if !k.full {
				l.writeLine(k, wire.AppendRetry(nil, l.cfg.Retry()), now)
			}
		case errors.Is(e.reason, pubsub.ErrEnded) && k.chunked:
			l.write(k, lastChunk, now)
		}
		l.end(k, e.reason)
	}
}

// placeOf returns where a socket is now; l.mu is held.
func (l *loop) placeOf(k *socket) place { return place{k.slot, l.slots[k.slot].generation} }

// at returns the socket that was at a place, or nil if it is gone; l.mu is held.
func (l *loop) at(p place) *socket {
	if s := l.slots[p.slot]; s.generation == p.generation {
		return s.sock
	}
	return nil
}

// end closes a socket and forgets it; l.mu is held. It does nothing to a socket that was ended before.
func (l *loop) end(k *socket, reason error) {
	s := &l.slots[k.slot]
	if s.sock != k {
		return
	}
	s.sock = nil
	s.generation++
	l.free = append(l.free, k.slot)
	if !errors.Is(reason, ErrClientLeft) && !errors.Is(reason, pubsub.ErrTooSlow) {
		// With unread bytes the kernel would reset the connection, and the client could lose the end of the stream.
		var ignored [1024]byte
		_, _ = unix.Read(int(k.fd), ignored[:])
	}
	// Closing takes the socket out of the epoll set too: no other descriptor refers to it.
	_ = unix.Close(int(k.fd))
	l.wheel.remove(k)

	for _, m := range k.in {
		l.leave(m)
	}
	k.done(reason)
}

// leave takes a socket out of a group; l.mu is held.
func (l *loop) leave(m membership) {
	g := m.group
	last := g.socks[len(g.socks)-1]
	g.socks[m.index] = last
	last.sock.in[last.nth].index = m.index
	g.socks[len(g.socks)-1] = member{}
	g.socks = g.socks[:len(g.socks)-1]
	if len(g.socks) == 0 {
		g.stop()
		delete(l.groups, g.feed)
	}
}

// poller takes in what epoll says of sockets.
func (l *loop) poller() {
	raw, err := l.epoll.SyscallConn()
	if err != nil {
		return // closed already
	}
	events := make([]unix.EpollEvent, eventsAtOnce)
	for {
		n := 0
		err := raw.Read(func(fd uintptr) bool {
			n, _ = unix.EpollWait(int(fd), events, 0)
			return n > 0 // otherwise Go's poller waits until the set has something
		})
		if err != nil {
			return // the loop is closed
		}
		l.mu.Lock()
		now := time.Now()
		for _, e := range events[:n] {
			if k := l.at(place{e.Fd, e.Pad}); k != nil {
				l.news(k, e.Events, now)
			}
		}
		l.mu.Unlock()
	}
}

// news handles what epoll says of a socket; l.mu is held.
func (l *loop) news(k *socket, events uint32, now time.Time) {
	if events&(unix.EPOLLERR|unix.EPOLLHUP|unix.EPOLLRDHUP) != 0 {
		l.end(k, ErrClientLeft)
		return
	}
	if events&unix.EPOLLIN != 0 {
		var ignored [1024]byte
		for {
			n, err := unix.Read(int(k.fd), ignored[:])
			if errors.Is(err, syscall.EAGAIN) {
				break
			}
			if errors.Is(err, syscall.EINTR) {
				continue
			}
			if err != nil || n == 0 {
				l.end(k, ErrClientLeft)
				return
			}
			if k.received += int32(n); k.received > clientBytes {
				l.end(k, errClientTalks)
				return
			}
		}
	}
	if events&unix.EPOLLOUT != 0 && k.full {
		p := l.placeOf(k)
		k.full = false
		if l.flushOne(k, now); l.at(p) != nil && !k.full {
			l.wheel.remove(k)
			l.remindAt(k, now.Add(k.quiet())) // where it stands now is the time that becameFull gave the client
		}
	}
}

// drain ends all sockets, spread over most of the drain time.
func (l *loop) drain(drainTime time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.draining, l.drainTime = true, drainTime
	for _, s := range l.slots {
		if s.sock != nil {
			l.endAt(s.sock, now.Add(drainDelay(drainTime)), ErrDraining)
		}
	}
}

// close ends everything and waits for the goroutines.
func (l *loop) close() {
	l.mu.Lock()
	for _, s := range l.slots {
		if s.sock != nil {
			l.end(s.sock, ErrDraining)
		}
	}
	l.closed = true
	l.mu.Unlock()
	l.cancel()
	_ = l.epoll.Close()
	l.nudge()
	l.work.Wait()
}
