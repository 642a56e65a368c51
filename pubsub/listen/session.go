package listen

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/pubsub/ingest"
	"sluice/store"
)

const (
	leaveTimeout = time.Second // how long a replica that stops waits for Redis to carry out its UNSUBSCRIBE

	// countedAtMost is how many channels a pattern may count under one marker before this replica publishes a new one.
	countedAtMost = 100_000
)

// session is the life of one connection.
type session struct {
	listener  *Listener
	conn      *conn
	probes    string            // the channel of this replica's probes
	sequencer *ingest.Sequencer // only the reading goroutine uses it

	ending chan struct{} // closed by end: the reader reads what is still to come, and the session is over
	endNow func(error)   // does what end does, once
	cause  error         // why the session ends; set before ending is closed
	next   *conn         // a connection for the next session; the watching goroutine has it until the session is over
	over   chan struct{} // closed when the reader has read the last message

	probeMu sync.Mutex
	probed  map[string]*probe     // by nonce: probes that have not come back; guarded by probeMu
	awaited atomic.Pointer[probe] // the one of them whose absence ends the session, once Redis has taken it
	unheard atomic.Int64          // when the oldest probe was sent since the last one that came back; 0 if none was

	batchMu sync.Mutex
	batches map[string]batch // by marker: batches whose marker has not come yet; guarded by batchMu

	watchedAt atomic.Int64 // when watch ran the last time, by Listener.now; nanoseconds

	raws       atomic.Int64   // raw messages that came
	rawRate    rate           // of raws; the watching goroutine has it until the session is over
	discarding bool           // the process was paused, and raw messages are not handed on any more; only the reader uses it
	unnamed    map[string]int // by source: raw messages that came before their marker; only the reader uses it

	asked       int           // how many subscriptions were asked for; only the writing goroutine uses it
	confirmed   atomic.Int64  // how many of these Redis has confirmed
	confirmedUp chan struct{} // capacity 1: confirmed has grown
}

// batch is a number of subscriptions that are in place when their marker comes.
type batch struct {
	channels []string // or patterns
	first    int      // the index, in order.followers, of the first one's entry
	counts   []int64  // how many subscribers each of order.followers has; nil if the reader gets this from the connection
}

// alone returns those channels of a batch that this replica alone follows, and the others. counts are those that the
// reader got; a channel without a count has several followers, for all that is known.
func (b batch) alone(counts []int64) (alone, others []string) {
	if b.counts != nil {
		counts = b.counts
	}
	for i, channel := range b.channels {
		if i += b.first; i < len(counts) && counts[i] == 1 {
			alone = append(alone, channel)
		} else {
			others = append(others, channel)
		}
	}
	return alone, others
}

func newSession(l *Listener, c *conn) *session {
	s := &session{
		listener: l, conn: c, sequencer: l.sequencer.ForNextConnection(), batches: make(map[string]batch),
		probes: l.cfg.Names.Probe(l.cfg.Replica), probed: make(map[string]*probe), confirmedUp: make(chan struct{}, 1),
		ending: make(chan struct{}), over: make(chan struct{}), unnamed: make(map[string]int),
	}
	l.sequencer = s.sequencer
	var once sync.Once
	s.endNow = func(err error) {
		once.Do(func() {
			s.cause = err
			close(s.ending)
		})
	}
	now := l.now()
	s.watchedAt.Store(int64(now))
	s.rawRate.note(now, 0)
	c.beforeRead = s.caughtUp
	return s
}

// dial makes a connection for a session.
func (l *Listener) dial(ctx context.Context) (*conn, error) {
	names := l.cfg.Names
	session := names.Session(store.NewNonce())
	c, err := dial(
		ctx, l.cfg.Redis.Options(), l.maxBytes, l.now, names.Probe(l.cfg.Replica), names.Markers, names.Adopted, session)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	c.session = session
	return c, nil
}

// runSession subscribes to all that is wanted, on c or a new connection if c is nil, and reads until something breaks or
// parent ends. next is a connection for the next session, if there is one already.
func (l *Listener) runSession(parent context.Context, c *conn) (next *conn, err error) {
	if c == nil {
		if c, err = l.dial(parent); err != nil {
			return nil, err
		}
	}
	if l.cfg.Before != nil {
		if err := l.cfg.Before(parent); err != nil {
			_ = c.Close()
			return nil, err
		}
	}
	s := newSession(l, c)
	l.cfg.Receiver.Connected(c.session)
	l.running.Store(s)
	defer l.running.Store(nil)
	l.restart()

	ctx, cancel := context.WithCancel(parent)
	var senders, wg sync.WaitGroup
	senders.Go(func() { s.end(s.write(ctx)) })
	senders.Go(func() { s.end(s.watch(ctx)) })
	// A call of the ordinary client cannot be interrupted. It is waited for at the end of Run, since the next session must
	// not wait for it.
	l.probing.Go(func() { s.probeEverySecond(ctx) })
	wg.Go(func() {
		select {
		case <-s.ending:
		case <-parent.Done():
		case <-s.over:
			return
		}
		cancel()
		_ = c.SetWriteDeadline(time.Now().Add(leaveTimeout))
		senders.Wait() // nothing is subscribed to after leave
		s.leave()
	})
	err = s.read()
	close(s.over)
	s.end(err) // if nothing else was the reason
	cancel()
	_ = c.Close()
	senders.Wait()
	wg.Wait()
	if !errors.Is(err, errLeft) {
		l.lost.connection.Add(s.onTheirWay())
	}
	s.noteUnnamed(slices.Collect(maps.Keys(s.unnamed)), nil) // their marker is not going to come
	return s.next, s.cause
}

// end ends the session because of err, unless that is nil or the session is ending already. It does not wait. What has
// arrived is still read.
func (s *session) end(err error) {
	if err != nil {
		s.endNow(err)
	}
}

// leaveCommand does not exist, so the reply to it is an error that names it.
const leaveCommand = "LEAVE"

// errLeft says that Redis has carried out leave, so everything of which it called this replica a receiver was read.
var errLeft = errors.New("left")

// leave asks Redis to end all subscriptions. Redis counts this replica as a receiver until it has carried out
// UNSUBSCRIBE, so the reader goes on until the reply to the last command, which is an error. If Redis does not answer or
// the connection is broken, the reader has leaveTimeout to read what has arrived.
func (s *session) leave() {
	_ = s.conn.SetReadDeadline(time.Now().Add(leaveTimeout))
	_ = s.conn.send([]string{"UNSUBSCRIBE"}, []string{"PUNSUBSCRIBE"}, []string{leaveCommand})
}

// read is the reading goroutine. It waits for nothing but the connection.
func (s *session) read() error {
	// counts is the reply to NUMSUB, which comes before the marker it was sent with in every version of Redis. Replies
	// to PUBLISH stand behind it, before the marker or after it.
	var counts []int64
	for {
		m, err := s.conn.next()
		if err != nil {
			return err
		}
		switch m.kind {
		case integerReply:
			counts = append(counts, m.integer)
		case arrayReply:
			counts = counts[:0]
		case errorReply:
			if strings.Contains(m.text, leaveCommand) {
				return errLeft
			}
			s.end(errors.New(m.text)) // there may be raw messages behind it
		case subscribed:
			s.confirmed.Add(1)
			select {
			case s.confirmedUp <- struct{}{}:
			default:
			}
		case unsubscribed:
			s.sequencer.Forget(m.channel)
		case patternMessage:
			if m.channel == s.listener.cfg.Names.PatternMarkers {
				s.markerCame(string(m.payload), counts)
			} else {
				s.rawCame(m.pattern, m.channel, m.payload)
			}
		case channelMessage:
			s.messageCame(m, counts)
		}
	}
}

// caughtUp is called by the reader when it has handled everything it has read, before it waits for more.
func (s *session) caughtUp() {
	s.listener.cfg.Queue.Flush()
	s.checkAwaited()
}

// messageCame handles a message to a subscribed channel.
func (s *session) messageCame(m message, counts []int64) {
	switch m.channel {
	case s.listener.cfg.Names.Markers:
		s.markerCame(string(m.payload), counts)
	case s.listener.cfg.Names.Adopted:
		s.noticeCame(m.payload)
	case s.probes:
		s.probeCame(string(m.payload))
	default:
		if channel, live := s.listener.cfg.Names.ChannelOfLive(m.channel); live {
			s.listener.cfg.Receiver.Announced(channel, m.payload)
		} else {
			s.rawCame(m.channel, m.channel, m.payload)
		}
	}
}

// markerCame handles a marker of this replica or of another one.
func (s *session) markerCame(text string, counts []int64) {
	marker, names, _ := strings.Cut(text, " ")
	s.batchMu.Lock()
	b, own := s.batches[marker]
	delete(s.batches, marker)
	s.batchMu.Unlock()
	if repeated := s.sequencer.Marker(marker, strings.Fields(names), own); len(repeated) > 0 {
		s.listener.renew(repeated)
	}
	if !own {
		return
	}
	alone, others := b.alone(counts)
	s.noteUnnamed(alone, others)
	if len(alone) > 0 {
		s.listener.cfg.Receiver.Subscribed(alone, true)
	}
	if len(others) > 0 {
		s.listener.cfg.Receiver.Subscribed(others, false)
	}
}

// noticeCame takes a notice of raw messages that are stored. One that is not readable does no harm: what it would have
// saved is presented to the store in vain.
func (s *session) noticeCame(payload []byte) {
	if n, err := store.ParseNotice(payload); err == nil {
		s.listener.cfg.Receiver.Adopted(n.Channel, ingest.RawID{Marker: n.Marker, Number: n.Number})
	}
}

// rawCame names a raw message and hands it on, unless it may have lain in the socket for long.
func (s *session) rawCame(source, channel string, payload []byte) {
	receivedAt := s.conn.lastRead()
	if receivedAt-time.Duration(s.watchedAt.Load()) > pauseTolerance {
		s.discarding = true
		s.end(errPaused)
	}
	if s.discarding {
		s.listener.lost.paused.Add(1)
		return
	}
	s.raws.Add(1)
	id, ok := s.sequencer.Next(source, channel)
	if !ok {
		s.unnamed[source]++
		return
	}
	s.listener.cfg.Receiver.Raw(channel, ingest.Message{Source: source, ID: id, Payload: payload, ReceivedAt: receivedAt})
	if id.Number == 1 && source != channel && s.sequencer.Counted(source) == countedAtMost {
		// The counts take memory. A new marker sets all of them back, on every replica.
		s.listener.Want(Subscription{Channel: source, Raw: true, Pattern: true})
	}
}
