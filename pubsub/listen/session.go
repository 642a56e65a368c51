package listen

import (
	"context"
	"errors"
	"fmt"
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

	probeMu sync.Mutex
	probed  map[string]chan struct{} // probes on their way, closed when they come back; guarded by probeMu

	batchMu sync.Mutex
	batches map[string]batch // by marker: batches whose marker has not come yet; guarded by batchMu

	watchedAt atomic.Int64 // when watch ran the last time, by Listener.now; nanoseconds

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

func newSession(l *Listener, c *conn, probes string) *session {
	s := &session{
		listener: l, conn: c, sequencer: ingest.NewSequencer(), batches: make(map[string]batch),
		probes: probes, probed: make(map[string]chan struct{}), confirmedUp: make(chan struct{}, 1),
	}
	s.watchedAt.Store(int64(l.now()))
	return s
}

// runSession connects, subscribes to all that is wanted, and reads until something breaks or parent ends.
func (l *Listener) runSession(parent context.Context) error {
	probes := l.cfg.Names.Probe(l.cfg.Replica)
	c, err := dial(parent, l.cfg.Redis.Options(), l.maxBytes, l.now, probes, l.cfg.Names.Markers, l.cfg.Names.Adopted)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	s := newSession(l, c, probes)
	l.running.Store(s)
	defer l.running.Store(nil)
	l.restart()

	ctx, cancel := context.WithCancelCause(parent)
	var senders, wg sync.WaitGroup
	senders.Go(func() { cancel(s.write(ctx)) })
	senders.Go(func() { cancel(s.watch(ctx)) })
	wg.Go(func() { // wakes the reader
		<-ctx.Done()
		if _, refused := errors.AsType[refusal](context.Cause(ctx)); !refused && parent.Err() == nil {
			_ = c.Close()
			return
		}
		_ = c.SetWriteDeadline(time.Now().Add(leaveTimeout))
		senders.Wait() // nothing is subscribed to after leave
		s.leave()
	})
	err = s.read()
	cancel(err)
	// Redis counts this replica as a receiver of the messages behind a refusal: they are read before the session ends.
	for r, refused := errors.AsType[refusal](err); refused && !r.toLeave(); r, refused = errors.AsType[refusal](err) {
		err = s.read()
	}
	_ = c.Close()
	senders.Wait()
	wg.Wait()
	return context.Cause(ctx)
}

// leaveCommand does not exist, so the reply to it is an error that names it.
const leaveCommand = "LEAVE"

// refusal is an error reply of Redis.
type refusal string

// Error returns the reply.
func (r refusal) Error() string { return string(r) }

// toLeave reports whether this is the reply to leaveCommand, which is the last one.
func (r refusal) toLeave() bool { return strings.Contains(string(r), leaveCommand) }

// leave ends a session whose connection works. Redis counts this replica as a receiver until it has carried out
// UNSUBSCRIBE, so the reader goes on until the reply to the last command, which is an error.
func (s *session) leave() {
	if err := s.conn.send([]string{"UNSUBSCRIBE"}, []string{"PUNSUBSCRIBE"}, []string{leaveCommand}); err != nil {
		_ = s.conn.Close()
		return
	}
	_ = s.conn.SetReadDeadline(time.Now().Add(leaveTimeout))
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
			return refusal(m.text)
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
				err = s.rawCame(m.pattern, m.channel, m.payload)
			}
		case channelMessage:
			err = s.messageCame(m, counts)
		}
		if err != nil {
			return err
		}
	}
}

// messageCame handles a message to a subscribed channel.
func (s *session) messageCame(m message, counts []int64) error {
	switch m.channel {
	case s.listener.cfg.Names.Markers:
		s.markerCame(string(m.payload), counts)
	case s.listener.cfg.Names.Adopted:
		s.noticeCame(m.payload)
	case s.probes:
		s.probeCame(string(m.payload))
	default:
		channel, live := s.listener.cfg.Names.ChannelOfLive(m.channel)
		if !live {
			return s.rawCame(m.channel, m.channel, m.payload)
		}
		s.listener.cfg.Receiver.Announced(channel, m.payload)
	}
	return nil
}

// markerCame handles a marker of this replica or of another one.
func (s *session) markerCame(text string, counts []int64) {
	marker, sources, _ := strings.Cut(text, " ")
	s.batchMu.Lock()
	b, own := s.batches[marker]
	delete(s.batches, marker)
	s.batchMu.Unlock()
	s.sequencer.Marker(marker, strings.Fields(sources), own)
	if !own {
		return
	}
	alone, others := b.alone(counts)
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

// rawCame names a raw message and hands it on. It returns errPaused if the message may have lain in the socket for long.
func (s *session) rawCame(source, channel string, payload []byte) error {
	receivedAt := s.conn.lastRead()
	if receivedAt-time.Duration(s.watchedAt.Load()) > pauseTolerance {
		return errPaused
	}
	id, ok := s.sequencer.Next(source, channel)
	if !ok {
		return nil
	}
	s.listener.cfg.Receiver.Raw(channel, ingest.Message{Source: source, ID: id, Payload: payload, ReceivedAt: receivedAt})
	if id.Number == 1 && source != channel && s.sequencer.Counted(source) == countedAtMost {
		// The counts take memory. A new marker sets all of them back, on every replica.
		s.listener.Want(Subscription{Channel: source, Raw: true, Pattern: true})
	}
	return nil
}
