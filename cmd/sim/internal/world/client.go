package world

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"sluice/cmd/internal/eventsource"
	"sluice/cmd/internal/judge"
	"sluice/cmd/sim/internal/network"
)

// client reads one stream as a browser's EventSource does: it reconnects after the time that retry: said, with
// Last-Event-ID, and is dead for ever after an answer other than 200 with text/event-stream. It has no time-outs.
type client struct {
	world *world
	plan  ClientPlan
	name  string
	path  string
	turn  int // which replica is next

	mu      sync.Mutex
	record  judge.Client      // guarded by mu
	states  []judge.TaskState // of a task; guarded by mu
	stopped bool              // 204; guarded by mu
	have    map[string]string // by channel: id of the newest event; guarded by mu
	last    string            // last event id; guarded by mu
	retry   time.Duration     // guarded by mu
	conn    *network.Conn     // the open stream; guarded by mu
	back    time.Duration     // offline until then; guarded by mu
	gate    chan struct{}     // closed: the client reads; guarded by mu
}

// makeClients starts the plan's clients, each when its time has come.
func (w *world) makeClients() {
	for i, p := range w.plan.Clients {
		c := w.newClient(fmt.Sprintf("client-%d", i+1), i)
		c.plan, c.record.Channels, c.record.Type = p, p.Channels, p.Type
		query := ""
		switch {
		case p.Channels[0] == notifications:
			c.path = "/api/sse/notifications"
		case p.Several:
			c.path, query = "/api/sse", "&channels="+strings.Join(p.Channels, ",")
		default:
			c.path = "/api/sse/channels/" + p.Channels[0]
		}
		if p.Type != "" {
			query += "&types=" + p.Type
		}
		if p.Replay > 0 {
			query += fmt.Sprintf("&replay=%d", p.Replay)
		}
		if query != "" {
			c.path += "?" + query[1:]
		}
		w.clients = append(w.clients, c)
		w.wg.Go(func() {
			if w.sleep(p.Late) {
				c.run()
			}
		})
	}
	if w.plan.Task {
		w.startTask()
	}
}

func (w *world) newClient(name string, turn int) *client {
	open := make(chan struct{})
	close(open)
	return &client{
		world: w, name: name, turn: turn, record: judge.Client{Name: name}, have: map[string]string{},
		retry: 500 * ms, gate: open,
	}
}

// run reads streams until the world ends or the client is dead.
func (c *client) run() {
	for first := true; c.world.ctx.Err() == nil; first = false {
		if c.stream(first) {
			return
		}
		c.mu.Lock()
		pause := max(c.retry, c.back-c.world.now())
		c.conn = nil
		c.mu.Unlock()
		if !c.world.sleep(pause) {
			return
		}
	}
}

// stream reads one stream to its end and reports whether EventSource would stop for ever.
func (c *client) stream(first bool) (over bool) {
	w, to := c.world, c.world.target(c.turn)
	c.turn++
	c.mu.Lock()
	lastID := c.last
	c.mu.Unlock()
	conn, response, err := w.request(w.ctx, c.name, to, http.MethodGet, c.path, map[string]string{
		"Accept": "text/event-stream", "Cache-Control": "no-cache", "Last-Event-ID": lastID,
	}, nil)
	if err != nil {
		return false // a network error
	}
	defer conn.Close()
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	switch {
	case response.StatusCode == http.StatusNoContent:
		c.mu.Lock()
		c.stopped = true
		c.mu.Unlock()
		if len(c.record.Channels) > 0 {
			c.die("204 No Content on a stream that has no end")
		}
		return true
	case response.StatusCode != http.StatusOK || kind != "text/event-stream":
		c.die(fmt.Sprintf("%s answered %s %q", to, response.Status, kind))
		return true
	}
	if c.plan.Lean {
		conn.Shrink(2 << 10)
	}
	c.mu.Lock()
	c.conn = conn
	c.record.Items = append(c.record.Items, judge.Item{At: w.now(), Kind: judge.GotStream, Replica: to})
	if !first {
		c.record.Reconnects++
	}
	c.mu.Unlock()
	w.tracef("%s has a stream of %s from %q", c.name, to, lastID)
	c.read(response, to, lastID)
	w.tracef("%s's stream of %s ended", c.name, to)
	return false
}

// read parses the body until it ends, for whatever reason.
func (c *client) read(response *http.Response, replica, lastID string) {
	opened := c.world.now()
	p := &eventsource.Parser{
		Retry: func(d time.Duration) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.retry = d
		},
		Position: func(id string) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.last = id
			if id != "" && !c.record.Bound { // a stream without a position promises nothing
				c.record.Bound, c.record.Opened = true, opened
			}
		},
		Dispatch: func(kind, data, id string) { c.take(kind, data, id, replica) },
		Empty:    func() { c.die("a block without data") },
	}
	p.Resume(lastID)
	buffer := make([]byte, 4096)
	for {
		c.mu.Lock()
		gate := c.gate
		c.mu.Unlock()
		select {
		case <-gate:
		case <-c.world.ctx.Done():
			return
		}
		n, err := response.Body.Read(buffer)
		p.Write(buffer[:n])
		if errors.Is(err, io.EOF) && len(c.record.Channels) > 0 && c.world.ctx.Err() == nil {
			c.die("a clean end of a stream that has not ended")
		}
		if err != nil {
			return
		}
	}
}

// take records one dispatched event.
func (c *client) take(kind, data, id, replica string) {
	c.world.tracef("%s gets %s %q %.90q", c.name, kind, id, data)
	c.mu.Lock()
	defer c.mu.Unlock()
	if kind == "position" { // the place itself was taken at the blank line
		if len(c.record.Channels) == 1 && !c.plan.Several {
			c.record.Items = append(c.record.Items, judge.Item{
				At: c.world.now(), Kind: judge.GotPlace, Channel: c.record.Channels[0], ID: id, Replica: replica,
			})
		}
		return
	}
	if len(c.record.Channels) == 0 {
		var s judge.TaskState
		if err := json.Unmarshal([]byte(data), &s); err != nil {
			c.record.Died = "progress that is not JSON: " + data
			return
		}
		c.states = append(c.states, s)
		return
	}
	it := judge.Item{At: c.world.now(), Replica: replica, ID: id, Type: kind}
	switch {
	case kind == "gap":
		var gap struct{ Channel, Reason string }
		if err := json.Unmarshal([]byte(data), &gap); err != nil || gap.Channel == "" || gap.Reason == "" {
			c.record.Died = "a gap that is not {channel, reason}: " + data
			return
		}
		it.Kind, it.Channel, it.Reason, it.ID = judge.GotGap, gap.Channel, gap.Reason, ""
	case c.plan.Several:
		var e struct {
			Channel, ID, Type string
			Data              json.RawMessage
		}
		if err := json.Unmarshal([]byte(data), &e); err != nil || e.ID == "" {
			c.record.Died = "not an envelope: " + data
			return
		}
		it.Channel, it.ID, it.Type, it.Data = e.Channel, e.ID, e.Type, string(e.Data)
	default:
		it.Channel, it.Data = c.record.Channels[0], data
	}
	if it.Kind == judge.GotEvent {
		c.have[it.Channel] = it.ID
	}
	c.record.Items = append(c.record.Items, it)
}

func (c *client) die(why string) {
	c.world.tracef("%s dies: %s", c.name, why)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.record.Died == "" {
		c.record.Died = why
	}
}

// disconnect breaks the open stream, as a lost network does, and keeps the client offline for a while.
func (c *client) disconnect(away time.Duration) (hit bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.world.now()
	c.back = now + away
	c.record.Items = append(c.record.Items, judge.Item{At: now + away, Kind: judge.GotCut})
	if c.conn != nil {
		c.conn.Abort()
		return true
	}
	return false
}

// disturb lets the client lose its connection and stop reading, as its plan says, until ctx ends.
func (c *client) disturb(ctx context.Context, d dice) {
	var wg sync.WaitGroup
	if c.plan.Roam > 0 {
		wg.Go(func() {
			for sleep(ctx, d.between(c.plan.Roam/2, c.plan.Roam*3/2)) {
				c.disconnect(d.between(0, c.plan.Away))
			}
		})
	}
	if c.plan.Stall > 0 {
		wg.Go(func() {
			for sleep(ctx, d.between(c.plan.Stall/2, c.plan.Stall)) {
				gate := make(chan struct{})
				c.mu.Lock()
				c.gate = gate
				c.mu.Unlock()
				sleep(ctx, d.between(c.plan.Stall/2, c.plan.Stall*2))
				c.mu.Lock()
				c.record.Items = append(c.record.Items, judge.Item{At: c.world.now(), Kind: judge.GotCut})
				c.mu.Unlock()
				close(gate)
			}
		})
	}
	wg.Wait()
}

// bound reports whether the client has seen a stream with a position, or never will.
func (c *client) bound() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.record.Bound || c.record.Died != ""
}

// lacks says what of the newest events has not come and still may.
func (c *client) lacks(newest map[string]string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.record.Died != "" {
		return ""
	}
	if len(c.record.Channels) == 0 {
		if !c.stopped {
			return "has not seen the task's end"
		}
		return ""
	}
	for _, channel := range c.record.Channels {
		if newest[channel] != "" && c.have[channel] != newest[channel] {
			return fmt.Sprintf("has %s of %s, the newest is %s", c.have[channel], channel, newest[channel])
		}
	}
	return ""
}

func (c *client) seen() judge.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.record
}

func (c *client) task() judge.Task {
	c.mu.Lock()
	defer c.mu.Unlock()
	return judge.Task{Name: c.name, States: c.states, Stopped: c.stopped, Died: c.record.Died}
}
