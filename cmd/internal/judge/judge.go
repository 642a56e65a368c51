package judge

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Kinds of violation. The package comment says what each of them counts.
const (
	Lost         = "lost"
	Doubled      = "doubled"
	StoreOrder   = "store order"
	ViewDiffers  = "view differs"
	WrongTrim    = "wrong trim"
	SilentHole   = "silent hole"
	Skipped      = "skipped"
	Repeat       = "repeat"
	Reordering   = "reordering"
	NeedlessGap  = "needless gap"
	Phantom      = "phantom"
	Corrupt      = "corrupt"
	Died         = "died"
	TaskBroken   = "task"
	Process      = "process"
	NotExercised = "not exercised"
	NotLive      = "not live"
	Written      = "written by readers"
	Refusing     = "refused"
)

// settled is the time by which an acknowledged publish is stored. A raw message is stored after Redis has answered, and
// a replica that has just subscribed waits a little before it stores its first messages. The time is only used to find
// out which publishes a loss of Redis may have hit.
func (j *judgement) settled(p *Publish) time.Duration {
	if !p.Raw {
		return p.Answered
	}
	settled := p.Answered + 2*time.Second
	for _, o := range j.Outages {
		if o.overlaps(p.First, settled) {
			settled = max(settled, o.To+5*time.Second)
		}
	}
	return settled
}

// Violation is one broken promise with its evidence.
type Violation struct {
	Kind    string        `json:"kind"`
	Who     string        `json:"who,omitempty"`
	Channel string        `json:"channel,omitempty"`
	At      time.Duration `json:"at,omitempty"`
	Detail  string        `json:"detail"`
}

// Verdict is what the judge found.
type Verdict struct {
	Events     int            `json:"events"`
	Deliveries int            `json:"deliveries"`
	Gaps       int            `json:"announced_gaps"`
	Reconnects int            `json:"reconnects"`
	RawSwaps   int            `json:"raw_swaps"`
	Counted    int            `json:"counted_lost"`     // raw messages that are missing, as many as the replicas have counted
	RawAgain   int            `json:"raw_again"`        // raw messages that a client got once more, under another id
	Unsure     int            `json:"unsure_publishes"` // nobody knows whether they are stored: windows, losses, time-outs
	Worst      time.Duration  `json:"worst_recovery"`
	WorstOf    string         `json:"worst_recovery_of,omitempty"`
	Counts     map[string]int `json:"violations"`
	Evidence   []Violation    `json:"evidence,omitempty"` // the first maxEvidence of each kind
}

// Passed reports whether nothing was violated.
func (v Verdict) Passed() bool { return len(v.Counts) == 0 }

// maxEvidence is how many violations of one kind are reported in full. The others are only counted.
const maxEvidence = 5

// Judge compares what was published, what is stored and what each client received. It is a pure function.
func Judge(r Record) Verdict {
	j := &judgement{Record: r, Verdict: Verdict{Counts: map[string]int{}}}
	j.index()
	for _, channel := range slices.Sorted(maps.Keys(j.logs)) {
		j.checkStore(j.logs[channel])
	}
	j.checkViews()
	for i := range r.Clients {
		j.checkClient(&r.Clients[i])
	}
	for _, t := range r.Tasks {
		j.checkTask(t)
	}
	for _, key := range r.Written {
		j.accuse(Violation{Kind: Written, Who: "store", Detail: fmt.Sprintf("key %s, of a channel without events", key)})
	}
	if r.Rules.Calm {
		for _, refusal := range r.Refusals {
			j.accuse(Violation{Kind: Refusing, Who: refusal.Who, At: refusal.At, Detail: refusal.Why})
		}
	}
	for _, v := range r.Wrong {
		j.accuse(v)
	}
	j.checkExercised()
	return j.Verdict
}

type judgement struct {
	Record
	Verdict Verdict
	logs    map[string]*channelLog
}

// channelLog is one channel's log with indexes to search it.
type channelLog struct {
	channel   string
	events    []Event
	tokens    []string              // by index: the token of the event
	byID      map[string]int        // index of the event, by id
	byToken   map[string][]int      // indexes of the events, by token
	publishes map[string][]*Publish // by token
	kept      int                   // index of the first event that is still stored
	exact     bool                  // publishers know the data, so it is compared byte for byte
}

// index builds the log of each channel from the record.
func (j *judgement) index() {
	j.logs = map[string]*channelLog{}
	for channel, events := range j.Log {
		l := j.log(channel)
		j.Verdict.Events += len(events)
		for _, e := range events {
			if _, twice := l.byID[e.ID]; twice {
				j.accuse(Violation{Kind: Doubled, Channel: channel, Detail: fmt.Sprintf("id %s is in the log twice", e.ID)})
			}
			l.add(e)
		}
	}
	for i := range j.Publishes {
		p := &j.Publishes[i]
		l := j.log(p.Channel)
		l.publishes[p.Token] = append(l.publishes[p.Token], p)
		l.exact = l.exact || p.Body != ""
	}
}

// log returns the log of a channel. It makes an empty one if there is none.
func (j *judgement) log(channel string) *channelLog {
	l := j.logs[channel]
	if l == nil {
		l = &channelLog{
			channel: channel, byID: map[string]int{}, byToken: map[string][]int{}, publishes: map[string][]*Publish{},
		}
		j.logs[channel] = l
	}
	return l
}

// add appends an event to the log.
func (l *channelLog) add(e Event) {
	token, i := TokenOf(e.Data), len(l.events)
	l.events, l.tokens = append(l.events, e), append(l.tokens, token)
	l.byID[e.ID] = i
	l.byToken[token] = append(l.byToken[token], i)
}

// only returns the part of the log that a client must receive that asked for one type.
func (l *channelLog) only(kind string) *channelLog {
	out := &channelLog{
		channel: l.channel, byID: map[string]int{}, byToken: map[string][]int{}, publishes: l.publishes, exact: l.exact,
	}
	for i, e := range l.events {
		if e.Type != kind {
			continue
		}
		out.add(e)
		if i < l.kept {
			out.kept++
		}
	}
	return out
}

// accuse counts a violation, and keeps it in full if it is among the first of its kind.
func (j *judgement) accuse(v Violation) {
	j.Verdict.Counts[v.Kind]++
	if j.Verdict.Counts[v.Kind] <= maxEvidence {
		j.Verdict.Evidence = append(j.Verdict.Evidence, v)
	}
}

// sure reports whether p must be in the log: it was acknowledged, and neither a window nor a loss excuses it.
func (j *judgement) sure(p *Publish) bool {
	if p.Outcome != Acknowledged {
		return false
	}
	if p.Raw {
		var cost int64
		for _, w := range j.Windows {
			if w.overlaps(p.First, p.Answered) {
				cost += w.Receivers
			}
		}
		if cost >= p.Receivers {
			return false
		}
	}
	for _, loss := range j.Losses {
		if loss.overlaps(p.Last, j.settled(p)) {
			return false
		}
	}
	return true
}

// mayBeLost reports whether an event with this token may have been stored, delivered and then lost by Redis.
func (j *judgement) mayBeLost(l *channelLog, token string) bool {
	for _, p := range l.publishes[token] {
		for _, loss := range j.Losses {
			if p.First <= loss.To && (p.Outcome == Unanswered || j.settled(p) >= loss.From) {
				return true
			}
		}
	}
	return false
}

// lateBy returns how late an event reached client c, at the given time. It is counted from the latest of these moments:
// the client's first stream, the end of its own disconnection, the answer to each publish of the token, and the end
// of each fault before.
func (j *judgement) lateBy(c *Client, l *channelLog, token string, at, ownOutage time.Duration) time.Duration {
	since := max(c.Opened, ownOutage)
	for _, p := range l.publishes[token] {
		if p.Outcome == Unanswered {
			return 0 // nobody knows when it was stored
		}
		since = max(since, p.Answered)
	}
	for _, f := range j.Faults {
		if f.To <= at {
			since = max(since, f.To)
		}
	}
	return at - since
}

// checkTask checks that a progress stream showed the task's progress without repeats, to its end.
func (j *judgement) checkTask(t Task) {
	blame := func(format string, args ...any) {
		j.accuse(Violation{Kind: TaskBroken, Who: t.Name, Detail: fmt.Sprintf(format, args...)})
	}
	if t.Died != "" {
		j.accuse(Violation{Kind: Died, Who: t.Name, Detail: t.Died})
		return
	}
	last := TaskState{Progress: -1}
	for _, s := range t.States {
		if s == last {
			j.accuse(Violation{Kind: Repeat, Who: t.Name, Detail: fmt.Sprintf("state %v %s again", s.Progress, s.Status)})
		} else if s.Progress < last.Progress {
			blame("progress went back from %v to %v", last.Progress, s.Progress)
		}
		last = s
	}
	if last != (TaskState{Progress: 100, Status: "completed"}) {
		blame("the last state is %v %q, not 100 completed", last.Progress, last.Status)
	} else if !t.Stopped {
		blame("the stream never answered 204 after the end")
	}
}

// checkExercised checks that enough has happened for the run to prove something.
func (j *judgement) checkExercised() {
	hits := 0
	for _, f := range j.Faults {
		hits += f.Hits
	}
	for _, need := range []struct {
		what      string
		got, want int
	}{
		{"faults that hit something", hits, j.Rules.MinFaults},
		{"reconnects", j.Verdict.Reconnects, j.Rules.MinReconnects},
		{"announced gaps", j.Verdict.Gaps, j.Rules.MinGaps},
		{"deliveries", j.Verdict.Deliveries, 1},
	} {
		if need.got < need.want {
			j.accuse(Violation{Kind: NotExercised, Detail: fmt.Sprintf("%d %s, need %d", need.got, need.what, need.want)})
		}
	}
}
