package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"sluice/cmd/internal/eventsource"
	"sluice/cmd/internal/judge"
)

// A client reads one stream like a browser's EventSource. At the end of the stream and on network errors it reconnects
// with Last-Event-ID, after the time that retry: said. Any answer other than 200 with text/event-stream stops it for
// good. It has no time-outs. It keeps the last event id when a new stream sends none: the standard can be
// understood differently, but Chromium and Firefox do this.
type client struct {
	name     string
	path     string
	query    url.Values
	channels []string // none for the progress of a task
	several  bool     // the stream carries envelopes, because it is one of several channels
	targets  *targets
	now      func() time.Duration
	http     *http.Client

	role  role
	turn  int // number of the next target
	retry time.Duration

	mu      sync.Mutex
	record  judge.Client       // guarded by mu
	states  []judge.TaskState  // of a progress stream; guarded by mu
	stopped bool               // the answer was 204; guarded by mu
	have    map[string]string  // id of the newest event, by channel; guarded by mu
	last    string             // the last event id; guarded by mu
	cut     context.CancelFunc // breaks the open stream; guarded by mu
	back    time.Time          // the client does not reconnect before this time; guarded by mu
	gate    chan struct{}      // the client reads only while this channel is closed; guarded by mu
}

// Roles of a client.
const (
	steady   role = iota
	roaming       // the client breaks its own connection now and then
	stalling      // the client stops reading now and then
)

type role int

// defaultRetry is how long Chromium waits before it reconnects, unless a stream has said otherwise.
const defaultRetry = 3 * time.Second

func newClient(name string, at *targets, turn int, now func() time.Duration) *client {
	open := make(chan struct{})
	close(open)
	return &client{
		name: name, targets: at, turn: turn, now: now, retry: defaultRetry, gate: open, have: map[string]string{},
		record: judge.Client{Name: name},
		http: &http.Client{Transport: &http.Transport{
			DialContext:        (&net.Dialer{}).DialContext,
			DisableCompression: true,
			IdleConnTimeout:    5 * time.Second,
		}},
	}
}

// tinyBuffer gives the client's socket a small receive buffer: the server soon notices when the client does not read.
func (c *client) tinyBuffer() {
	dialer := &net.Dialer{Control: smallReceiveBuffer}
	c.http.Transport.(*http.Transport).DialContext = dialer.DialContext
}

// run reads one stream after the other until ctx ends or an answer stops the client for good. An EventSource never
// gives up because of a network error.
func (c *client) run(ctx context.Context) {
	for first := true; ctx.Err() == nil; first = false {
		alive, cut := context.WithCancel(ctx)
		c.mu.Lock()
		c.cut = cut
		c.mu.Unlock()
		over := c.stream(alive, first)
		cut()
		if over {
			return
		}
		c.mu.Lock()
		pause := max(c.retry, time.Until(c.back))
		c.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// stream reads one stream to its end. It reports whether EventSource would stop for good.
func (c *client) stream(ctx context.Context, first bool) (over bool) {
	address := c.targets.pick(c.turn) + c.path + "?" + c.query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		c.die(err.Error())
		return true
	}
	c.turn++
	request.Header.Set("Accept", "text/event-stream")
	request.Header.Set("Cache-Control", "no-cache")
	c.mu.Lock()
	lastID := c.last
	c.mu.Unlock()
	if lastID != "" {
		request.Header.Set("Last-Event-ID", lastID)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return false // a network error
	}
	defer response.Body.Close()
	if ctx.Err() != nil {
		return false
	}
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	switch {
	case response.StatusCode == http.StatusNoContent:
		c.mu.Lock()
		c.stopped = true
		c.mu.Unlock()
		if len(c.channels) > 0 {
			c.die("204 No Content on a stream that has no end")
		}
		return true
	case response.StatusCode != http.StatusOK || kind != "text/event-stream":
		c.die(fmt.Sprintf("%s answered %s %q at %v", request.URL, response.Status, kind, c.now().Round(time.Millisecond)))
		return true
	}
	c.mu.Lock()
	c.record.Items = append(c.record.Items, judge.Item{
		At: c.now(), Kind: judge.GotStream, Replica: response.Header.Get("Sluice-Replica"),
	})
	if !first {
		c.record.Reconnects++
	}
	c.mu.Unlock()
	c.read(ctx, response, lastID)
	return c.died()
}

// died reports whether the client has stopped for good.
func (c *client) died() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.record.Died != ""
}

// read parses the body of a stream until the body or ctx ends.
func (c *client) read(ctx context.Context, response *http.Response, lastID string) {
	opened, replica := c.now(), response.Header.Get("Sluice-Replica")
	p := &eventsource.Parser{
		Retry: func(d time.Duration) { c.retry = d },
		Position: func(id string) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.last = id
			if id != "" && !c.record.Bound { // the promise begins with the first position
				c.record.Bound, c.record.Opened = true, opened
			}
		},
		// EventSource drops a block without data. Other clients hand it to their user, so the gateway promises none.
		Empty: func() { c.die("a block without data") },
		Dispatch: func(kind, data, id string) {
			if err := c.receive(kind, data, id, replica); err != nil {
				c.die(err.Error())
			}
		},
	}
	p.Resume(lastID)
	buffer := make([]byte, 4096)
	for {
		c.mu.Lock()
		gate := c.gate
		c.mu.Unlock()
		select {
		case <-gate:
		case <-ctx.Done():
			return
		}
		n, err := response.Body.Read(buffer)
		p.Write(buffer[:n])
		if errors.Is(err, io.EOF) && len(c.channels) > 0 && ctx.Err() == nil {
			// EventSource comes back after that. Other clients do not, so only a task's stream may end so.
			c.die("a clean end of a stream that has not ended")
		}
		if err != nil {
			return
		}
	}
}

// receive records one dispatched event.
func (c *client) receive(kind, data, id, replica string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.channels) == 0 {
		if kind == "position" {
			return nil // the client came back and has missed nothing; it is no state
		}
		var s judge.TaskState
		if err := json.Unmarshal([]byte(data), &s); err != nil {
			return fmt.Errorf("progress that is not JSON: %.100s", data)
		}
		c.states = append(c.states, s)
		return nil
	}
	it := judge.Item{At: c.now(), Replica: replica, ID: id, Type: kind}
	switch {
	case kind == "position": // the place itself was taken at the blank line
		if c.several {
			return nil // the id says nothing to the judge
		}
		it.Kind, it.Channel = judge.GotPlace, c.channels[0]
	case kind == "gap":
		var gap struct{ Channel, Reason string }
		if err := json.Unmarshal([]byte(data), &gap); err != nil || gap.Channel == "" || gap.Reason == "" {
			return fmt.Errorf("a gap that is not {channel, reason}: %.100s", data)
		}
		it.Kind, it.Channel, it.Reason, it.ID = judge.GotGap, gap.Channel, gap.Reason, ""
	case c.several:
		var e envelope
		if err := json.Unmarshal([]byte(data), &e); err != nil || e.ID == "" {
			return fmt.Errorf("not an envelope: %.100s", data)
		}
		it.Channel, it.ID, it.Type, it.Data = e.Channel, e.ID, e.Type, judge.Compact(e.Data)
	default:
		it.Channel, it.Data = c.channels[0], judge.Compact([]byte(data))
	}
	if it.Kind == judge.GotEvent {
		c.have[it.Channel] = it.ID
	}
	c.record.Items = append(c.record.Items, it)
	return nil
}

// envelope is an event with its channel, as it is on streams of several channels, in the answers to GET, and in the
// list in Redis.
type envelope struct {
	Channel string          `json:"channel"`
	ID      string          `json:"id"`
	Type    string          `json:"type"`
	Data    json.RawMessage `json:"data"`
}

// die records why the client has stopped for good. Only the first reason counts.
func (c *client) die(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.record.Died == "" {
		c.record.Died = why
	}
}

// disconnect breaks the open stream, as a lost network does. The client reconnects after its retry time or after away,
// whichever is longer.
func (c *client) disconnect(away time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.back = time.Now().Add(away)
	c.record.Items = append(c.record.Items, judge.Item{At: c.now() + away, Kind: judge.GotCut})
	if c.cut != nil {
		c.cut()
	}
}

// stall stops reading until the returned function is called. That function may be called more than once.
func (c *client) stall() (resume func()) {
	gate := make(chan struct{})
	c.mu.Lock()
	c.gate = gate
	c.mu.Unlock()
	return sync.OnceFunc(func() {
		c.mu.Lock()
		c.record.Items = append(c.record.Items, judge.Item{At: c.now(), Kind: judge.GotCut})
		c.mu.Unlock()
		close(gate)
	})
}

// position returns the last event id.
func (c *client) position() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

func (c *client) reconnects() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.record.Reconnects
}

// bound reports whether the client has seen a stream with a position, or has died and never will.
func (c *client) bound() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.record.Bound || c.record.Died != ""
}

// caughtUp reports whether the newest event of each channel has arrived, or the client has died and none will.
func (c *client) caughtUp(newest map[string]string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.record.Died != "" {
		return true
	}
	if len(c.channels) == 0 {
		return c.stopped
	}
	for _, channel := range c.channels {
		if c.have[channel] != newest[channel] {
			return false
		}
	}
	return true
}

// targets are the URLs that clients and publishers use in turns: those of the replicas, or that of nginx. It is safe
// for concurrent use.
type targets struct {
	mu   sync.Mutex
	urls []string // guarded by mu
}

func (t *targets) pick(turn int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.urls[turn%len(t.urls)]
}

func (t *targets) set(urls []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.urls = urls
}
