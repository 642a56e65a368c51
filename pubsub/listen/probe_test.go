package listen

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"sluice/store"
)

// socketSession is a session on a TCP connection, with a clock that the test sets. The other end sends what the test wants.
func socketSession(t *testing.T) (s *clockedSession, redis net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	redis, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		near.Close()
		redis.Close()
	})
	s = &clockedSession{recorder: &recorder{}, redis: redis}
	ls := New(Config{
		Replica: "a", Names: store.NewNames(store.DefaultPrefix, 0), Receiver: s.recorder, Queue: noQueue{},
		Log: slog.New(slog.DiscardHandler),
	})
	ls.now = func() time.Duration { return time.Duration(s.clock.Load()) }
	s.session = newSession(ls, newConn(near, 1000, ls.now))
	s.sequencer.Marker("m", []string{"orders"}, true)
	return s, redis
}

// sendProbe makes a probe that Redis has taken, and returns its nonce.
func (s *clockedSession) sendProbe() string {
	p := &probe{sent: s.listener.now(), watched: true, arrived: make(chan struct{}), handled: make(chan struct{})}
	s.probed["nonce"] = p
	s.await("nonce", p)
	return "nonce"
}

func pushed(channel, payload string) string {
	return fmt.Sprintf(">3\r\n$7\r\nmessage\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(channel), channel, len(payload), payload)
}

// hasEnded reports why the session is ending, or nil.
func (s *clockedSession) hasEnded() error {
	select {
	case <-s.ending:
		return s.cause
	default:
		return nil
	}
}

func TestAReaderThatIsBehindIsNotDeaf(t *testing.T) {
	s, redis := socketSession(t)
	nonce := s.sendProbe()
	// A minute's worth lies in the socket, with the probe at its end. The buffer of the reader is smaller than that.
	const messages = 3000
	text := ""
	for i := range messages {
		text += pushed("orders", fmt.Sprint(i))
	}
	if _, err := redis.Write([]byte(text + pushed(s.probes, nonce))); err != nil {
		t.Fatal(err)
	}
	redis.Close()
	for s.conn.empty() {
		time.Sleep(time.Millisecond) // between two tries of a poll: loopback delivers soon
	}
	s.watchedAt.Store(int64(time.Minute)) // the process is not paused, it is busy
	s.advance(time.Minute)
	if err := s.read(); !errors.Is(err, io.EOF) {
		t.Errorf("reading ended with %v", err)
	}
	if err := s.hasEnded(); err != nil {
		t.Errorf("the session ends because %v", err)
	}
	if len(s.recorder.raw) != messages {
		t.Errorf("%d messages were handed on, want %d", len(s.recorder.raw), messages)
	}
	if s.awaited.Load() != nil {
		t.Error("the probe is said not to have come back")
	}
}

func TestAProbeThatDoesNotComeBackEndsTheSessionWhateverElseComes(t *testing.T) {
	s, redis := socketSession(t)
	s.sendProbe()
	read := make(chan error, 1)
	go func() { read <- s.read() }()
	for range 100 { // a Redis that was demoted sends this for ever, but never our probe
		s.watchedAt.Store(s.clock.Add(int64(probeInterval)))
		before := s.raws.Load()
		if _, err := redis.Write([]byte(pushed("orders", "x") + "+PONG\r\n")); err != nil {
			t.Fatal(err)
		}
		for s.hasEnded() == nil && s.raws.Load() == before {
			time.Sleep(time.Millisecond) // between two tries of a poll
		}
		if s.hasEnded() != nil {
			break
		}
	}
	redis.Close()
	<-read
	if err := s.hasEnded(); !errors.Is(err, errDeaf) {
		t.Errorf("the session ends because %v, want %v", err, errDeaf)
	}
	if at := s.listener.now(); at < probeTimeout || at > probeTimeout+3*probeInterval {
		t.Errorf("it ends after %v, want soon after %v", at, probeTimeout)
	}
}

func TestAProbeThatCameBackBeforeRedisSaidThatItWasTakenIsNotAwaited(t *testing.T) {
	s, _ := socketSession(t)
	p := &probe{watched: true, arrived: make(chan struct{}), handled: make(chan struct{})}
	s.probed["nonce"] = p
	s.probeCame("nonce")
	s.await("nonce", p)
	s.advance(time.Hour)
	s.checkAwaited()
	if err := s.hasEnded(); err != nil {
		t.Errorf("the session ends because %v", err)
	}
}

func TestAReplicaIsNotReadyWhileAProbeIsLate(t *testing.T) {
	s, _ := socketSession(t)
	s.advance(time.Hour)
	s.unheard.Store(int64(s.listener.now()))
	if s.late() {
		t.Error("late at once")
	}
	s.advance(probeTimeout + 1)
	if !s.late() {
		t.Error("not late after the time for a probe")
	}
	s.sendProbe()
	s.probeCame("nonce")
	if s.late() {
		t.Error("late though the probe came back")
	}
}
