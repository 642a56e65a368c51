package store

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	pageEvents = 256 // that one reading takes at most: Redis does nothing else meanwhile
	maxInt     = int(^uint(0) >> 1)
)

var (
	//go:embed lua/read.lua
	readLua    string
	readScript = redis.NewScript(readLua)
)

// readArgs say which part of a history is read. Each has the meaning that the header of read.lua gives it; 0 stands for ”.
type readArgs struct {
	newest, oldest uint64
	most           int
}

func (a readArgs) argv() []any {
	text := func(offset uint64) string {
		if offset == 0 {
			return ""
		}
		return strconv.FormatUint(offset, 10)
	}
	return []any{text(a.newest), text(a.oldest), a.most}
}

// excerpt is a part of a channel's list, and the tip of the same moment.
type excerpt struct {
	tip   Tip // its Base is zero if Redis has neither the channel nor an epoch
	first uint64
	texts []string // newest first
	end   bool     // nothing comes after them in the list
}

// read reads a part of a channel's history.
func (s *Store) read(ctx context.Context, channel string, a readArgs) (excerpt, error) {
	keys := []string{s.names.history(channel), s.names.meta(channel)}
	p := s.rdb.Pipeline()
	cmd, asked := readScript.EvalSha(ctx, p, keys, a.argv()...), s.epochOf(ctx, p, channel)
	_, failed := p.Exec(ctx)
	if err := cmd.Err(); err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") {
		p = s.rdb.Pipeline()
		cmd, asked = readScript.Eval(ctx, p, keys, a.argv()...), s.epochOf(ctx, p, channel)
		_, failed = p.Exec(ctx)
	}
	if failed != nil && !errors.Is(failed, redis.Nil) {
		return excerpt{}, fmt.Errorf("read history of channel %q: %w", channel, failed)
	}
	x, err := s.readReply(channel, cmd, s.epochFrom(asked))
	if err != nil {
		return excerpt{}, fmt.Errorf("read history of channel %q: %w", channel, err)
	}
	x.end = len(x.texts) < a.most
	return x, nil
}

// readReply decodes the reply of read.lua.
func (s *Store) readReply(channel string, cmd *redis.Cmd, epoch *Epoch) (excerpt, error) {
	reply, err := cmd.Slice()
	if err != nil {
		return excerpt{}, err
	}
	n := len(tipFields)
	if len(reply) != n+2 {
		return excerpt{}, fmt.Errorf("read.lua answered %v", reply)
	}
	first, ok1 := reply[n].(int64)
	list, ok2 := reply[n+1].([]any)
	if !ok1 || !ok2 {
		return excerpt{}, fmt.Errorf("read.lua answered %v", reply)
	}
	x := excerpt{first: uint64(first), texts: make([]string, len(list))}
	for i, text := range list {
		x.texts[i], _ = text.(string)
	}
	switch x.tip, err = parseTip(reply[:n]); {
	case err == nil:
		x.tip.Epoch = epoch
	case !errors.Is(err, errNoMeta):
		return excerpt{}, err
	case epoch != nil:
		x.tip, x.texts = epoch.Empty(channel), nil
	default:
		x.tip, x.texts = Tip{}, nil
	}
	return x, nil
}

// events returns the events of an excerpt that lead to next, newest first: each is the predecessor of the one before it. whole
// is true if nothing else is in the excerpt.
func (x excerpt) events(channel string, next Position) (events []Event, whole bool) {
	whole = true
	for _, text := range x.texts {
		e, err := parseEvent(channel, []byte(text))
		switch {
		case err != nil, e.Position.Offset > next.Offset:
			whole = false // another program has pushed it, or such an entry above has moved this one
			continue
		case e.Position != next:
			return events, false
		}
		events = append(events, e)
		next = e.Before()
	}
	return events, whole
}

// Before returns the position of the event before it, or the place before the first event.
func (e Event) Before() Position { return Position{Offset: e.Position.Offset - 1, Nonce: e.Prev} }

// History returns all that is stored of a channel. A channel without events gets the zero History while Redis has no epoch
// ([ErrNoEpoch]).
func (s *Store) History(ctx context.Context, channel string) (History, error) {
	return s.Newest(ctx, channel, maxInt)
}

// Newest returns the tip of a channel and its newest n events, or as many as are stored. It reads no more than that, in pages,
// so that Redis can do something else between two of them. A list in which another program has pushed or removed entries is
// read as a whole, by the ids of its events.
func (s *Store) Newest(ctx context.Context, channel string, n int) (History, error) {
	x, err := s.read(ctx, channel, readArgs{most: min(n, pageEvents)})
	if err != nil {
		return History{}, err
	}
	h, tip := History{Tip: x.tip}, x.tip.Position.Offset
	next := x.tip.Position
	for {
		events, whole := x.events(channel, next)
		if !whole && len(x.texts) > 0 {
			return s.readByIDs(ctx, channel, n)
		}
		h.Events = append(h.Events, events...)
		if len(events) > 0 {
			next = events[len(events)-1].Before()
		}
		if x.end || len(h.Events) >= n || next.Offset == 0 {
			break
		}
		if x, tip, err = s.further(ctx, channel, tip, next.Offset, min(n-len(h.Events), pageEvents)); err != nil {
			return History{}, err
		}
	}
	slices.Reverse(h.Events)
	return h, nil
}

// further reads on from an offset, as read does for less of Redis's time: a script takes twice as long for many events. tip is
// the offset of the channel's newest event at the reading before; it returns the one of now. Events that were pushed meanwhile
// have moved those that are wanted, so the excerpt has as many of the ones before them; they are dropped.
func (s *Store) further(ctx context.Context, channel string, tip, offset uint64, most int) (excerpt, uint64, error) {
	p := s.rdb.Pipeline()
	first := int64(tip - offset)
	list := p.LRange(ctx, s.names.history(channel), first, first+int64(most)-1)
	meta := p.HMGet(ctx, s.names.meta(channel), tipFields...)
	if _, err := p.Exec(ctx); err != nil {
		return excerpt{}, 0, fmt.Errorf("read history of channel %q: %w", channel, err)
	}
	now, err := parseTip(meta.Val())
	if err != nil || now.Position.Offset < tip { // Redis has lost the channel meanwhile: nothing leads to the offset
		return excerpt{texts: []string{""}}, tip, nil //nolint:nilerr // reading by ids tells what is wrong
	}
	texts := list.Val()
	newer := func() bool {
		e, unreadable := parseEvent(channel, []byte(texts[0]))
		return unreadable == nil && e.Position.Offset > offset
	}
	end := len(texts) < most
	for len(texts) > 0 && newer() {
		texts = texts[1:]
	}
	return excerpt{texts: texts, end: end}, now.Position.Offset, nil
}

// readByIDs is Newest for a list in which the index of an event does not tell its offset.
func (s *Store) readByIDs(ctx context.Context, channel string, n int) (History, error) {
	x, err := s.read(ctx, channel, readArgs{most: 1 << 30})
	if err != nil {
		return History{}, err
	}
	events, _ := x.events(channel, x.tip.Position)
	events = events[:min(n, len(events))]
	slices.Reverse(events)
	return History{Tip: x.tip, Events: events}, nil
}

// Page is a part of a channel's events.
type Page struct {
	Tip    Tip
	Events []Event // oldest first
	Gap    Reason  // why events are missing before the first of them; empty: none are
}

// After returns at most n events that come after p, the oldest of them. If some of them are missing, Page.Gap says why, and the
// events are the oldest that are stored. It reads no more than that, as Newest does.
func (s *Store) After(ctx context.Context, channel string, p Position, n int) (Page, error) {
	page := Page{}
	switch err := s.goOn(ctx, channel, p, n, &page); {
	case errors.Is(err, errIndex):
		h, err := s.readByIDs(ctx, channel, maxInt)
		events, gap := h.After(h.Resolve(channel, s.keep(channel), p))
		return Page{Tip: h.Tip, Events: events[:min(n, len(events))], Gap: gap}, err
	case !errors.Is(err, errNotThere):
		return page, err
	case len(page.Events) > 0:
		return page, nil // what Redis has lost since the first events were read is told to whoever asks for more
	}
	page, err := s.Oldest(ctx, channel, n)
	p = page.Tip.Resolve(channel, s.keep(channel), p)
	if page.Gap = Reset; p.Offset < page.floor().Offset && (p.Offset > 0 || p.Nonce == page.Tip.Base) {
		page.Gap = Trimmed
	}
	return page, err
}

// AfterPlace is After for the place of a client. If the client has seen the first of the events already, or nobody can know
// that, the gap is Reset, and the events are the oldest that are stored.
func (s *Store) AfterPlace(ctx context.Context, channel string, p Place, n int) (Page, error) {
	page, err := s.After(ctx, channel, p.Position(), n)
	again := len(page.Events) > 0 && page.Events[0].Position.Nonce.Mark() == p.Left
	if err == nil && p.Left != 0 && (page.Gap == "" && again || page.Gap == Trimmed) {
		page, err = s.Oldest(ctx, channel, n)
		page.Gap = Reset
	}
	return page, err
}

// Oldest returns the oldest n events that are stored of a channel, with the gap Unknown.
func (s *Store) Oldest(ctx context.Context, channel string, n int) (Page, error) {
	x, err := s.read(ctx, channel, readArgs{most: -min(n, pageEvents)})
	if err != nil {
		return Page{}, err
	}
	page := Page{Tip: x.tip, Gap: Unknown}
	if len(x.texts) == 0 {
		return page, nil
	}
	top, err := parseEvent(channel, []byte(x.texts[0]))
	events, whole := x.events(channel, top.Position)
	if err != nil || !whole || top.Position.Offset+x.first != x.tip.Position.Offset {
		h, err := s.readByIDs(ctx, channel, maxInt)
		return Page{Tip: h.Tip, Events: h.Events[:min(n, len(h.Events))], Gap: Unknown}, err
	}
	slices.Reverse(events)
	page.Events = events
	if err = s.goOn(ctx, channel, top.Position, n, &page); errors.Is(err, errIndex) || errors.Is(err, errNotThere) {
		err = nil // whoever asks for more learns of that
	}
	return page, err
}

// goOn appends to a page the events after p, until the page has n. It returns errNotThere if p or a later place is not one of
// the channel's any more, and errIndex if that cannot be seen from a part of the list.
func (s *Store) goOn(ctx context.Context, channel string, p Position, n int, page *Page) error {
	for len(page.Events) < n {
		most := min(n-len(page.Events), pageEvents)
		x, err := s.read(ctx, channel, readArgs{newest: p.Offset + uint64(most), oldest: max(p.Offset, 1), most: most + 1})
		if err != nil {
			return err
		}
		page.Tip = x.tip
		events, err := x.after(channel, x.tip.Resolve(channel, s.keep(channel), p), most)
		if err != nil {
			return err
		}
		page.Events = append(page.Events, events...)
		if len(events) < most {
			break
		}
		p = events[len(events)-1].Position
	}
	return nil
}

var (
	errNotThere = errors.New("the position is not in the list")
	errIndex    = errors.New("an event's index in the list does not tell its offset")
)

// floor returns the place before the oldest event of the page, or the tip.
func (p Page) floor() Position { return History{Tip: p.Tip, Events: p.Events}.Floor() }

// keep returns how long Redis keeps a channel's position.
func (s *Store) keep(channel string) time.Duration { return s.Rule(channel).MetaTTL }

// after returns the events of an excerpt that come after p, oldest first, at most n of them.
func (x excerpt) after(channel string, p Position, n int) ([]Event, error) {
	tip := x.tip.Position
	switch {
	case p == tip:
		return nil, nil
	case p.Offset >= tip.Offset || len(x.texts) == 0:
		return nil, errNotThere
	}
	top, err := parseEvent(channel, []byte(x.texts[0]))
	if err != nil || top.Position.Offset != min(tip.Offset, p.Offset+uint64(n)) {
		return nil, errIndex
	}
	events, whole := x.events(channel, top.Position)
	if !whole {
		return nil, errIndex
	}
	if events[len(events)-1].Position == p {
		events = events[:len(events)-1]
	}
	if len(events) == 0 || events[len(events)-1].Before() != p {
		return nil, errNotThere
	}
	slices.Reverse(events)
	return events, nil
}
