package main

import (
	"net/url"
	"strings"
	"testing"
	"time"
)

// newStranger returns a stranger that knows one client, which has an id.
func newStranger(t *testing.T) *stranger {
	t.Helper()
	c := newClient("client", &targets{}, 0, func() time.Duration { return 0 })
	c.path, c.channels, c.several, c.last = "/api/sse", []string{"chaos.a", "chaos.b"}, true, "mAAAAAAAAAAAAAAAAAAAAAAAA"
	return &stranger{run: &run{clients: []*client{c}, channels: channelNames()}, dice: newDice(1, "stranger"), serial: 100}
}

func TestAMadeUpNameIsNeverThatOfAChannelWithEvents(t *testing.T) {
	s := newStranger(t)
	seen := map[string]bool{}
	for range 100 {
		name := s.name()
		if !strings.HasPrefix(name, madeUpMark) || seen[name] {
			t.Fatalf("made up %q", name)
		}
		seen[name] = true
	}
	for _, channel := range channelNames() {
		if strings.Contains(channel, madeUpMark) {
			t.Errorf("the keys of %s would count as written for readers", channel)
		}
	}
}

func TestAMadeUpIDLooksLikeOneThatAClientHas(t *testing.T) {
	s := newStranger(t)
	const id = "17-abcdefghij"
	others := 0
	for range 50 {
		made := s.change(id)
		if len(made) != len(id) || !strings.HasPrefix(made, id[:4]) {
			t.Fatalf("%q became %q", id, made)
		}
		if made != id {
			others++
		}
	}
	if others < 40 {
		t.Errorf("%d of 50 ids are others than the real one", others)
	}
	if s.change("") != "" {
		t.Error("a client without an id has given one")
	}
}

func TestStrangersAskForEverythingThatNeedsNoPublisher(t *testing.T) {
	s := newStranger(t)
	asked := map[string]bool{}
	for range 200 {
		path, _ := s.think()
		at, err := url.Parse(path)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case strings.HasPrefix(at.Path, "/api/sse/progress/"):
			asked["a task"] = true
		case strings.HasPrefix(at.Path, "/api/sse/channels/"+madeUpMark):
			asked["a made-up channel"] = true
		case at.Path == "/api/sse" && strings.Count(at.Query().Get("channels"), madeUpMark) == mostChannels:
			asked["as many made-up channels as possible"] = true
		case at.Path == "/api/sse" && at.Query().Get("channels") == "chaos.a,chaos.b":
			asked["a real client's stream"] = true
		case strings.HasPrefix(at.Path, "/api/channels/"+madeUpMark):
			asked["a made-up history"] = true
		case strings.HasPrefix(at.Path, "/api/channels/chaos"):
			asked["a real history"] = true
		default:
			t.Errorf("asked for %s", path)
		}
	}
	if len(asked) != 6 {
		t.Errorf("asked for %v only", asked)
	}
}
