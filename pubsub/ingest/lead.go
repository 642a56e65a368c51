package ingest

import (
	"math/rand/v2"
	"time"
)

// lead is what a replica knows of who presents the raw messages of one source first. The Intake's lock guards all of it.
// The package comment says how the replicas come to one leader.
type lead struct {
	ours bool // this replica presents at once

	// A replica that does not lead holds a message for hold, and as long again as somebody else is heard.
	hold  time.Duration
	limit time.Duration // hold is random between limit and twice that
	heard time.Duration // when an adoption was heard the last time

	newcomer bool
	joined   time.Duration // if newcomer: since when
}

// newLead returns the lead of a source that this replica begins to follow.
func newLead(alone bool, now time.Duration) *lead {
	l := &lead{ours: alone, newcomer: !alone, joined: now}
	l.setLimit(holdAtLeast)
	return l
}

// setLimit sets limit and draws hold anew, so that two replicas with nearly the same hold do not meet again.
func (l *lead) setLimit(limit time.Duration) {
	l.limit = min(limit, holdAtMost)
	l.hold = l.limit + rand.N(l.limit)
}

// join makes the replica a newcomer: from now on others may have older messages than it has.
func (l *lead) join(now time.Duration) { l.newcomer, l.joined = true, now }

// endOfDelay returns until when a message must wait because this replica is a newcomer. One that was received before
// joined is of an earlier connection: the other replicas have had time enough for it.
func (l *lead) endOfDelay(receivedAt time.Duration) time.Duration {
	switch end := l.joined + newcomerDelay; {
	case !l.newcomer:
		return 0
	case receivedAt >= end:
		l.newcomer = false
		return 0
	default:
		return end
	}
}

// due returns when a message may be presented that was received at a time.
func (l *lead) due(receivedAt time.Duration) time.Duration {
	if l.ours {
		return receivedAt
	}
	return min(max(receivedAt, l.heard)+l.hold, receivedAt+holdInAll)
}

// presented learns from a presentation. first is true if this replica came first with any of the messages.
func (l *lead) presented(first bool) {
	switch {
	case first: // there is no leader, or this replica is it
		l.ours = true
		l.setLimit(holdAtLeast)
	case l.ours:
		l.ours = false
	default: // the leader is slower than this replica thinks
		l.setLimit(2 * l.limit)
	}
}
