package gateway

import (
	"container/heap"
	"context"
	"errors"
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
	clientBytes   = 16 << 10 // that a client may send after its request; none has a reason to
	stalledAfter  = 30 * time.Second
	eventsAtOnce  = 256
	wheelInterval = time.Second
)

var (
	errClientLeft  = errors.New("client left")
	errClientTalks = errors.New("client sends data")
	errLoopClosed  = errors.New("writer loop closed")
)

// loop carries streams on raw sockets. Two goroutines work on them, one at a time: flusher (flush_linux.go) wakes up when
// a feed has grown or time has come, poller when a socket has news. A stream itself has neither goroutine nor buffer; it
// is a cursor into its feed.
type loop struct {
	heartbeat time.Duration
	retry     func() time.Duration
	epoll     *os.File // the epoll set, itself watched by Go's poller: so poller costs no thread while it waits
	epollFD   int

	// grown is what feeds have to say. They say it with their lock held, so it has a lock of its own, never held while
	// a feed's or mu is taken.
	grownMu sync.Mutex
	grown   []*group
	waited  []waited      // news of what await waits for
	wake    chan struct{} // 1: one of these is not empty, or the times have changed

	mu     sync.Mutex
	slots  []slot                  // sockets by number; guarded by mu
	free   []int32                 // numbers without a socket; guarded by mu
	groups map[*pubsub.Feed]*group // guarded by mu
	wheel  wheel                   // guarded by mu
	ends   endings                 // guarded by mu
	behind []place                 // sockets whose stream has more to start with; guarded by mu
	closed bool                    // guarded by mu
	// Once the server drains, a stream that was on its way here gets its end right away; both guarded by mu.
	draining  bool
	drainTime time.Duration

	work   sync.WaitGroup
	ctx    context.Context // of what await waits for
	cancel context.CancelFunc
}

// slot holds a socket. Its generation grows with each one it held: news about an earlier socket of the same number are
// told from news about this one.
type slot struct {
	generation int32
	sock       *socket
}

// place is where a socket was: it may be gone, and another one there.
type place struct{ slot, generation int32 }

// group is all sockets of a loop on one feed.
type group struct {
	feed   *pubsub.Feed
	socks  []*socket
	queued atomic.Bool // in loop.grown
	stop   func()      // ends the feed's notices
}

// socket is one stream.
type socket struct {
	fd        int32
	slot      int32
	index     int32 // in group.socks
	spoke     int32 // of the wheel
	spot      int32 // in the spoke; -1: in none
	received  int32 // bytes the client has sent
	full      bool  // the kernel's buffer is; EPOLLOUT brings us back
	ending    bool  // stands in loop.ends
	behind    bool  // stands in loop.behind, or await waits for it
	group     *group
	stream    *pubsub.Stream // while there is more of its start to come; else nil
	cursor    int64
	first     []byte        // what is still to be written before the feed's frames
	lastWrite int64         // Unix nanoseconds; or, while full, since when
	silence   time.Duration // after which it gets a heartbeat: the setting, less a little that differs
	done      func(error)
}

func newLoop(heartbeat time.Duration, retry func() time.Duration) (*loop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // which is what makes Go's poller take it
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &loop{
		ctx: ctx, cancel: cancel, heartbeat: heartbeat, retry: retry, epoll: os.NewFile(uintptr(fd), "epoll"), epollFD: fd,
		wake: make(chan struct{}, 1), groups: make(map[*pubsub.Feed]*group),
		wheel: newWheel(heartbeat, time.Now()),
	}
	return l, nil
}

// start has the loop work; close ends that.
func (l *loop) start() {
	l.work.Go(l.flusher)
	l.work.Go(l.poller)
}

// add takes a stream over.
func (l *loop) add(fd int, st carried) {
	now := time.Now()
	k := &socket{
		fd: int32(fd), cursor: st.stream.Cursor, first: st.first, done: st.done, lastWrite: now.UnixNano(),
		silence: jitter(l.heartbeat),
	}
	if st.stream.More {
		k.stream = st.stream
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = unix.Close(fd)
		st.done(errLoopClosed)
		return
	}
	if n := len(l.free); n > 0 {
		k.slot, l.free = l.free[n-1], l.free[:n-1]
	} else {
		k.slot = int32(len(l.slots))
		l.slots = append(l.slots, slot{})
	}
	l.slots[k.slot].sock = k
	l.join(k, st.stream.Feed)
	l.wheel.add(k, now.Add(k.silence))
	err := unix.EpollCtl(l.epollFD, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLOUT | unix.EPOLLET,
		Fd:     k.slot, Pad: l.slots[k.slot].generation, // both are ours to use
	})
	if err != nil {
		l.end(k, os.NewSyscallError("epoll_ctl", err))
		return
	}
	if l.draining {
		l.endAt(k, now.Add(drainDelay(l.drainTime)), errDraining)
	}
	l.flushOne(k, now)
}

// join puts a socket into its feed's group; l.mu is held.
func (l *loop) join(k *socket, feed *pubsub.Feed) {
	g := l.groups[feed]
	if g == nil {
		g = &group{feed: feed}
		g.stop = feed.Notify(func() { l.feedGrew(g) })
		l.groups[feed] = g
	}
	k.group, k.index = g, int32(len(g.socks))
	g.socks = append(g.socks, k)
}

// feedGrew has a group flushed. It is called with the feed's lock held.
func (l *loop) feedGrew(g *group) {
	if !g.queued.CompareAndSwap(false, true) {
		return
	}
	l.grownMu.Lock()
	l.grown = append(l.grown, g)
	l.grownMu.Unlock()
	l.nudge()
}

func (l *loop) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// flusher writes what feeds have got, what streams start with, heartbeats, and ends what shall end.
func (l *loop) flusher() {
	timer := time.NewTimer(wheelInterval)
	defer timer.Stop()
	for {
		select {
		case <-l.wake:
		case <-timer.C:
		}
		l.grownMu.Lock()
		grown, news := l.grown, l.waited
		l.grown, l.waited = nil, nil
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
		l.leadOn(news, &r)
		now := time.Now()
		l.wheel.turn(now, func(k *socket) (again time.Time, stays bool) { return l.quiet(k, now) })
		l.endDue(now)
		next := l.wheel.next()
		if at, ok := l.ends.first(); ok && at.Before(next) {
			next = at
		}
		l.mu.Unlock()
		timer.Reset(time.Until(next))
	}
}

// quiet looks at a socket whose time on the wheel has come: it gets a heartbeat if it has had nothing for long, and is
// ended if it has taken nothing for long. l.mu is held.
func (l *loop) quiet(k *socket, now time.Time) (again time.Time, stays bool) {
	last := time.Unix(0, k.lastWrite)
	if k.full {
		if now.Sub(last) >= stalledAfter {
			l.end(k, pubsub.ErrTooSlow)
			return time.Time{}, false
		}
		return last.Add(stalledAfter), true
	}
	if at := last.Add(k.silence); at.After(now) {
		return at, true
	}
	n, err := write1(int(k.fd), []byte(wire.Heartbeat))
	switch {
	case err == syscall.EAGAIN && n > 0: // a part of a comment must be followed by the rest of it
		k.first = []byte(wire.Heartbeat)[n:]
		fallthrough
	case err == syscall.EAGAIN:
		k.full = true
	case err != nil:
		l.end(k, err)
		return time.Time{}, false
	}
	k.lastWrite = now.UnixNano()
	return now.Add(k.silence), true
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
		if errors.Is(e.reason, errDraining) {
			l.flushOne(k, now)
			if k = l.at(e.place); k == nil {
				continue
			}
			if !k.full { // otherwise it would land in the middle of a frame
				_, _ = write1(int(k.fd), wire.AppendRetryFrame(nil, l.retry()))
			}
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

// end closes a socket and lets go of it; l.mu is held.
func (l *loop) end(k *socket, reason error) {
	s := &l.slots[k.slot]
	if s.sock != k {
		return
	}
	s.sock = nil
	s.generation++
	l.free = append(l.free, k.slot)
	// Closing takes it out of the epoll set too: no other descriptor refers to it.
	_ = unix.Close(int(k.fd))
	l.wheel.remove(k)

	g := k.group
	last := g.socks[len(g.socks)-1]
	g.socks[k.index], last.index = last, k.index
	g.socks[len(g.socks)-1] = nil
	g.socks = g.socks[:len(g.socks)-1]
	if len(g.socks) == 0 {
		g.stop()
		delete(l.groups, g.feed)
	}
	k.done(reason)
}

// poller takes in the news of sockets.
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
		l.end(k, errClientLeft)
		return
	}
	if events&unix.EPOLLIN != 0 {
		var ignored [1024]byte
		for {
			n, err := unix.Read(int(k.fd), ignored[:])
			if err == syscall.EAGAIN {
				break
			}
			if err == syscall.EINTR {
				continue
			}
			if err != nil || n == 0 {
				l.end(k, errClientLeft)
				return
			}
			if k.received += int32(n); k.received > clientBytes {
				l.end(k, errClientTalks)
				return
			}
		}
	}
	if events&unix.EPOLLOUT != 0 && k.full {
		k.full = false
		l.flushOne(k, now)
	}
}

// drain ends all sockets, spread over time.
func (l *loop) drain(drainTime time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.draining, l.drainTime = true, drainTime
	for _, s := range l.slots {
		if s.sock != nil {
			l.endAt(s.sock, now.Add(drainDelay(drainTime)), errDraining)
		}
	}
}

// close ends everything and waits for the goroutines.
func (l *loop) close() {
	l.mu.Lock()
	for _, s := range l.slots {
		if s.sock != nil {
			l.end(s.sock, errDraining)
		}
	}
	l.closed = true
	l.mu.Unlock()
	l.cancel()
	_ = l.epoll.Close()
	l.nudge()
	l.work.Wait()
}
