//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// endsOften is a server that sends the events after the Last-Event-ID, three at a time, and then breaks the stream off.
// Every second request it refuses.
type endsOften struct {
	*testing.T
	last  int // number of the last event
	again int // number of an event that it sends once more; -1: none

	mu   sync.Mutex
	conn net.Conn // the one that is being answered; guarded by mu
	over bool     // guarded by mu
}

// begin notes the connection that is being answered, and reports whether the test goes on.
func (s *endsOften) begin(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = conn
	return !s.over
}

// end closes the connection that is being answered: a client may have come back when the test was over, and asks nothing.
func (s *endsOften) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over = true; s.conn != nil {
		_ = s.conn.Close()
	}
}

func (s *endsOften) serve(listener net.Listener) {
	for refuse := false; ; refuse = !refuse {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		if s.begin(conn) {
			s.answer(conn, refuse)
		}
		_ = conn.Close()
	}
}

func (s *endsOften) answer(conn net.Conn, refuse bool) {
	request, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	if refuse {
		_, _ = io.WriteString(conn, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
		return
	}
	next := 1
	if id := request.Header.Get("Last-Event-ID"); id != "" {
		_, _ = fmt.Sscanf(id, "%d-", &next)
		next++ // ids count from 1
	}
	_, _ = io.WriteString(conn, closeHead)
	for n := next - 1; n < min(next+2, s.last+1); n++ {
		_, _ = conn.Write(appendFrame(nil, n, 1, 80))
	}
	if s.again >= 0 && next > s.again+1 {
		_, _ = fmt.Fprintf(conn, "data: %s\n\n", appendPayload(nil, s.again, 1, 80)) // without an id: the client's place stays
		s.again = -1
	}
}

// followLoosely has one loose client read a server until it has reached the goal, and returns the audit.
func followLoosely(t *testing.T, s *endsOften, goal int) *audit {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		s.serve(listener)
		close(served)
	}()
	orders, tell := pipe(t)
	hear, notes := pipe(t)
	ended := make(chan error, 1)
	go func() {
		ended <- runClients(orders, notes)
		notes.Close()
	}()
	say := json.NewEncoder(tell)
	for _, o := range []order{
		{Do: "open", Open: &openOrder{Addrs: []string{listener.Addr().String()}, Path: "/", Clients: 1, AtOnce: 1, Loose: 1}},
		{Do: "goal", Events: goal},
	} {
		if err := say.Encode(o); err != nil {
			t.Fatal(err)
		}
	}
	if err := hear.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var a *audit
	lines := bufio.NewScanner(hear)
	for asked := false; a == nil; {
		if !lines.Scan() {
			t.Fatalf("the client has not reached the goal: %v", lines.Err())
		}
		var n note
		if err := json.Unmarshal(lines.Bytes(), &n); err != nil {
			t.Fatal(err)
		}
		a = n.Audit
		if n.Ended == 1 && !asked {
			asked = true
			if err := say.Encode(order{Do: "audit"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	tell.Close()
	for lines.Scan() {
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	listener.Close()
	s.end()
	<-served
	return a
}

func TestALooseClientComesBackUntilItHasTheLastEvent(t *testing.T) {
	a := followLoosely(t, &endsOften{T: t, last: 10, again: -1}, 11)
	if a.Events != 11 || !a.Faults.none() {
		t.Errorf("%d events, faults %+v", a.Events, a.Faults)
	}
	if a.Loose.Left < 3 || a.Loose.Refused < 3 {
		t.Errorf("counted %+v", a.Loose)
	}
}

func TestALooseClientNoticesAnEventThatComesAgain(t *testing.T) {
	if a := followLoosely(t, &endsOften{T: t, last: 10, again: 2}, 11); a.Faults != (faults{Repeated: 1}) {
		t.Errorf("faults %+v", a.Faults)
	}
}

func TestEachClientAsksForItsOwnStream(t *testing.T) {
	for _, c := range []struct {
		name string
		o    openOrder
		want string
	}{
		{"the shared channel", openOrder{First: 10}, ""},
		{"one of several channels", openOrder{First: 10, Channels: 5}, "3"},
		{"a channel of its own beside the shared one", openOrder{First: 10, Own: true}, "13"},
		{"one of some filters", openOrder{First: 10, Own: true, Modulo: 4}, "1"},
		{"many channels", openOrder{First: 10, Own: true, Each: 3}, "load-39,load-40,load-41"},
	} {
		if got := string(appendTarget(nil, c.o, 3)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestALongEventIDIsSentBackWhole(t *testing.T) {
	var id eventID
	long, short := strings.Repeat("m", 1000), strings.Repeat("s", 40)
	for _, text := range []string{long, short, ""} {
		if !id.set([]byte(text)) || string(id.bytes()) != text {
			t.Errorf("%.50q became %.50q", text, id.bytes())
		}
	}
	if id.set([]byte(strings.Repeat("x", longestID+1))) {
		t.Error("an id without end is taken")
	}
}
