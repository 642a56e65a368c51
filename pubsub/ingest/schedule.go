package ingest

import (
	"container/heap"
	"time"
)

// A backlog goes round: it waits for a time, is ready, is presented, and waits again. Presenters are started when a backlog
// becomes ready and end when none is, so a replica to which nothing comes has none.

// presentersAtMost is how many calls to the store are made at a time. It is what the store's batches carry together: with
// more of them calls would wait there, and no message that comes meanwhile could join them.
const presentersAtMost = 256

// schedule puts a backlog where it belongs; in.mu is held. Whoever changes a backlog calls it.
func (in *Intake) schedule(b *backlog) {
	if b.place == ready || b.place == presenting {
		return // it is looked at soon
	}
	now := in.now()
	switch due, some := in.due(b, now); {
	case !some:
		in.leave(b)
		in.drop(b)
	case due > now:
		in.waitUntil(b, due)
	default:
		in.leave(b)
		b.place = ready
		in.ready = append(in.ready, b)
		if in.presenters < presentersAtMost && in.ctx.Err() == nil {
			in.presenters++
			in.wg.Go(in.presentAll)
		}
	}
}

// due returns when the first message of a backlog may be presented; some is false if there is none. It drops messages that
// are too old. in.mu is held.
func (in *Intake) due(b *backlog, now time.Duration) (due time.Duration, some bool) {
	for len(b.messages) > 0 && now-b.messages[0].ReceivedAt > waitingTime {
		in.remove(b, 0, 1) // the store may have forgotten its marker, and would store the message a second time
		in.stats.lost[lostTooOld].Add(1)
	}
	if len(b.messages) == 0 {
		return 0, false
	}
	due = b.retryAt
	switch m := b.messages[0]; {
	case in.closing:
	case in.lost || in.unheard:
		due = m.ReceivedAt + waitingTime // until presentAgain
	default:
		due = max(due, m.notBefore, in.lead(m.Source).due(m.ReceivedAt))
	}
	return due, true
}

// remove takes messages[from:to] out of a backlog; in.mu is held.
func (in *Intake) remove(b *backlog, from, to int) { in.bytes -= b.remove(from, to) }

// drop ends a backlog without messages; in.mu is held.
func (in *Intake) drop(b *backlog) {
	in.bytes -= backlogOverhead
	delete(in.backlogs, b.channel)
	in.recovered(b)
	in.noteEmpty()
}

// noteEmpty wakes Close if nothing waits any more; in.mu is held.
func (in *Intake) noteEmpty() {
	if in.closing && len(in.backlogs) == 0 {
		select {
		case <-in.empty:
		default:
			close(in.empty)
		}
	}
}

// waitUntil puts a backlog among those that wait for a time; in.mu is held.
func (in *Intake) waitUntil(b *backlog, due time.Duration) {
	b.due = due
	if b.place == timed {
		heap.Fix(&in.timed, b.index)
	} else {
		b.place = timed
		heap.Push(&in.timed, b)
	}
	if in.timed[0] == b {
		in.setAlarm()
	}
}

// leave takes a backlog out of those that wait for a time, if it is there; in.mu is held.
func (in *Intake) leave(b *backlog) {
	if b.place == timed {
		heap.Remove(&in.timed, b.index)
	}
	b.place = nowhere
}

// setAlarm has the alarm ring when the first backlog of timed is due; in.mu is held. An alarm that rings for nothing, since
// that backlog has left meanwhile, does no harm.
func (in *Intake) setAlarm() {
	if len(in.timed) == 0 || in.ctx.Err() != nil {
		return
	}
	delay := max(in.timed[0].due-in.now(), 0)
	if in.alarm == nil {
		in.alarm = time.AfterFunc(delay, in.ring)
	} else {
		in.alarm.Reset(delay)
	}
}

// ring is called by the alarm.
func (in *Intake) ring() {
	in.mu.Lock()
	defer in.mu.Unlock()
	now := in.now()
	for len(in.timed) > 0 && in.timed[0].due <= now {
		in.schedule(in.timed[0]) // it leaves, or is due later now
	}
	in.setAlarm()
}

// next takes the backlog that is to be presented next, the messages to present, and the session that the store has to check.
// ok is false if there is none; then the presenter must end.
func (in *Intake) next() (b *backlog, batch []*waiting, session string, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for len(in.ready) > 0 && in.ctx.Err() == nil {
		b := in.ready[0]
		in.ready[0] = nil
		in.ready = in.ready[1:]
		b.place = nowhere
		if due, some := in.due(b, in.now()); !some || due > in.now() {
			in.schedule(b)
			continue
		}
		b.place = presenting
		most := presentMessages
		if b.trouble.code != "" {
			most = 1 // so that one message that Redis refuses for good is found
		}
		if !in.closing { // else the connection has ended
			session = in.session
		}
		return b, b.first(0, most), session, true
	}
	in.presenters--
	return nil, nil, "", false
}

// byDue is a heap of backlogs, the one that is due first in front.
type byDue []*backlog

func (h *byDue) Len() int           { return len(*h) }
func (h *byDue) Less(i, j int) bool { return (*h)[i].due < (*h)[j].due }
func (h *byDue) Swap(i, j int) {
	all := *h
	all[i], all[j] = all[j], all[i]
	all[i].index, all[j].index = i, j
}

// Push is called by package heap.
func (h *byDue) Push(x any) {
	b := x.(*backlog)
	b.index = len(*h)
	*h = append(*h, b)
}

// Pop is called by package heap.
func (h *byDue) Pop() any {
	last := len(*h) - 1
	b := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return b
}
