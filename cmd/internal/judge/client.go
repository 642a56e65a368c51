package judge

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// checkClient applies the rules for a client to each of its channels.
func (j *judgement) checkClient(c *Client) {
	j.Verdict.Reconnects += c.Reconnects
	if c.Died != "" {
		j.accuse(Violation{Kind: Died, Who: c.Name, Detail: c.Died})
	}
	if !c.Bound {
		if c.Died == "" {
			j.accuse(Violation{Kind: Died, Who: c.Name, Detail: "it never saw a stream with a position"})
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
			high: -1, newest: -1, place: -1, ever: map[string]bool{}, got: map[string]int{},
		}
		for _, it := range c.Items {
			switch {
			case it.Kind == GotCut:
				w.outage = it.At
			case it.Kind == GotStream:
				w.streams, w.common, w.live, w.opened = true, false, false, it.At
			case it.Channel != channel:
			case it.Kind == GotPlace:
				w.told(it)
			case it.Kind == GotGap:
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
func (j *judgement) checkForeign(c *Client) {
	asked := map[string]bool{}
	for _, channel := range c.Channels {
		asked[channel] = true
	}
	for _, it := range c.Items {
		if it.Channel != "" && !asked[it.Channel] {
			j.accuse(Violation{Kind: Phantom, Who: c.Name, Channel: it.Channel, At: it.At,
				Detail: fmt.Sprintf("event %q of a channel the client did not ask for", it.ID)})
		}
	}
}

// walk compares what one client received with one channel's log, item by item.
type walk struct {
	*judgement
	client *Client
	log    *channelLog

	seen   []bool          // by index: the event was delivered
	fresh  map[string]bool // ids delivered since the last fresh start: a gap with reason reset or unknown
	high   int             // index of the newest event delivered since the last fresh start; -1: none
	newest int             // index of the newest event ever delivered; -1: none
	gaps   []announced
	ever   map[string]bool // ids that were delivered
	got    map[string]int  // by token: how many events with it were delivered, each counted once
	outage time.Duration   // when the client's own last disconnection ended

	place int  // index of the event up to which the client is, for all that it was told; -1: it is before the first one
	known bool // the client was told a place that the log has

	streams bool          // the record says when streams began
	opened  time.Duration // when this stream began
	common  bool          // this stream has delivered an event that Redis still has
	live    bool          // this stream has delivered such an event that was published after it opened
}

// announced is a gap event and its place in the log: between the events at the indexes before and after.
type announced struct {
	Item
	before, after       int
	place               int  // walk.place, at that moment
	known, common, live bool // of walk, at that moment
	left                bool // the next event was one that Redis lost
}

// accuse counts a violation that the client has noticed at an item.
func (w *walk) accuse(kind string, it Item, format string, args ...any) {
	who := w.client.Name
	if it.Replica != "" {
		who += " on " + it.Replica
	}
	w.judgement.accuse(Violation{
		Kind: kind, Who: who, Channel: w.log.channel, At: it.At, Detail: fmt.Sprintf(format, args...),
	})
}

// gap records a gap event.
func (w *walk) gap(it Item) {
	w.Verdict.Gaps++
	w.gaps = append(w.gaps, announced{
		Item: it, before: w.newest, after: len(w.log.events), place: w.place, known: w.known,
		common: w.streams && w.common, live: w.streams && w.live,
	})
	if it.Reason == "reset" || it.Reason == "unknown" {
		w.fresh = map[string]bool{}
		w.high = -1
	}
}

// told notes the place that the client was told without an event. It is an event's id, or begins with 0 for the place before
// the first event.
func (w *walk) told(it Item) {
	i, ok := w.log.byID[it.ID]
	switch {
	case ok:
		w.place, w.known = i, true
	case strings.HasPrefix(it.ID, "0-"):
		w.place, w.known = -1, true
	default:
		w.known = false
	}
}

// event checks one delivered event.
func (w *walk) event(it Item) {
	w.Verdict.Deliveries++
	again := w.fresh[it.ID]
	w.fresh[it.ID] = true
	if again {
		w.accuse(Repeat, it, "event %s %s again", it.ID, TokenOf(it.Data))
		return
	}
	if !w.ever[it.ID] {
		w.ever[it.ID] = true
		w.got[TokenOf(it.Data)]++
	}
	i, ok := w.log.byID[it.ID]
	if n := len(w.gaps); !ok && n > 0 && w.gaps[n-1].after == len(w.log.events) {
		w.gaps[n-1].left = true
	}
	if !ok {
		if token := TokenOf(it.Data); !w.mayBeLost(w.log, token) {
			w.accuse(Phantom, it, "event %s %s is not in the log", it.ID, token)
		}
		return
	}
	e, token := w.log.events[i], w.log.tokens[i]
	if token != TokenOf(it.Data) || w.log.exact && (e.Data != it.Data || e.Type != it.Type) {
		w.accuse(Corrupt, it, "event %s came as type %q data %.120s, stored as type %q data %.120s",
			it.ID, it.Type, it.Data, e.Type, e.Data)
	}
	if i < w.high {
		w.accuse(Reordering, it, "event %s %s came after the newer event %s", it.ID, token, w.log.events[w.high].ID)
	}
	for g := range w.gaps { // a gap ends at the first event that comes after it
		if w.gaps[g].after == len(w.log.events) {
			w.gaps[g].after = i
		}
	}
	if !w.seen[i] {
		if late := w.lateBy(w.client, w.log, token, it.At, w.outage); late > w.Verdict.Worst {
			w.Verdict.Worst = late
			w.Verdict.WorstOf = fmt.Sprintf("%s %s at %v", w.client.Name, it.ID, it.At.Round(time.Millisecond))
		}
	}
	w.common, w.live = true, w.live || w.sentAfter(token, w.opened)
	w.seen[i], w.high, w.newest = true, max(w.high, i), max(w.newest, i)
	w.place, w.known = i, true
}

// end looks for events that were never delivered and for gaps where nothing is missing.
func (w *walk) end() {
	start, end := w.start(), len(w.log.events)
	if w.client.Died != "" {
		end = w.newest + 1 // that it died is reported already; it missed everything afterwards because of that
	}
	for i := start; i < end; i++ {
		if w.seen[i] {
			continue
		}
		id, token := w.log.events[i].ID, w.log.tokens[i]
		switch {
		case !w.covered(i):
			w.accuse(SilentHole, Item{}, "event %s %s (number %d of %d) never came", id, token, i+1, len(w.log.events))
		case i >= w.log.kept && !w.trimmedOnce(i):
			w.accuse(Skipped, Item{}, "event %s %s never came: a gap stands there, but it is still stored", id, token)
		}
	}
	for token, n := range w.got {
		if p := w.log.publishes[token]; len(p) > 0 && p[0].Raw {
			w.Verdict.RawAgain += max(0, n-len(p))
		}
	}
	for _, g := range w.gaps {
		if why := w.needless(g); why != "" {
			w.accuse(NeedlessGap, g.Item, "gap with reason %s: %s", g.Reason, why)
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

// trimmedOnce reports whether event i was trimmed when the client was told so, and is stored only because Redis has come
// back older since. A client that reads slowly is told late: then an event follows that Redis has lost.
func (w *walk) trimmedOnce(i int) bool {
	return w.Rules.Trim > 0 && slices.ContainsFunc(w.gaps, func(g announced) bool {
		before := g.left || slices.ContainsFunc(w.Losses, func(loss Span) bool { return g.At <= loss.To })
		return g.before < i && i < g.after && before
	})
}

// needless returns why a gap should not have been announced, or nothing if it was right.
func (w *walk) needless(g announced) string {
	fresh := g.Reason == "reset" || g.Reason == "unknown"
	trims := w.Rules.Trim > 0 && w.log.exact
	switch {
	case g.live && w.Rules.Steady:
		return "this stream was live, and nothing kept it from receiving everything"
	case g.common && g.Reason == "reset" && w.Rules.Trim == 0:
		return "this stream had delivered an event that Redis still has: it had only to go back to that"
	case fresh && slices.ContainsFunc(w.Losses, func(loss Span) bool { return g.At >= loss.From }):
		return ""
	case fresh && len(w.Losses) > 0:
		return "Redis had lost nothing yet"
	case !trims && len(w.Losses) > 0:
		return "nothing is trimmed here"
	case !trims:
		return "nothing is trimmed and Redis lost nothing"
	case fresh:
		return "trimming is the only reason here"
	case w.client.Type != "":
		return "" // nobody can know whether a trimmed event was of this type
	case len(w.Losses) > 0:
		return "" // nor what was trimmed from a log that Redis has lost
	case g.known && !slices.Contains(w.seen[g.place+1:max(g.place+1, g.after)], false):
		return "nothing is missing there"
	}
	return ""
}
