package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/cmd/internal/judge"
	"sluice/cmd/internal/rig"
)

// historyKey is the name of a channel's list in Redis, as the README documents it.
func historyKey(channel string) string { return "sluice:history:{" + channel + "}" }

// readList returns the newest n events of a channel's history, oldest first. With n = 0 it returns all.
func readList(ctx context.Context, rdb *redis.Client, channel string, n int64) ([]judge.Event, error) {
	lines, err := rdb.LRange(ctx, historyKey(channel), 0, n-1).Result()
	if err != nil {
		return nil, fmt.Errorf("read the list of %s: %w", channel, err)
	}
	out := make([]judge.Event, 0, len(lines))
	for _, line := range lines {
		var e envelope
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.ID == "" {
			return nil, fmt.Errorf("the list of %s holds something that is not an event: %.100s", channel, line)
		}
		out = append(out, judge.Event{ID: e.ID, Type: e.Type, Data: judge.Compact(e.Data)})
	}
	slices.Reverse(out)
	return out, nil
}

// readView returns a channel's history as a replica shows it. It reads page after page, each beginning behind the last
// event of the page before. The wanted history gives the position to begin with, its first event, and says how many
// events there should be.
func readView(ctx context.Context, replica, channel string, want []judge.Event) ([]judge.Event, error) {
	if channel == notifications {
		return readInbox(ctx, replica)
	}
	if len(want) == 0 {
		return nil, nil
	}
	out := want[:1:1]
	for len(out) <= len(want) { // one page more than needed, to find events that the list does not have
		after := out[len(out)-1].ID
		page, err := readPage(ctx, fmt.Sprintf("%s/api/channels/%s/events?after=%s&limit=500",
			replica, url.PathEscape(channel), url.QueryEscape(after)))
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			break
		}
		out = append(out, page...)
	}
	return out, nil
}

func readPage(ctx context.Context, address string) ([]judge.Event, error) {
	var page struct{ Events []envelope }
	if err := readJSON(ctx, address, &page); err != nil {
		return nil, err
	}
	var out []judge.Event
	for _, e := range page.Events {
		out = append(out, judge.Event{ID: e.ID, Type: e.Type, Data: judge.Compact(e.Data)})
	}
	return out, nil
}

// readInbox returns the ids of the notifications, oldest first.
func readInbox(ctx context.Context, replica string) ([]judge.Event, error) {
	var inbox struct{ Notifications []struct{ ID string } }
	if err := readJSON(ctx, replica+"/api/notifications", &inbox); err != nil {
		return nil, err
	}
	var out []judge.Event
	for _, n := range slices.Backward(inbox.Notifications) {
		out = append(out, judge.Event{ID: n.ID})
	}
	return out, nil
}

// readJSON decodes what a URL is answered with.
func readJSON(ctx context.Context, address string, to any) error {
	text, err := rig.Get(ctx, address)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, to); err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	return nil
}

// witness reads the lists all the time. So it knows the events that are trimmed later.
type witness struct {
	redis *redis.Client
	trim  int // how many events a list keeps

	mu   sync.Mutex
	logs map[string][]judge.Event // guarded by mu
	err  error                    // events may have been trimmed before they were seen; guarded by mu
}

const (
	witnessPause  = 25 * time.Millisecond // between two looks at a list
	witnessGlance = 16                    // events of a first look
)

// run reads the lists of the channels until ctx ends.
func (w *witness) run(ctx context.Context, channels []string) {
	tick := time.NewTicker(witnessPause)
	defer tick.Stop()
	for {
		for _, channel := range channels {
			w.look(ctx, channel)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look adds what is new in a channel's list. Mostly the newest few events are enough; otherwise it reads the whole
// list.
func (w *witness) look(ctx context.Context, channel string) {
	for _, n := range []int64{witnessGlance, 0} {
		list, err := readList(ctx, w.redis, channel, n)
		if err != nil {
			return // Redis does not answer now; the next look finds out whether events were missed
		}
		if w.add(channel, list, n == 0) {
			return
		}
	}
}

// add appends what is new in a list. It reports whether the list reaches back to the newest event that is known, so
// that nothing is missing between them. If even the whole list does not, events were trimmed before the witness saw
// them, and the witness has failed.
func (w *witness) add(channel string, list []judge.Event, whole bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	known := w.logs[channel]
	switch {
	case len(known) > 0:
		at := slices.IndexFunc(list, func(e judge.Event) bool { return e.ID == known[len(known)-1].ID })
		if at < 0 && !whole {
			return false
		}
		if at < 0 {
			w.err = fmt.Errorf("the witness was too slow for channel %s: use a lower -rate", channel)
		}
		list = list[at+1:]
	case !whole && len(list) == witnessGlance:
		return false
	case len(list) == w.trim:
		w.err = fmt.Errorf("the witness came too late for channel %s", channel)
	}
	w.logs[channel] = append(known, list...)
	return true
}
