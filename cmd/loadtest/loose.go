//go:build linux

package main

import (
	"math"
	"time"
)

// Loose clients are those of a trial that asks more of a server than it can send. It may end their streams, for they are
// too slow, and leave events out, if it says so. They come back, as an EventSource does. What is left to check is that no
// client gets an event again or out of order, and that all of them get to the end: event goal-1 or a later one.

// comeBackAfter is how long a loose client waits before it comes back: the gateway's GATEWAY_RETRY.
const comeBackAfter = 3 * time.Second

// comeBackEvery is how often the loop looks for clients that should come back.
const comeBackEvery = 100 * time.Millisecond

// looseCounts is what happened to loose clients. None of it is a fault.
type looseCounts struct {
	Left    int64 `json:"left,omitempty"`    // streams that the server ended
	Refused int64 `json:"refused,omitempty"` // tries to open a stream that failed
	Gaps    int64 `json:"gaps,omitempty"`    // gap events
}

func (c *looseCounts) add(d looseCounts) {
	c.Left += d.Left
	c.Refused += d.Refused
	c.Gaps += d.Gaps
}

// looseClients is what a clientLoop keeps for loose clients.
type looseClients struct {
	looseCounts

	back  []absent // in the order of due
	goal  int      // 0: there is none yet
	ended int      // clients that have reached the goal
}

// absent is a client that comes back.
type absent struct {
	number int
	due    time.Time
}

// looseLost closes a connection that the server has ended or refused. The client comes back.
func (l *clientLoop) looseLost(c *client) {
	if c.connecting || !c.response.opened() {
		l.pending--
		l.loose.Refused++
	} else {
		l.opened--
		l.loose.Left++
	}
	l.close(c)
	after := time.Duration(l.opening.Loose) * time.Millisecond
	l.loose.back = append(l.loose.back, absent{c.number, time.Now().Add(after)})
}

// comeBack connects the clients whose time has come, with their Last-Event-ID.
func (l *clientLoop) comeBack() error {
	now := time.Now()
	for len(l.loose.back) > 0 && l.pending < l.opening.AtOnce && !now.Before(l.loose.back[0].due) {
		number := l.loose.back[0].number
		l.loose.back = l.loose.back[1:]
		l.opening.Resume = true
		if err := l.connect(number); err != nil {
			return err
		}
	}
	return nil
}

// looseEvent records that a loose client has received event n. Its cursor is the least number that may come next.
func (l *clientLoop) looseEvent(c *client, n int) {
	l.events++
	l.total++
	if n < c.cursor {
		l.faults.Repeated++
		return
	}
	if l.loose.goal > 0 && c.cursor < l.loose.goal && n+1 >= l.loose.goal {
		l.loose.ended++
	}
	c.cursor = n + 1
}

// setGoal says which event is the last one: goal-1. From now on clients that have it, or a later one, count as ended.
func (l *clientLoop) setGoal(goal int) {
	l.loose.goal, l.loose.ended = min(goal, math.MaxInt32), 0
	for i := range l.clients {
		if l.clients[i].cursor >= goal {
			l.loose.ended++
		}
	}
}
