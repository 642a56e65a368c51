package judge

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// checkStore applies the rules for the store to one channel.
func (j *judgement) checkStore(l *channelLog) {
	for _, token := range slices.Sorted(maps.Keys(l.publishes)) {
		j.checkToken(l, token)
	}
	for i, token := range l.tokens {
		if len(l.publishes[token]) == 0 {
			j.accuse(Violation{Kind: Phantom, Who: "store", Channel: l.channel,
				Detail: fmt.Sprintf("event %s (%.80s) was never published", l.events[i].ID, l.events[i].Data)})
		}
	}
	j.checkOrder(l)
	if j.Rules.Trim > 0 && l.exact {
		j.checkTrim(l)
	}
}

// checkToken compares the publishes of one payload with the events that carry it.
func (j *judgement) checkToken(l *channelLog, token string) {
	publishes, events := l.publishes[token], l.byToken[token]
	must, may := 0, 0
	for _, p := range publishes {
		switch {
		case j.sure(p):
			must++
			may++
			if i, ok := l.byID[p.ID]; p.ID != "" && (!ok || l.tokens[i] != token) {
				j.accuse(Violation{Kind: Lost, Who: p.Publisher, Channel: l.channel, At: p.Answered,
					Detail: fmt.Sprintf("POST of %s returned id %s, which is not its event in the log", token, p.ID)})
			}
		case p.Outcome != Refused:
			j.Verdict.Unsure++
			may++
		}
	}
	blame := func(kind string, n int, format string, args ...any) {
		for range n {
			j.accuse(Violation{Kind: kind, Who: publishes[0].Publisher, Channel: l.channel,
				At: publishes[0].First, Detail: fmt.Sprintf(format, args...)})
		}
	}
	blame(Lost, j.missing(publishes[0], must-len(events)), "%s: %d acknowledged, %d stored", describe(publishes), must, len(events))
	blame(Doubled, len(events)-may, "%s: %d published, %d stored: %s",
		describe(publishes), may, len(events), l.ids(events))
	for _, i := range events {
		e, p := l.events[i], publishes[0]
		if p.Body != "" && (e.Data != p.Body || e.Type != p.Type) {
			blame(Corrupt, 1, "event %s is type %q data %.120s, published as type %q data %.120s",
				e.ID, e.Type, e.Data, p.Type, p.Body)
		}
	}
}

// missing returns how many of n publishes that are missing nobody has counted.
func (j *judgement) missing(p *Publish, n int) int {
	if !p.Raw || n <= 0 {
		return n
	}
	counted := min(int64(n), j.CountedLost-int64(j.Verdict.Counted))
	j.Verdict.Counted += int(counted)
	return n - int(counted)
}

// describe names the publishes of one token for a reader who wants to find them again.
func describe(publishes []*Publish) string {
	var out strings.Builder
	out.WriteString(publishes[0].Token)
	for _, p := range publishes {
		if p.Raw {
			fmt.Fprintf(&out, " [PUBLISH %v-%v receivers %d]", p.First, p.Answered, p.Receivers)
		} else {
			fmt.Fprintf(&out, " [POST %v-%v id %s]", p.First, p.Answered, p.ID)
		}
	}
	return out.String()
}

// ids returns the ids of the events at the given indexes.
func (l *channelLog) ids(indexes []int) []string {
	var out []string
	for _, i := range indexes {
		out = append(out, l.events[i].ID)
	}
	return out
}

// checkOrder looks for payloads that are stored in another order than their publisher sent them. A publisher has one
// channel, and sends a payload only after the answer to the one before.
func (j *judgement) checkOrder(l *channelLog) {
	type place struct {
		Publish *Publish
		index   int
	}
	last := map[string]place{} // by publisher: the newest event so far
	for i := range j.Publishes {
		p := &j.Publishes[i]
		if p.Channel != l.channel || !j.sure(p) {
			continue
		}
		indexes := l.byToken[p.Token]
		if len(indexes) == 0 {
			continue // checkToken has reported that it is lost
		}
		before, ok := last[p.Publisher]
		if ok && before.Publish.Token != p.Token && indexes[0] < before.index {
			if p.Raw && (!j.Rules.RawOrder || slices.Contains(j.Rules.Swaps, l.channel)) {
				j.Verdict.RawSwaps++
			} else {
				j.accuse(Violation{Kind: StoreOrder, Who: p.Publisher, Channel: l.channel, At: p.Answered,
					Detail: fmt.Sprintf("%s is stored before %s, which was acknowledged before it was sent",
						p.Token, before.Publish.Token)})
			}
		}
		if newest := indexes[len(indexes)-1]; !ok || newest > before.index {
			last[p.Publisher] = place{p, newest}
		}
	}
}

// checkTrim checks that Redis keeps the end of what the witness saw, in the configured length.
func (j *judgement) checkTrim(l *channelLog) {
	kept := j.Kept[l.channel]
	l.kept = len(l.events) - len(kept)
	if want := min(len(l.events), j.Rules.Trim); len(kept) != want {
		j.accuse(Violation{Kind: WrongTrim, Who: "store", Channel: l.channel,
			Detail: fmt.Sprintf("%d events kept of %d, want %d", len(kept), len(l.events), want)})
	}
	if l.kept < 0 || !slices.Equal(l.events[l.kept:], kept) {
		l.kept = 0 // so no hole is excused by trimming
		j.accuse(Violation{Kind: WrongTrim, Who: "store", Channel: l.channel, Detail: "the list is not the end of the log"})
	}
}

// checkViews compares every replica's GET with the list.
func (j *judgement) checkViews() {
	for _, v := range j.Views {
		l := j.log(v.Channel)
		want := l.events[l.kept:]
		same := func(a, b Event) bool { return a.ID == b.ID && (!l.exact || a == b) }
		if slices.EqualFunc(v.Events, want, same) {
			continue
		}
		at := 0
		for at < min(len(v.Events), len(want)) && same(v.Events[at], want[at]) {
			at++
		}
		j.accuse(Violation{Kind: ViewDiffers, Who: v.Replica, Channel: v.Channel,
			Detail: fmt.Sprintf("GET shows %d events, the list has %d; they differ first at number %d",
				len(v.Events), len(want), at+1)})
	}
}
