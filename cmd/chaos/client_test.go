package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"sluice/cmd/internal/judge"
	"sluice/cmd/internal/rig"
)

// answers is a server that gives one answer after the other, and hangs when there is none left. It records the last
// event id of each request.
type answers struct {
	mu   sync.Mutex
	next []http.HandlerFunc // guarded by mu
	ids  []string           // guarded by mu
}

func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.ids = append(a.ids, r.Header.Get("Last-Event-ID"))
	answer := hang
	if len(a.next) > 0 {
		answer, a.next = a.next[0], a.next[1:]
	}
	a.mu.Unlock()
	answer(w, r)
}

func (a *answers) seen() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.ids)
}

func hang(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func stream(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		fmt.Fprint(w, text)
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// broken writes a stream and then breaks the connection.
func broken(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		stream(text)(w, r)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

func refusedAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

// runUntilAsked runs a client until the server has had so many requests, and until the client has ended: by itself if
// it dies.
func runUntilAsked(t *testing.T, c *client, server *answers, requests int, dies bool) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var running sync.WaitGroup
	running.Go(func() { c.run(ctx) })
	err := rig.Until(ctx, 5*time.Second, func(context.Context) error {
		if got := server.seen(); len(got) < requests {
			return fmt.Errorf("requests with last event ids %q, want %d", got, requests)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err != nil || !dies {
		stop()
	}
	running.Wait()
}

func TestClientDoesWhatEventSourceDoes(t *testing.T) {
	const begin = "retry: 1\nid: p0\nevent: position\ndata: {}\n\n"
	cases := []struct {
		name    string
		answers []http.HandlerFunc
		ids     []string // Last-Event-ID of each request; the last one hangs
		events  []string
		died    bool
	}{
		{"it reconnects after a broken stream, with the last event id",
			[]http.HandlerFunc{broken(begin + "id: p1\ndata: 1\n\n"), broken("retry: 1\ndata: 2\n\n")},
			[]string{"", "p1", "p1"}, []string{"p1 1", "p1 2"}, false},
		{"the position of the first block counts", []http.HandlerFunc{broken(begin)}, []string{"", "p0"}, nil, false},
		{"it forgets an incomplete event",
			[]http.HandlerFunc{broken(begin + "id: p1\ndata: 1\n\nid: p2\ndata: 2\n")},
			[]string{"", "p1"}, []string{"p1 1"}, false},
		{"a stream without an id leaves the last event id alone",
			[]http.HandlerFunc{broken(begin + "id: p1\ndata: 1\n\n"), broken(": busy\nretry: 1\n")},
			[]string{"", "p1", "p1"}, []string{"p1 1"}, false},
		{"a clean end is a broken promise", []http.HandlerFunc{stream(begin)}, []string{""}, nil, true},
		{"a block without data is a broken promise", []http.HandlerFunc{broken("retry: 1\nid: p0\n\n")}, []string{""}, nil, true},
		{"503 stops it for good", []http.HandlerFunc{broken(begin), status(503)}, []string{"", "p0"}, nil, true},
		{"204 stops it for good", []http.HandlerFunc{broken(begin), status(204)}, []string{"", "p0"}, nil, true},
		{"another content type stops it for good", []http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
		}}, []string{""}, nil, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			server := &answers{next: c.answers}
			web := httptest.NewServer(server)
			defer web.Close()
			began := time.Now()
			client := newClient("c", &targets{urls: []string{web.URL}}, 0, func() time.Duration { return time.Since(began) })
			client.channels = []string{"a"}
			runUntilAsked(t, client, server, len(c.ids), c.died)
			if got := server.seen(); !slices.Equal(got, c.ids) {
				t.Errorf("last event ids %q, want %q", got, c.ids)
			}
			var events []string
			for _, it := range client.record.Items {
				if it.Kind == judge.GotEvent {
					events = append(events, it.ID+" "+it.Data)
				}
			}
			if !slices.Equal(events, c.events) {
				t.Errorf("events %q, want %q", events, c.events)
			}
			if (client.record.Died != "") != c.died {
				t.Errorf("died: %q", client.record.Died)
			}
		})
	}
}

func TestClientGoesOnAfterARefusedConnection(t *testing.T) {
	server := &answers{}
	web := httptest.NewServer(server)
	defer web.Close()
	client := newClient("c", &targets{urls: []string{refusedAddress(t), web.URL}}, 0, func() time.Duration { return 0 })
	client.channels = []string{"a"}
	client.retry = time.Millisecond
	runUntilAsked(t, client, server, 1, false)
	if client.record.Died != "" {
		t.Errorf("died: %s", client.record.Died)
	}
}

func TestClientRecordsStreamsAndThePlacesOfOneChannel(t *testing.T) {
	server := &answers{next: []http.HandlerFunc{broken("retry: 1\nid: 4-x\nevent: position\ndata: {}\n\n")}}
	web := httptest.NewServer(server)
	defer web.Close()
	client := newClient("c", &targets{urls: []string{web.URL}}, 0, func() time.Duration { return 0 })
	client.channels = []string{"a"}
	runUntilAsked(t, client, server, 2, false)
	want := []judge.Item{{Kind: judge.GotStream}, {Kind: judge.GotPlace, Channel: "a", ID: "4-x", Type: "position"}}
	if got := client.record.Items[:min(2, len(client.record.Items))]; !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestClientRecordsGapsAndEnvelopes(t *testing.T) {
	client := newClient("c", &targets{}, 0, func() time.Duration { return 0 })
	client.channels, client.several = []string{"a", "b"}, true
	for _, e := range []struct{ kind, data string }{
		{"gap", `{"channel":"b","reason":"trimmed"}`},
		{"", `{"channel":"a","id":"3-x","type":"note","time":1,"data":{"b": 1.0, "a":2}}`},
		{"position", `{"id":"a=3-x,b=9-y"}`},
	} {
		if err := client.receive(e.kind, e.data, "a=3-x,b=9-y", "r1"); err != nil {
			t.Fatal(err)
		}
	}
	want := []judge.Item{
		{Kind: judge.GotGap, Channel: "b", Type: "gap", Reason: "trimmed", Replica: "r1"},
		{Kind: judge.GotEvent, Channel: "a", ID: "3-x", Type: "note", Data: `{"a":2,"b":1.0}`, Replica: "r1"},
	}
	if !slices.Equal(client.record.Items, want) {
		t.Errorf("got  %+v\nwant %+v", client.record.Items, want)
	}
	if err := client.receive("", `{"id":""}`, "x", "r1"); err == nil {
		t.Error("something that is not an envelope was taken")
	}
}
