package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sluice/cmd/sim/internal/world"
)

// bug is a mistake that is planted into a copy of the product's code, so that it can be seen whether worlds find it.
type bug struct {
	name  string
	what  string
	edits []edit
	with  []string // faults that a world needs so that the bug can show; none: any
}

// edit replaces a text that must stand in a file exactly once.
type edit struct{ file, old, new string }

// bugs are the planted ones. Who moves or rewrites the code of one has to move its anchor; a test says so.
var bugs = []bug{
	{"dedupe", "an event that was delivered already is delivered again", []edit{{
		"pubsub/channel.go", "		return ignore\n", "		return deliver\n",
	}}, nil},
	{"rewind", "Redis that comes back older ends in a gap, not at the last common event", []edit{{
		"pubsub/catchup.go", "if common, ok := past.rewind(theirs); ok {", "if common, ok := past.rewind(theirs); ok && false {",
	}}, nil},
	{"gap", "what was trimmed is passed over without a word", []edit{{
		"store/history.go", "return h.Events, Trimmed", `return h.Events, ""`,
	}}, nil},
	{"claim", "a raw message is claimed only after it was stored, in a second step", []edit{
		{
			"store/lua/adopt.lua", "local claims = {{key = adopted, value = newest, ttl = adoptedTTL, before = claim}}\n",
			"local claims = {}\n",
		},
		{
			"store/adopt.go", "	a, err := adoptReply(reply)\n",
			"	s.rdb.Set(ctx, keys[2], first+uint64(len(messages))-1, adoptedTTL)\n	a, err := adoptReply(reply)\n",
		},
	}, nil},
	{"presentations", "the first of several raw messages is presented after the others", []edit{{
		"pubsub/ingest/backlog.go", "	return slices.Clone(b.messages[from:end])\n",
		"	return slices.Clone(b.messages[min(from+1, max(end-1, from)):end])\n",
	}}, nil},
	{"fence", "a channel is compared with Redis before what is under way has arrived", []edit{
		{"pubsub/sync.go", "	if err := b.listener.Fence(ctx); err != nil {", "	if err := error(nil); err != nil {"},
		{"pubsub/sync.go", "		return h, b.listener.Fence(ctx)\n", "		return h, nil\n"},
	}, []string{"messages of Redis arrived late"}},
	{"stale", "a position read before the connection was lost counts after it", []edit{{
		"pubsub/channel_sync.go", "	if c.state != subscribed || c.epoch != epoch {\n", "	if c.state != subscribed {\n",
	}}, []string{"subscribers killed", "replies of Redis arrived late"}},
	{"trim", "one event too many is kept", []edit{{
		"store/lua/add.lua", "0, channel.rule.capacity - 1)", "0, channel.rule.capacity)",
	}}, nil},
	{"resume", "a client that comes back misses the first event", []edit{{
		"store/history.go", "return h.Events[p.Offset-floor.Offset:], \"\"",
		"return h.Events[min(p.Offset-floor.Offset+1, uint64(len(h.Events))):], \"\"",
	}}, nil},
	{"wakeup", "channels that could not be read are not tried again", []edit{{
		"pubsub/sync.go", "		y.failed = append(y.failed, job)\n", "",
	}}, nil},
}

func bugNames() string {
	var names []string
	for _, b := range bugs {
		names = append(names, b.name)
	}
	return strings.Join(names, ", ")
}

// plant returns the files of a bug as they are with it, by path; none for the name "".
func plant(ctx context.Context, name string) (map[string]string, error) {
	if name == "" {
		return nil, nil
	}
	i := slices.IndexFunc(bugs, func(b bug) bool { return b.name == name })
	if i < 0 {
		return nil, fmt.Errorf("no bug %q; there are: %s", name, bugNames())
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, e := range bugs[i].edits {
		text, read := files[e.file]
		if !read {
			b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(e.file)))
			if err != nil {
				return nil, fmt.Errorf("bug %s: %w", name, err)
			}
			text = string(b)
		}
		if n := strings.Count(text, e.old); n != 1 {
			return nil, fmt.Errorf("bug %s: %s has %q %d times, not once: the code has changed, and this table must follow",
				name, e.file, e.old, n)
		}
		files[e.file] = strings.Replace(text, e.old, e.new, 1)
	}
	return files, nil
}

// hunt plants a bug and runs worlds until one fails. It returns the number of worlds and the one that failed, if any.
func hunt(ctx context.Context, name string, o options) (worlds int, found *world.Result, err error) {
	files, err := plant(ctx, name)
	if err != nil {
		return 0, nil, err
	}
	wasm, err := build(ctx, files)
	if err != nil {
		return 0, nil, err
	}
	m, err := newMachine(ctx, wasm)
	if err != nil {
		return 0, nil, err
	}
	defer m.close(ctx)
	o.most, o.to = o.budget, 1<<62
	i := slices.IndexFunc(bugs, func(b bug) bool { return b.name == name })
	if o.with, err = kindsOf(strings.Join(bugs[i].with, ",")); err != nil {
		return 0, nil, err
	}
	t := &totals{faults: map[world.Kind]faultTotal{}}
	err = t.runMany(ctx, m, o, true, func() {})
	if len(t.failed) > 0 {
		found = &t.failed[0]
	}
	return t.worlds, found, err
}

// huntAll looks for each planted bug. ok is false if one was not found.
func huntAll(ctx context.Context, o options, out io.Writer) (ok bool, err error) {
	ok = true
	fmt.Fprintf(out, "| bug | what | worlds to find it | seconds | found as |\n| --- | --- | ---: | ---: | --- |\n")
	for _, b := range bugs {
		began := time.Now()
		worlds, found, err := hunt(ctx, b.name, o)
		if err != nil {
			return false, err
		}
		as := "NOT FOUND"
		if found != nil {
			as = fmt.Sprintf("%v (seed %d)", found.Verdict.Counts, found.Seed)
		}
		ok = ok && found != nil
		fmt.Fprintf(out, "| %s | %s | %d | %.0f | %s |\n", b.name, b.what, worlds, time.Since(began).Seconds(), as)
	}
	return ok, nil
}
