package pubsub

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/pubsub/internal/transcript"
	"sluice/store"
	"sluice/store/kind"
)

// In a transcript an event is called by its offset and the branch of history that it belongs to: 2a is the second event
// of branch a, and 2b is another second event, which came after Redis had lost 2a. 0a is the place before the first one.

// positionOf returns the position of an event's name. The whole name is the nonce, so each event has its own.
func positionOf(name string) store.Position {
	offset, err := strconv.ParseUint(strings.TrimRight(name, "abcdefghijklmnopqrstuvwxyz"), 10, 64)
	if err != nil || len(name) > len(store.Nonce{}) {
		panic("not the name of an event: " + name)
	}
	p := store.Position{Offset: offset}
	copy(p.Nonce[:], name)
	return p
}

// nameOf is the inverse of positionOf.
func nameOf(p store.Position) string {
	name := strings.TrimRight(string(p.Nonce[:]), "\x00")
	if p.Nonce == (store.Nonce{}) || positionOf(name) != p {
		return fmt.Sprintf("?%d-%s", p.Offset, name)
	}
	return name
}

// placeOf returns the place of a client by name: that of an event, and a + with the name of the event that it has seen after
// it and that was lost, as in 2a+3a.
func placeOf(name string) store.Place {
	at, left, marked := strings.Cut(name, "+")
	p := positionOf(at).Place()
	if marked {
		p.Left = positionOf(left).Nonce.Mark()
	}
	return p
}

// nameOfPlace is the inverse of placeOf, for events with one digit.
func nameOfPlace(p store.Place) string {
	if p == nowhere {
		return "nowhere"
	}
	if p.Left == 0 {
		return nameOf(p.Position())
	}
	return nameOf(p.Position()) + "+" + string([]byte{byte(p.Left >> 8), byte(p.Left)})
}

func namesOf(events []store.Event) string {
	var names []string
	for _, e := range events {
		names = append(names, nameOf(e.Position))
	}
	if names == nil {
		return "nothing"
	}
	return strings.Join(names, " ")
}

// fakeRedis is one channel as Redis has stored it.
type fakeRedis struct {
	base   store.Nonce
	events []store.Event          // of the valid branch, also those that are trimmed
	kept   int                    // how many of the newest are in the list
	ever   map[string]store.Event // by name
	size   int                    // bytes of the data of events that are stored next
}

func newFakeRedis() *fakeRedis {
	return &fakeRedis{base: positionOf("0a").Nonce, ever: map[string]store.Event{}}
}

// store appends an event; capacity is the channel's.
func (r *fakeRedis) store(name string, capacity int) {
	tip := r.history().Tip.Position
	e := store.Event{Channel: "orders", Position: positionOf(name), Prev: tip.Nonce, Data: make([]byte, r.size)}
	if e.Position.Offset != tip.Offset+1 {
		panic(name + " cannot follow " + nameOf(tip))
	}
	r.events = append(slices.Clip(r.events), e)
	r.kept = min(r.kept+1, capacity)
	r.ever[name] = e
}

// restore makes it a Redis that came back from a snapshot in which the named event is the newest, of whatever branch.
func (r *fakeRedis) restore(name string, capacity int) {
	p := positionOf(name)
	if r.history().Has(p) {
		lost := len(r.events) - int(p.Offset)
		r.events, r.kept = r.events[:len(r.events)-lost], r.kept-lost
		return
	}
	r.events = nil
	for p.Offset > 0 {
		e := r.ever[nameOf(p)]
		r.events, p = append(r.events, e), store.Position{Offset: p.Offset - 1, Nonce: e.Prev}
	}
	slices.Reverse(r.events)
	r.base, r.kept = p.Nonce, min(len(r.events), capacity)
}

func (r *fakeRedis) history() store.History {
	h := store.History{Tip: store.Tip{Base: r.base, Position: store.Position{Nonce: r.base}}}
	if n := len(r.events); n > 0 {
		h.Tip.Position, h.Events = r.events[n-1].Position, r.events[n-r.kept:]
	}
	return h
}

// step carries out a step that changes what is stored. ok is false if it is none of these.
func (r *fakeRedis) step(words []string, capacity int) (ok bool) {
	switch command, args := words[0], words[1:]; command {
	case "store":
		for _, name := range args {
			r.store(name, capacity)
		}
	case "restore":
		r.restore(args[0], capacity)
	case "empty":
		r.events, r.kept, r.base = nil, 0, positionOf("0"+args[0]).Nonce
	case "trim":
		r.kept = number(args[0])
	case "size":
		r.size = number(args[0])
	default:
		return false
	}
	return true
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return n
}

// told is an encoder that writes down what a connected client is told.
type told struct {
	strings.Builder
	id string // of the frame that is being encoded
}

func (c *told) note(format string, args ...any) { fmt.Fprintf(c, format+"\n", args...) }

func (c *told) ID(dst, id []byte) []byte {
	c.id = nameOfID(id)
	return append(dst, 'i')
}

func (c *told) Event(dst []byte, e store.Event) []byte {
	c.note("event %s", nameOf(e.Position))
	if c.id != nameOf(e.Position) {
		c.note("with the id of %s", c.id)
	}
	return append(dst, 'e')
}

func (c *told) Gap(dst []byte, _ string, reason store.Reason) []byte {
	c.note("gap %s, client at %s", reason, c.id)
	return append(dst, 'g')
}

func (c *told) Position(dst, id []byte) []byte {
	c.note("client at %s", nameOfID(id))
	return append(dst, 'p')
}

func nameOfID(id []byte) string {
	parsed := store.ParseEventID(string(id), []string{"orders"})
	if !parsed.Known[0] {
		return "no place"
	}
	return nameOfPlace(parsed.Places[0])
}

// channelScript is the system of the channel's transcripts: a Redis, a channel, and a client that is connected to it.
type channelScript struct {
	*fakeRedis
	channel *channel
	client  *told

	epoch   int // of the newest reading
	reading *store.History
	asked   int // the epoch in which the newest client asked
	check   int // for endVerifying
}

func newChannelScript(rule kind.Rule) *channelScript {
	s := &channelScript{fakeRedis: newFakeRedis(), channel: newChannel("orders", rule), client: &told{}}
	s.channel.feed(s.client, 1<<30, &shared{})
	return s
}

// The steps of testdata/channel, beside those of fakeRedis (store, restore, empty, trim, size):
//
//	rule capacity=N|latest     the channel's rule; the first step of a file
//	announce EVENT...          announcements arrive
//	publish EVENT...           store and announce
//	subscribed, lost           the listener says so
//	read                       reads Redis for the next synchronise, which reads by itself otherwise
//	synchronise                one call
//	compare                    the comparison with Redis in rounds
//	verify, verified           Redis is asked where the channel stands, and has answered
//	resume PLACE               a client comes back; PLACE may be as in placeOf, or rubbish
//	resume PLACE again         it asks again, after what it needed was provided
//	connect N                  a client comes the first time and wants N events
//	load                       reads older events from Redis
//	memory                     which events are kept in memory
func TestTranscriptsOfAChannel(t *testing.T) {
	transcript.Run(t, "testdata/channel", func(t *testing.T) func([]string) string {
		var s *channelScript
		return func(words []string) string {
			if words[0] == "rule" {
				rule := kind.Rule{Capacity: 1, Latest: words[1] == "latest"}
				if capacity, ok := strings.CutPrefix(words[1], "capacity="); ok {
					rule.Capacity = number(capacity)
				}
				s = newChannelScript(rule)
				return ""
			}
			if s.fakeRedis.step(words, s.channel.rule.Capacity) {
				return ""
			}
			s.client.Reset()
			s.step(t, words[0], words[1:])
			return s.client.String()
		}
	})
}

// step carries out a step and notes what came of it.
func (s *channelScript) step(t *testing.T, command string, args []string) {
	c := s.channel
	switch command {
	case "announce", "publish":
		for _, name := range args {
			if command == "publish" {
				s.store(name, c.rule.Capacity)
			}
			c.announced(s.ever[name])
		}
	case "subscribed":
		c.setSubscribed()
	case "lost":
		c.setLost()
	case "read":
		s.read()
		return
	case "synchronise":
		s.synchronise(t)
	case "compare":
		if c.beginCompare() {
			c.compare(s.history().Tip)
		}
	case "verify":
		s.check, _ = c.beginVerifying(time.Now())
		s.read()
	case "verified":
		c.endVerifying(s.check, s.reading.Tip)
		s.reading = nil
	case "resume", "connect":
		s.ask(command, args)
		return
	case "load":
		stale, err := c.load(t.Context(), func() (store.History, error) { return s.history(), nil })
		switch {
		case err != nil:
			t.Fatal(err)
		case stale:
			s.client.note("the channel must be synchronised first")
		}
		return
	case "memory":
		s.client.note("%s", namesOf(c.history.Events))
		return
	default:
		t.Fatalf("unknown step %q", command)
	}
	s.noteState()
}

func (s *channelScript) read() {
	s.epoch, _ = s.channel.staleEpoch()
	h := s.history()
	s.reading = &h
}

func (s *channelScript) synchronise(t *testing.T) {
	if s.reading == nil {
		s.read()
	}
	h := *s.reading
	s.reading = nil
	again, err := s.channel.synchronise(s.epoch, h.Tip, func() (store.History, error) { return h, nil })
	if err != nil {
		t.Fatal(err)
	}
	if again {
		s.client.note("again")
	}
}

// ask notes what a client gets that resumes or connects.
func (s *channelScript) ask(command string, args []string) {
	c := s.channel
	place := resumePoint{resume: command == "resume"}
	switch {
	case !place.resume:
		place.replay = number(args[0])
	case args[0] != "rubbish":
		place.at, place.known = placeOf(args[0]), true
	}
	if args[len(args)-1] != "again" {
		s.asked, _ = c.staleEpoch()
	}
	place.epoch = s.asked
	p, missing := c.replay(place)
	switch missing {
	case needOlder:
		s.client.note("older events must be loaded first")
		return
	case needVerification:
		s.client.note("the channel must be synchronised first: another replica may know this place")
		return
	}
	if p.gap != "" {
		s.client.note("gap %s", p.gap)
	}
	s.client.note("from %s: %s", nameOfPlace(p.from), namesOf(p.events))
}

func (s *channelScript) noteState() {
	c := s.channel
	state := map[state]string{lost: "lost", subscribed: "subscribed", live: "live"}[c.state]
	if c.begun {
		state += " at " + nameOf(c.history.Tip.Position)
	}
	if len(c.pending) > 0 {
		state += ", pending " + namesOf(c.pending)
	}
	if c.pendingLost {
		state += ", too many pending"
	}
	s.client.note("%s", state)
}

// The steps of testdata/trail, beside those of fakeRedis:
//
//	delivered EVENT...    a client had them; EVENT may be FROM..TO, such as 1a..9a
//	rewind                Redis is another one: the newest common event, after which all are abandoned
//	come back             Redis is at a branch that was left
//	learn                 the history is read: it may have older events than the trail
//	translate PLACE...    where a client goes on that was at PLACE
//	has EVENT...          which of these were delivered on the valid branch
//	begin                 the channel began anew
//	length                how many positions are remembered
func TestTranscriptsOfATrail(t *testing.T) {
	transcript.Run(t, "testdata/trail", func(t *testing.T) func([]string) string {
		r, past := newFakeRedis(), &trail{}
		past.add(positionOf("0a"))
		return func(words []string) string {
			if r.step(words, 1<<20) {
				return ""
			}
			var out []string
			switch command, args := words[0], words[1:]; command {
			case "delivered":
				for _, p := range places(args) {
					past.add(p)
				}
			case "rewind":
				common, ok := past.rewind(r.history())
				if !ok {
					return "nothing in common"
				}
				return "to " + nameOf(common)
			case "translate":
				for _, name := range args {
					out = append(out, name+" is "+nameOfPlace(past.translate(placeOf(name))))
				}
			case "has":
				for _, p := range places(args) {
					if past.has(p) {
						out = append(out, nameOf(p))
					}
				}
				if out == nil {
					return "none"
				}
			case "begin":
				past.begin(r.history())
			case "come":
				past.comeBack(r.history())
			case "learn":
				past.learn(r.history())
			case "length":
				return fmt.Sprint(len(past.recent()))
			default:
				t.Fatalf("unknown step %q", command)
			}
			return strings.Join(out, "\n")
		}
	})
}

// places returns the positions of names and ranges of names.
func places(names []string) (all []store.Position) {
	for _, name := range names {
		from, to, isRange := strings.Cut(name, "..")
		if !isRange {
			to = from
		}
		branch := strings.TrimLeft(from, "0123456789")
		for i := positionOf(from).Offset; i <= positionOf(to).Offset; i++ {
			all = append(all, positionOf(fmt.Sprint(i, branch)))
		}
	}
	return all
}
