package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"
)

// makePublishers makes a POST and a raw publisher for each general channel; together they publish at the rate of the
// options. It also makes a slow pair for each client's own channel, and for notifications: the gateway stores only 50 of
// these, and none may be trimmed here.
func (r *run) makePublishers() []*publisher {
	padding := strings.Repeat("x", r.scenario.padding)
	every := time.Duration(float64(time.Second) * float64(2*len(r.channels)) / r.options.rate)
	var out []*publisher
	for i, channel := range r.checked() {
		for _, raw := range []bool{false, true} {
			name := fmt.Sprintf("post-%d", i)
			if raw {
				name = fmt.Sprintf("raw-%d", i)
			}
			p := &publisher{
				name: name, channel: channel, raw: raw, every: every, padding: padding, ledger: &r.ledger, now: r.now,
			}
			if channel == notifications || i > len(r.channels) { // the channels after those of the scenario are of one client each
				p.limit = 20
				p.every = r.loadTime() / time.Duration(p.limit)
			}
			if raw {
				p.sender = &rawSender{redis: r.raw, now: r.now}
			} else {
				p.sender = r.newPoster(name)
			}
			out = append(out, p)
		}
	}
	return out
}

// makeClients makes the scenario's clients, in this mix:
//
//	every second client      reads one channel, the others several
//	every third              loses its own connection now and then
//	another third            stops reading now and then, in scenarios about slow clients
//	one                      asks for as many channels as a stream may have
//	some with one channel    ask for one type only
//	the last ones            begin in the middle of the load, with a replay or from another client's position
//
// It returns how many begin in the middle of the load.
func (r *run) makeClients(worker *taskWorker) (late int) {
	n := r.options.clients
	late = n / 8
	for i := range n {
		query := url.Values{}
		c := newClient(fmt.Sprintf("client-%d", i+1), r.targets, i, r.now)
		if i%2 == 0 {
			channel := r.channels[i/2%len(r.channels)]
			c.path, c.channels = "/api/sse/channels/"+channel, []string{channel}
			if i%10 == 4 {
				c.record.Type = noteType
				query.Set("types", noteType)
			}
		} else {
			c.path, c.channels, c.several = "/api/sse", r.severalChannels(i), true
			for q := len(c.channels); i == 1 && q < mostChannels; q++ {
				c.channels = append(c.channels, fmt.Sprintf("chaos.quiet.%d", q))
			}
			query.Set("channels", strings.Join(c.channels, ","))
		}
		if i >= n-late {
			query.Set("replay", "20")
		}
		switch {
		case i%3 == 0, i >= n-late:
			c.role = roaming
		case i%3 == 1 && r.scenario.slow:
			c.role = stalling
			c.tinyBuffer()
		}
		c.query, c.record.Channels = query, c.channels
		r.clients = append(r.clients, c)
	}
	for i := range 2 {
		c := newClient(fmt.Sprintf("bell-%d", i+1), r.targets, i, r.now)
		c.path, c.channels = "/api/sse/notifications", []string{notifications}
		c.record.Channels = c.channels
		r.clients = append([]*client{c}, r.clients...)
		if worker != nil {
			t := newClient(fmt.Sprintf("task-%d", i+1), r.targets, i, r.now)
			t.path = "/api/sse/progress/" + worker.id
			r.tasks = append(r.tasks, t)
		}
	}
	return late
}

const (
	noteType     = "note"
	mostChannels = 50 // that a stream may have
)

// goOnFrom makes a client begin at the position of another client that reads the same single channel, like a page that
// was left and is opened again. All its requests have this position in their address, as those of a page would.
func (r *run) goOnFrom(c *client) {
	alike := func(other *client) bool {
		return !other.several && other.record.Type == "" && other.channels[0] == c.channels[0]
	}
	for _, other := range r.clients {
		if id := other.position(); id != "" && alike(c) && alike(other) {
			c.query = url.Values{"lastEventId": {id}}
			c.record.From = id
			return
		}
	}
}

// severalChannels returns the channels of the i-th client, which reads several.
func (r *run) severalChannels(i int) []string {
	if !r.scenario.sets {
		return r.someChannels(2 + i/2%(len(r.channels)-1))
	}
	own := fmt.Sprintf("chaos.user.%d", i)
	r.own = append(r.own, own)
	return []string{r.channels[0], own}
}

// someChannels draws n of the channels, in random order.
func (r *run) someChannels(n int) []string {
	out := append([]string(nil), r.channels...)
	for i := range n {
		j := i + r.draw(len(out)-i)
		out[i], out[j] = out[j], out[i]
	}
	return out[:n]
}

// startTask creates a task whose progress two clients read. In a scenario in which Redis loses data there is none: the
// task could be lost too.
func (r *run) startTask(ctx context.Context) (*taskWorker, error) {
	if r.scenario.loses {
		return nil, nil
	}
	w := &taskWorker{poster: r.newPoster("task")}
	return w, w.begin(ctx)
}

// disturbClients breaks the connections of roaming clients and stops stalling clients until ctx ends.
func (r *run) disturbClients(ctx context.Context, wg *sync.WaitGroup) {
	for _, c := range r.clients {
		switch c.role {
		case roaming:
			wg.Go(func() { r.roam(ctx, c) })
		case stalling:
			wg.Go(func() { r.stallOften(ctx, c) })
		}
	}
}

// roam breaks a client's connection now and then. About every second time the client stays away for longer.
func (r *run) roam(ctx context.Context, c *client) {
	own := newDice(r.options.seed, c.name)
	for r.wait(ctx, own.between(r.loadTime()/8, r.loadTime()/3)) {
		var away time.Duration
		switch long := own.draw(2) == 0; {
		case long && r.scenario.trims: // until more events were published than are kept
			away = own.between(r.loadTime()/3, r.loadTime()/2)
		case long:
			away = own.between(0, r.loadTime()/3)
		}
		c.disconnect(away)
	}
}

// stallOften makes a client stop reading for a while, again and again. Its reconnects are counted as hits: such a
// client has no other reason to reconnect than that the gateway closed its stream because it was too slow.
func (r *run) stallOften(ctx context.Context, c *client) {
	from, before, own := r.now(), c.reconnects(), newDice(r.options.seed, c.name)
	for {
		resume := c.stall()
		more := r.wait(ctx, own.between(r.loadTime()/5, r.loadTime()/3))
		resume()
		if !more || !r.wait(ctx, own.between(r.loadTime()/20, r.loadTime()/8)) {
			break
		}
	}
	r.recordFault("stalls of "+c.name, from, r.now(), c.reconnects()-before)
}
