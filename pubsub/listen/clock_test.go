package listen

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/pubsub/ingest"
	"sluice/store"
)

// recorder is a Receiver that remembers raw messages.
type recorder struct{ raw []ingest.Message }

func (r *recorder) Connected(string)               {}
func (r *recorder) Announced(string, []byte)       {}
func (r *recorder) Raw(_ string, m ingest.Message) { r.raw = append(r.raw, m) }
func (r *recorder) Adopted(string, ingest.RawID)   {}
func (r *recorder) Subscribed([]string, bool)      {}
func (r *recorder) Lost()                          {}
func (r *recorder) payloads() (all []string) {
	for _, m := range r.raw {
		all = append(all, string(m.Payload))
	}
	return all
}

// noQueue is a Queue in which nothing ever waits.
type noQueue struct{}

func (noQueue) Flush()               {}
func (noQueue) Fence(handled func()) { handled() }

// clockedSession is a session on a pipe, which follows the raw messages of orders, with a clock that the test sets.
type clockedSession struct {
	*session
	recorder *recorder
	clock    atomic.Int64
	redis    net.Conn // the other end
}

func newClockedSession(t *testing.T) *clockedSession {
	t.Helper()
	s := &clockedSession{recorder: &recorder{}}
	l := New(Config{
		Replica: "a", Names: store.NewNames(store.DefaultPrefix, 0), Receiver: s.recorder, Queue: noQueue{},
		Log: slog.New(slog.DiscardHandler),
	})
	l.now = func() time.Duration { return time.Duration(s.clock.Load()) }
	var near net.Conn
	near, s.redis = net.Pipe()
	t.Cleanup(func() {
		near.Close()
		s.redis.Close()
	})
	s.session = newSession(l, newConn(near, 1000, l.now))
	s.sequencer.Marker("m", []string{"orders"}, true)
	return s
}

// advance moves the clock as a pause of the process or a sleep of the machine does.
func (s *clockedSession) advance(d time.Duration) { s.clock.Add(int64(d)) }

// published has raw messages read that arrive together, and returns why the session ends: io.EOF if nothing is wrong.
func (s *clockedSession) published(t *testing.T, payloads ...string) error {
	t.Helper()
	text := ""
	for _, p := range payloads {
		text += fmt.Sprintf(">3\r\n$7\r\nmessage\r\n$6\r\norders\r\n$%d\r\n%s\r\n", len(p), p)
	}
	read := make(chan error, 1)
	go func() {
		s.end(s.read())
		read <- s.cause
	}()
	if _, err := s.redis.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	s.redis.Close()
	return <-read
}

func TestARawMessageThatLayInTheSocketDuringAPauseIsNotHandedOn(t *testing.T) {
	s := newClockedSession(t)
	s.advance(pauseTolerance + time.Second)
	if err := s.published(t, "old"); !errors.Is(err, errPaused) || len(s.recorder.raw) > 0 {
		t.Errorf("reading ended with %v, handed on: %v; want %v and nothing", err, s.recorder.payloads(), errPaused)
	}
}

func TestAPauseIsNoticedByTheReaderEvenIfTheWatcherWokeFirst(t *testing.T) {
	s := newClockedSession(t)
	s.advance(pauseTolerance + time.Second)
	if err := s.noteTime(); !errors.Is(err, errPaused) {
		t.Errorf("the watcher returns %v, want %v", err, errPaused)
	}
	if err := s.published(t, "old"); !errors.Is(err, errPaused) || len(s.recorder.raw) > 0 {
		t.Errorf("reading ended with %v, handed on: %v; want %v and nothing", err, s.recorder.payloads(), errPaused)
	}
}

func TestAShortPauseLosesNothing(t *testing.T) {
	s := newClockedSession(t)
	s.advance(pauseTolerance)
	if err := s.published(t, "one", "two"); !errors.Is(err, io.EOF) {
		t.Fatalf("reading ended with %v", err)
	}
	if len(s.recorder.raw) != 2 {
		t.Fatalf("handed on: %v, want both", s.recorder.payloads())
	}
	for _, m := range s.recorder.raw {
		if m.ReceivedAt != pauseTolerance {
			t.Errorf("%q was received at %v, want the time of reading the socket, %v", m.Payload, m.ReceivedAt, pauseTolerance)
		}
	}
}

func TestASilentConnectionEndsTheSession(t *testing.T) {
	s := newClockedSession(t)
	for range int(silenceAtMost / watchInterval) {
		s.advance(watchInterval)
		if err := s.noteTime(); err != nil {
			t.Fatalf("after %v of silence: %v", s.listener.now(), err)
		}
	}
	s.advance(watchInterval)
	if err := s.noteTime(); !errors.Is(err, errSilent) {
		t.Errorf("after %v of silence: %v, want %v", s.listener.now(), err, errSilent)
	}
}

func TestAConnectionOnWhichSomethingComesGoesOn(t *testing.T) {
	s := newClockedSession(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 60 {
			if _, err := s.redis.Write([]byte("+PONG\r\n")); err != nil {
				return
			}
		}
	})
	defer wg.Wait()
	defer s.redis.Close()
	for range 60 {
		s.advance(watchInterval)
		if err := s.noteTime(); err != nil {
			t.Fatalf("after %v: %v", s.listener.now(), err)
		}
		if _, err := s.conn.next(); err != nil {
			t.Fatal(err)
		}
	}
}
