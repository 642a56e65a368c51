package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/launchdarkly/eventsource"
	r3labs "github.com/r3labs/sse/v2"
	"github.com/tmaxmax/go-sse"

	"sluice/cmd/internal/rig"
)

// A foreign is a client that others wrote, used as its documentation shows.
type foreign struct {
	name   string
	absent error // why this machine cannot run it
	// leftovers: when a connection breaks, the client hands over the lines since the last block as an event without data.
	// A heartbeat is such a line, and so is the retry time at the end of a drained stream. Its user must leave out what has
	// no data.
	leftovers bool
	// follow opens a stream and hands everything to f. It returns when the client has stopped by itself, or ctx ends.
	follow func(ctx context.Context, address string, f *follower)
}

// chromium is the client whose failed attempts to connect are known.
const chromium = "Chromium"

// foreigners returns all clients. b is nil where there is no browser.
func foreigners(group *rig.Group, b *browser) []foreign {
	all := []foreign{
		{name: "Go: tmaxmax/go-sse", follow: followGoSSE},
		{name: "Go: launchdarkly/eventsource", follow: followLaunchDarkly},
		{name: "Go: r3labs/sse", follow: followR3labs, leftovers: true},
	}
	node, absent := nodeClients()
	for _, name := range []string{"eventsource", "eventsource-client", "reconnecting-eventsource", "fetch-event-source"} {
		all = append(all, foreign{name: "npm: " + name, absent: absent, follow: func(ctx context.Context, address string, f *follower) {
			if err := followNode(ctx, group, node, name, address, f); err != nil {
				f.stopped(err.Error())
			}
		}})
	}
	_, absent = rig.Find("chromium")
	return append(all, foreign{name: chromium, absent: absent, follow: func(ctx context.Context, address string, f *follower) {
		if err := followChromium(ctx, b, address, f); err != nil {
			f.stopped(err.Error())
		}
	}})
}

// handed is one event that a client handed to its user.
type handed struct {
	Event string // "message": it has no name
	ID    string
	Data  string
}

// follower is the user of a foreign client. It is safe for concurrent use.
type follower struct {
	client foreign

	mu     sync.Mutex
	all    []handed  // guarded by mu
	end    string    // why the client has stopped by itself; guarded by mu
	errors []float64 // when attempts to connect failed, in milliseconds; only a page tells; guarded by mu
}

// take notes an event.
func (f *follower) take(event, id, data string) {
	if event == "" {
		event = "message"
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, handed{event, id, data})
}

// failed notes that an attempt to connect failed.
func (f *follower) failed(at float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errors = append(f.errors, at)
}

// failures returns when attempts to connect failed.
func (f *follower) failures() []float64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.errors)
}

// stopped notes that the client has stopped by itself.
func (f *follower) stopped(why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end = why
}

// events returns what the client handed over so far, but for positions and known leftovers.
func (f *follower) events() []handed {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []handed
	for _, h := range f.all {
		if h.Event != "position" && (h.Data != "" || !f.client.leftovers) {
			all = append(all, h)
		}
	}
	return all
}

// begun reports whether the client has handed anything over, a position too.
func (f *follower) begun() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.all) > 0
}

// ended says why the client has stopped by itself; "" if it has not.
func (f *follower) ended() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.end
}

func followGoSSE(ctx context.Context, address string, f *follower) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		f.stopped(err.Error())
		return
	}
	connection := sse.NewConnection(req)
	connection.SubscribeToAll(func(e sse.Event) { f.take(e.Type, e.LastEventID, e.Data) })
	f.stopped(fmt.Sprint(connection.Connect()))
}

// followLaunchDarkly closes the stream at a 204, which this client takes for an error like any other, and tries again.
func followLaunchDarkly(ctx context.Context, address string, f *follower) {
	stream, err := eventsource.SubscribeWithURL(address, eventsource.StreamOptionErrorHandler(func(err error) eventsource.StreamErrorHandlerResult {
		refused, ok := errors.AsType[eventsource.SubscriptionError](err)
		return eventsource.StreamErrorHandlerResult{CloseNow: ok && refused.Code == http.StatusNoContent}
	}))
	if err != nil {
		f.stopped(err.Error())
		return
	}
	defer context.AfterFunc(ctx, stream.Close)()
	for e := range stream.Events {
		f.take(e.Event(), e.Id(), e.Data())
	}
	f.stopped("the channel of events was closed")
}

func followR3labs(ctx context.Context, address string, f *follower) {
	err := r3labs.NewClient(address).SubscribeRawWithContext(ctx, func(e *r3labs.Event) {
		f.take(string(e.Event), string(e.ID), string(e.Data))
	})
	f.stopped(fmt.Sprint(err))
}

// clientsFolder holds the clients from npm, and the script that runs them.
const clientsFolder = "testdata/clients"

// nodeClients returns the path of node, or why the clients from npm cannot run.
func nodeClients() (node string, err error) {
	if node, err = rig.Find("node"); err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(clientsFolder, "node_modules")); err != nil {
		return "", fmt.Errorf("the packages are missing: run npm ci in cmd/gateway/%s", clientsFolder)
	}
	return node, nil
}

// followNode runs client.js.
func followNode(ctx context.Context, group *rig.Group, node, name, address string, f *follower) error {
	script, err := filepath.Abs(filepath.Join(clientsFolder, "client.js"))
	if err != nil {
		return err
	}
	p, err := group.Start(rig.Command{Name: name, Path: node, Args: []string{script, name, address}, Pipes: true, Env: rig.Environment()})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = p.Kill() })()
	for lines := bufio.NewScanner(p.Out); lines.Scan(); {
		var line struct{ Event, ID, Data, End string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("%s printed %q: %w", name, lines.Text(), err)
		}
		if line.End != "" {
			f.stopped(line.End)
		} else {
			f.take(line.Event, line.ID, line.Data)
		}
	}
	if ctx.Err() == nil && f.ended() == "" {
		text, _ := p.Log()
		return fmt.Errorf("%s ended: %s", name, text)
	}
	return nil
}

// followChromium opens the stream with a page's EventSource. It returns when ctx ends.
func followChromium(ctx context.Context, b *browser, address string, f *follower) error {
	heard := make(chan []byte, 10_000)
	tab, closeTab := chromedp.NewContext(b.ctx, chromedp.WithListener(func(event any) {
		if call, ok := event.(*runtime.EventConsoleAPICalled); ok {
			heard <- call.Args[0].Value
		}
	}))
	defer closeTab()
	page, err := url.Parse(address)
	if err != nil {
		return err
	}
	page.Path, page.RawQuery = "/api/notifications", "" // any page of the same origin that opens no stream itself
	if err := chromedp.Do(tab, chromedp.Navigate(page.String()), chromedp.Evaluate[chromedp.Void](fmt.Sprintf(eventSourcePage, address))); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case value := <-heard:
			text := ""
			if err := json.Unmarshal(value, &text); err != nil {
				return fmt.Errorf("the page printed %s: %w", value, err)
			}
			var line struct {
				Event, ID, Data string
				Failed          float64
				Closed          bool
			}
			if err := json.Unmarshal([]byte(text), &line); err != nil {
				return fmt.Errorf("the page printed %s: %w", text, err)
			}
			switch {
			case line.Closed:
				f.stopped("closed")
			case line.Failed > 0:
				f.failed(line.Failed)
			default:
				f.take(line.Event, line.ID, line.Data)
			}
		}
	}
}

// eventSourcePage opens a stream and prints every call of the page's functions. onmessage is the function that a tutorial
// uses.
const eventSourcePage = `{
	const source = new EventSource(%q);
	const print = (event) => (e) => console.log(JSON.stringify({event, id: e.lastEventId, data: e.data}));
	source.onmessage = print("message");
	for (const event of ["position", "gap"]) source.addEventListener(event, print(event));
	source.onerror = () => console.log(JSON.stringify({failed: performance.now(), closed: source.readyState === EventSource.CLOSED}));
}`
