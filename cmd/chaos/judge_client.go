package main

import (
	"fmt"
	"time"
)

// checkClient applies the rules for a client to each of its channels.
func (j *judgement) checkClient(c *clientRecord) {
	j.verdict.Reconnects += c.Reconnects
	if c.Died != "" {
		j.accuse(violation{Kind: died, Who: c.Name, Detail: c.Died})
	}
	if !c.Bound {
		if c.Died == "" {
			j.accuse(violation{Kind: died, Who: c.Name, Detail: "it never saw a stream with a position"})
		}
		return
	}
	for _, channel := range c.Channels {
		l := j.log(channel)
		if c.Type != "" {
			l = l.only(c.Type)
		}
		w := walk{
			judgement: j, client: c, log: l, seen: make([]bool, len(l.events)), fresh: map[string]bool{c.From: true},
			high: -1, newest: -1,
		}
		for _, it := range c.Items {
			switch {
			case it.Kind == gotCut:
				w.outage = it.At
			case it.Channel != channel:
			case it.Kind == gotGap:
				w.gap(it)
			default:
				w.event(it)
			}
		}
		w.end()
	}
	j.checkForeign(c)
}

// checkForeign looks for events and gaps of channels that the client did not ask for.
func (j *judgement) checkForeign(c *clientRecord) {
	asked := map[string]bool{}
	for _, channel := range c.Channels {
		asked[channel] = true
	}
	for _, it := range c.Items {
		if it.Kind != gotCut && !asked[it.Channel] {
			j.accuse(violation{Kind: phantom, Who: c.Name, Channel: it.Channel, At: it.At,
				Detail: fmt.Sprintf("event %q of a channel the client did not ask for", it.ID)})
		}
	}
}

// walk compares what one client received with one channel's log, item by item.
type walk struct {
	*judgement
	client *clientRecord
	log    *channelLog

	seen   []bool          // by index: the event was delivered
	fresh  map[string]bool // ids delivered since the last fresh start: a gap with reason reset or unknown
	high   int             // index of the newest event delivered since the last fresh start; -1: none
	newest int             // index of the newest event ever delivered; -1: none
	gaps   []announced
	outage time.Duration // when the client's own last disconnection ended
}

// announced is a gap event and its place in the log: between the events at the indexes before and after.
type announced struct {
	item
	before, after int
}

// accuse counts a violation that the client has noticed at an item.
func (w *walk) accuse(kind string, it item, format string, args ...any) {
	who := w.client.Name
	if it.Replica != "" {
		who += " on " + it.Replica
	}
	w.judgement.accuse(violation{
		Kind: kind, Who: who, Channel: w.log.channel, At: it.At, Detail: fmt.Sprintf(format, args...),
	})
}

// gap records a gap event.
func (w *walk) gap(it item) {
	w.verdict.Gaps++
	w.gaps = append(w.gaps, announced{item: it, before: w.newest, after: len(w.log.events)})
	if it.Reason == "reset" || it.Reason == "unknown" {
		w.fresh = map[string]bool{}
		w.high = -1
	}
}

// event checks one delivered event.
func (w *walk) event(it item) {
	w.verdict.Deliveries++
	again := w.fresh[it.ID]
	w.fresh[it.ID] = true
	if again {
		w.accuse(repeat, it, "event %s %s again", it.ID, tokenOf(it.Data))
		return
	}
	i, ok := w.log.byID[it.ID]
	if !ok {
		if token := tokenOf(it.Data); !w.mayBeLost(w.log, token) {
			w.accuse(phantom, it, "event %s %s is not in the log", it.ID, token)
		}
		return
	}
	e, token := w.log.events[i], w.log.tokens[i]
	if token != tokenOf(it.Data) || w.log.exact && (e.Data != it.Data || e.Type != it.Type) {
		w.accuse(corrupt, it, "event %s came as type %q data %.120s, stored as type %q data %.120s",
			it.ID, it.Type, it.Data, e.Type, e.Data)
	}
	if i < w.high {
		w.accuse(reordering, it, "event %s %s came after the newer event %s", it.ID, token, w.log.events[w.high].ID)
	}
	for g := range w.gaps { // a gap ends at the first event that comes after it
		if w.gaps[g].after == len(w.log.events) {
			w.gaps[g].after = i
		}
	}
	if !w.seen[i] {
		if late := w.lateBy(w.client, w.log, token, it.At, w.outage); late > w.verdict.Worst {
			w.verdict.Worst = late
			w.verdict.WorstOf = fmt.Sprintf("%s %s at %v", w.client.Name, it.ID, it.At.Round(time.Millisecond))
		}
	}
	w.seen[i], w.high, w.newest = true, max(w.high, i), max(w.newest, i)
}

// end looks for events that were never delivered and for gaps where nothing is missing.
func (w *walk) end() {
	start, end := w.start(), len(w.log.events)
	if w.client.Died != "" {
		end = w.newest + 1 // that it died is reported already; it missed everything afterwards because of that
	}
	missing := func(from, to int) (n int) {
		for i := max(start, from); i < to; i++ {
			if !w.seen[i] {
				n++
			}
		}
		return n
	}
	for i := start; i < end; i++ {
		if w.seen[i] {
			continue
		}
		id, token := w.log.events[i].ID, w.log.tokens[i]
		switch {
		case !w.covered(i):
			w.accuse(silentHole, item{}, "event %s %s (number %d of %d) never came", id, token, i+1, len(w.log.events))
		case i >= w.log.kept:
			w.accuse(skipped, item{}, "event %s %s never came: a gap stands there, but it is still stored", id, token)
		}
	}
	for _, g := range w.gaps {
		if why := w.needless(g, missing); why != "" {
			w.accuse(needlessGap, g.item, "gap with reason %s: %s", g.Reason, why)
		}
	}
}

// start returns the index of the first event that the client must have received.
func (w *walk) start() int {
	start := len(w.log.events)
	if i, ok := w.log.byID[w.client.From]; ok {
		return i + 1
	}
	for i, token := range w.log.tokens {
		if w.seen[i] || w.sentAfter(token, w.client.Opened) {
			start = i
			break
		}
	}
	return start
}

// sentAfter reports whether every publish of the token began after the given moment.
func (w *walk) sentAfter(token string, moment time.Duration) bool {
	for _, p := range w.log.publishes[token] {
		if p.First <= moment {
			return false
		}
	}
	return len(w.log.publishes[token]) > 0
}

// covered reports whether a gap was announced at the place of event i.
func (w *walk) covered(i int) bool {
	for _, g := range w.gaps {
		if g.before < i && i < g.after {
			return true
		}
	}
	return false
}

// needless returns why a gap should not have been announced, or nothing if it was right.
func (w *walk) needless(g announced, missing func(from, to int) int) string {
	switch {
	case len(w.Losses) > 0:
		if g.Reason != "reset" && g.Reason != "unknown" {
			return "nothing is trimmed here"
		}
		for _, loss := range w.Losses {
			if g.At >= loss.From {
				return ""
			}
		}
		return "Redis had lost nothing yet"
	case w.Rules.Trim == 0 || !w.log.exact:
		return "nothing is trimmed and Redis lost nothing"
	case g.Reason != "trimmed":
		return "trimming is the only reason here"
	case w.client.Type != "":
		return "" // nobody can know whether a trimmed event was of this type
	case missing(g.before+1, g.after) == 0:
		return "nothing is missing there"
	}
	return ""
}
