package pubsub

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/store"
)

// leave ends a session that nothing is wrong with. Redis counts us as a receiver until it has carried out UNSUBSCRIBE,
// so the reader goes on until the answer to the last command, which is an error: no such command exists.
func (s *session) leave() {
	if err := s.conn.send([]string{"UNSUBSCRIBE"}, []string{"PUNSUBSCRIBE"}, []string{"LEAVE"}); err != nil {
		_ = s.conn.Close()
		return
	}
	_ = s.conn.SetReadDeadline(time.Now().Add(leaveTimeout))
}

// session is one connection's life.
type session struct {
	*listener
	conn   *conn
	naming *naming // the reader's
	probes string

	probeMu sync.Mutex
	probed  map[string]chan struct{} // probes on their way, closed when they come back; guarded by probeMu

	batchMu sync.Mutex
	batches map[string]batch // by marker: on their way; guarded by batchMu
	lastAny atomic.Int64     // when anything was read, Unix nanoseconds
	ticked  atomic.Int64     // when watch looked the last time, likewise

	asked     int           // subscriptions asked for; the writer's
	confirmed atomic.Int64  // of those, confirmed
	confirm   chan struct{} // 1: confirmed has grown
}

// batch is a number of subscriptions that one marker confirms.
type batch struct {
	channels []string // that are settled when the marker comes by
	alone    bool     // no other replica was connected when the marker was published
}

// write sends what is wanted and no longer wanted, in batches.
func (s *session) write(ctx context.Context) error {
	if err := s.conn.send([]string{"PSUBSCRIBE", store.PatternMarkerChannel}); err != nil {
		return err
	}
	s.asked++
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.signal:
		}
		for {
			add, drop := s.take()
			if len(add)+len(drop) == 0 {
				break
			}
			if err := s.unsubscribe(drop); err != nil {
				return fmt.Errorf("unsubscribe: %w", err)
			}
			if err := s.subscribe(ctx, add); err != nil {
				return fmt.Errorf("subscribe: %w", err)
			}
		}
	}
}

func (s *session) unsubscribe(drop []want) error {
	for len(drop) > 0 {
		n := min(len(drop), namesPerBatch)
		command := []string{"UNSUBSCRIBE"}
		for _, w := range drop[:n] {
			names, _ := w.names()
			command = append(command, names...)
		}
		if len(command) > 1 {
			if err := s.conn.send(command); err != nil {
				return err
			}
		}
		drop = drop[n:]
	}
	return nil
}

// subscribe subscribes to a batch and publishes its marker, in one transaction: no raw message can come between the
// two, so every one that reaches us has a name.
func (s *session) subscribe(ctx context.Context, add []want) error {
	channels, patterns := []string{"SUBSCRIBE"}, []string{"PSUBSCRIBE"}
	marker := store.NewNonce().String() + store.NewNonce().String()
	patternMarker := marker + "p"
	var exact, globs []string // sources
	confirmed := batch{}
	for _, w := range add {
		names, source := w.names()
		channels = append(channels, names...)
		switch {
		case w.pattern:
			patterns = append(patterns, w.channel)
			globs = append(globs, source)
		case source != "":
			exact = append(exact, source)
			fallthrough
		default:
			confirmed.channels = append(confirmed.channels, w.channel)
		}
	}
	var commands, markers [][]string
	if len(channels) > 1 {
		commands = append(commands, channels)
		markers = append(markers, []string{"PUBLISH", store.MarkerChannel, markerText(marker, exact)})
	}
	if len(patterns) > 1 {
		commands = append(commands, patterns)
		markers = append(markers, []string{"PUBLISH", store.PatternMarkerChannel, markerText(patternMarker, globs)})
	}
	if len(commands) == 0 {
		return nil
	}
	if s.conn.canPublish {
		s.expect(marker, confirmed, patternMarker, len(globs) > 0)
		commands = append(commands, []string{"PUBSUB", "NUMSUB", store.MarkerChannel}) // see receivers in read
		commands = append(commands, markers...)
		if !s.full.Load() {
			commands = append(append([][]string{{"MULTI"}}, commands...), []string{"EXEC"})
		}
		return s.conn.send(commands...)
	}
	// miniredis: the markers go out by another connection, as soon as the subscriptions are in place.
	if err := s.conn.send(commands...); err != nil {
		return err
	}
	s.asked += len(channels) + len(patterns) - 2
	for s.confirmed.Load() < int64(s.asked) {
		select {
		case <-ctx.Done():
			return nil
		case <-s.confirm:
		}
	}
	replicas, err := s.rdb.PubSubNumSub(ctx, store.MarkerChannel).Result()
	if err != nil {
		return err
	}
	confirmed.alone = replicas[store.MarkerChannel] == 1
	s.expect(marker, confirmed, patternMarker, len(globs) > 0)
	for _, m := range markers {
		if err := s.rdb.Publish(ctx, m[1], m[2]).Err(); err != nil {
			return err
		}
	}
	return nil
}

// expect remembers what a batch's markers mean when they come by.
func (s *session) expect(marker string, confirmed batch, patternMarker string, patterns bool) {
	s.batchMu.Lock()
	defer s.batchMu.Unlock()
	s.batches[marker] = confirmed
	if patterns {
		s.batches[patternMarker] = batch{}
	}
}

func markerText(marker string, sources []string) string {
	return marker + " " + strings.Join(sources, " ")
}

// read is the receive loop. It never waits for anything but the connection.
func (s *session) read() error {
	// How many connections follow the markers: the answer to NUMSUB, which comes before the marker it was sent with in
	// every version of Redis. (The one to PUBLISH, which says the same, comes behind the marker in some.)
	receivers := int64(0)
	for {
		m, err := s.conn.next()
		if err != nil {
			return err
		}
		s.lastAny.Store(time.Now().UnixNano())
		switch m.kind {
		case integerReply:
			receivers = m.integer
		case errorReply:
			return errors.New(m.text)
		case subscribed:
			s.confirmed.Add(1)
			select {
			case s.confirm <- struct{}{}:
			default:
			}
		case unsubscribed:
			s.naming.forget(m.channel)
		case patternMessage:
			if m.channel == store.PatternMarkerChannel {
				s.marker(string(m.payload), receivers)
			} else {
				err = s.rawMessage(m.pattern, m.channel, m.payload)
			}
		case channelMessage:
			switch {
			case m.channel == store.MarkerChannel:
				s.marker(string(m.payload), receivers)
			case m.channel == s.probes:
				s.probeCame(string(m.payload))
			default:
				if channel, ok := store.ChannelOfLive(m.channel); ok {
					s.to.announced(channel, m.payload)
				} else {
					err = s.rawMessage(m.channel, m.channel, m.payload)
				}
			}
		}
		if err != nil {
			return err
		}
	}
}

// marker takes in a marker, ours or another replica's.
func (s *session) marker(text string, receivers int64) {
	marker, sources, _ := strings.Cut(text, " ")
	s.batchMu.Lock()
	b, own := s.batches[marker]
	delete(s.batches, marker)
	s.batchMu.Unlock()
	s.naming.seen(marker, strings.Fields(sources), own)
	if own && len(b.channels) > 0 {
		s.to.settled(b.channels, b.alone || receivers == 1)
	}
}

// rawMessage names a raw message and hands it on. If this process was paused (or its machine asleep, hence the wall
// clock), the message may have lain in the socket for longer than its name is remembered.
func (s *session) rawMessage(source, channel string, payload []byte) error {
	if time.Now().UnixNano()-s.ticked.Load() > int64(pauseTolerance) {
		return errPaused
	}
	n, ok := s.naming.next(source, channel)
	if !ok {
		return nil
	}
	s.to.raw(channel, payload, n)
	if n.number == 1 && source != channel && s.naming.counted(source) == countsAtMost {
		// Start the counting anew, for everybody, before it fills the memory.
		s.want(want{channel: source, raw: true, pattern: true})
	}
	return nil
}

// probeCame notes that a probe came back.
func (s *session) probeCame(nonce string) {
	s.probeMu.Lock()
	defer s.probeMu.Unlock()
	if back := s.probed[nonce]; back != nil {
		close(back)
		delete(s.probed, nonce)
	}
}

var (
	errDeaf   = errors.New("a published probe did not come back")
	errMoved  = errors.New("a published probe had no receiver: Redis is another one now")
	errSilent = errors.New("the connection is silent")
	errPaused = errors.New("this process was paused")

	errNoSession = errors.New("not connected to Redis")
)

// watch proves, every second, that the whole way works: a message published by the ordinary client arrives on the
// subscribed connection. That finds dead peers, a failover that leaves the old connection open, and a Redis that lost
// the subscription; a PING on the connection itself finds it dead while the ordinary client cannot publish either.
func (s *session) watch(ctx context.Context) error {
	s.lastAny.Store(time.Now().UnixNano())
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	last := time.Now()
	for {
		now := time.Now()
		if pause := now.Sub(last); pause > pauseTolerance {
			return fmt.Errorf("%w for %v", errPaused, pause.Round(time.Second))
		}
		last = now
		s.ticked.Store(now.UnixNano())
		if silent := time.Duration(now.UnixNano() - s.lastAny.Load()); silent > probeTimeout+probeInterval {
			return fmt.Errorf("%w for %v", errSilent, silent.Round(time.Second))
		}
		if err := s.conn.send([]string{"PING"}); err != nil {
			return fmt.Errorf("ping: %w", err)
		}
		if err := s.check(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// check sends one probe. If Redis does not take it, that says nothing about the session, so it is not ended, but the
// replica is not ready then.
func (s *session) check(ctx context.Context) error {
	sent := time.Now()
	err := s.probe(ctx)
	switch {
	case err == nil:
		s.stats.ProbeNanos.Store(int64(time.Since(sent)))
		s.healthy.Store(true)
	case errors.Is(err, errDeaf), errors.Is(err, errMoved):
		return err
	case ctx.Err() == nil:
		s.healthy.Store(false)
		s.problem.Store("Redis: " + err.Error())
	}
	return nil
}

// probe publishes by the ordinary client and waits until that arrives on the subscribed connection. Everything that
// was published before has arrived then.
func (s *session) probe(ctx context.Context) error {
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	s.probeMu.Lock()
	nonce, back := store.NewNonce().String(), make(chan struct{}) // a late one of another session must not be taken for it
	s.probed[nonce] = back
	s.probeMu.Unlock()
	defer func() {
		s.probeMu.Lock()
		delete(s.probed, nonce)
		s.probeMu.Unlock()
	}()
	receivers, err := s.rdb.Publish(ctx, s.probes, nonce).Result()
	switch {
	case err != nil:
		return err
	case receivers == 0:
		return errMoved
	}
	select {
	case <-back:
		return nil
	case <-ctx.Done():
		if parent.Err() == nil {
			return errDeaf
		}
		return parent.Err()
	}
}
