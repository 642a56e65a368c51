package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"
	"time"
)

func hash(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}

// makePublishers makes one POST and one raw publisher per general channel, which share the rate, and a slow pair for
// notifications: these are capped at 50 by design, and nothing may be trimmed here.
func (r *run) makePublishers() []*publisher {
	padding := strings.Repeat("x", r.scenario.padding)
	every := time.Duration(float64(time.Second) * float64(2*len(r.channels)) / r.options.rate)
	var out []*publisher
	for i, channel := range append([]string{notifications}, r.channels...) {
		for _, raw := range []bool{false, true} {
			name := fmt.Sprintf("post-%d", i)
			if raw {
				name = fmt.Sprintf("raw-%d", i)
			}
			p := &publisher{name: name, channel: channel, raw: raw, every: every, padding: padding, ledger: &r.ledger, now: r.now}
			if channel == notifications {
				p.limit = 20
				p.every = r.whole() / time.Duration(p.limit)
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

// makeClients makes the scenario's clients: half on one channel, half on several. A third roams, and in scenarios about
// slow clients another third stalls. The last ones, whose number it returns, start in the middle of the load.
func (r *run) makeClients(worker *taskWorker) (late int) {
	n := r.options.clients
	for i := range n {
		name := fmt.Sprintf("client-%d", i+1)
		c := newClient(name, "/api/sse/channels/"+r.channels[i/2%len(r.channels)], []string{r.channels[i/2%len(r.channels)]},
			false, r.targets, i, r.now)
		if i%2 == 1 {
			some := r.some(2 + i/2%(len(r.channels)-1))
			c = newClient(name, "/api/sse?channels="+strings.Join(some, ","), some, true, r.targets, i, r.now)
		}
		switch {
		case i%3 == 0:
			c.role = roaming
		case i%3 == 1 && r.scenario.slow:
			c.role = stalling
			c.tinyBuffer()
		}
		r.clients = append(r.clients, c)
	}
	late = n / 8
	for i := range 2 {
		c := newClient(fmt.Sprintf("bell-%d", i+1), "/api/sse/notifications", []string{notifications}, false, r.targets, i, r.now)
		r.clients = append([]*client{c}, r.clients...)
		if worker != nil {
			r.tasks = append(r.tasks, newClient(fmt.Sprintf("task-%d", i+1), "/api/sse/progress/"+worker.id, nil, false, r.targets, i, r.now))
		}
	}
	return late
}

// some draws n of the channels, in random order.
func (r *run) some(n int) []string {
	out := append([]string(nil), r.channels...)
	r.mu.Lock()
	r.rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	r.mu.Unlock()
	return out[:n]
}

// startTask begins a task whose progress is followed, unless Redis loses data in this scenario: a task may go with it.
func (r *run) startTask(ctx context.Context) (*taskWorker, error) {
	if r.scenario.loses {
		return nil, nil
	}
	w := &taskWorker{poster: r.newPoster("task")}
	return w, w.begin(ctx)
}

// disturbClients lets roaming and stalling clients do so until ctx ends.
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

// roam breaks a client's connection every now and then; sometimes it stays away for longer.
func (r *run) roam(ctx context.Context, c *client) {
	for r.wait(ctx, r.between(r.whole()/8, r.whole()/3)) {
		var away time.Duration
		if r.draw(2) == 0 {
			away = r.between(0, r.whole()/3)
		}
		c.disconnect(away)
	}
}

// stallOften makes a client stop reading for a while, again and again. Whether it was evicted shows in its reconnects:
// it has no other reason to reconnect.
func (r *run) stallOften(ctx context.Context, c *client) {
	from, before := r.now(), c.reconnects()
	for {
		resume := c.stall()
		more := r.wait(ctx, r.between(r.whole()/5, r.whole()/3))
		resume()
		if !more || !r.wait(ctx, r.between(r.whole()/20, r.whole()/8)) {
			break
		}
	}
	r.did("stalls of "+c.name, from, r.now(), c.reconnects()-before)
}
