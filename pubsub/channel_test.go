package pubsub

import (
	"context"
	"errors"
	"testing"

	"sluice/store"
	"sluice/store/kind"
)

// subscribedChannel returns a channel that was just subscribed.
func subscribedChannel() *channel {
	c := newChannel("orders", kind.Rule{Capacity: 100})
	c.setSubscribed()
	return c
}

// bring synchronises a channel with what Redis has, as often as it wants, and fails if it never goes live.
func bring(t *testing.T, c *channel, theirs store.History) {
	t.Helper()
	for range 10 {
		epoch, stale := c.staleEpoch()
		if !stale {
			return
		}
		if _, err := c.synchronise(epoch, theirs.Tip, func() (store.History, error) { return theirs, nil }); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("the channel does not become live")
}

func TestEventsAnnouncedBeforeTheFirstReadingDoNotKeepAChannelWaiting(t *testing.T) {
	base := store.NewNonce()
	events := []store.Event{event(store.Event{Position: store.Position{Nonce: base}})}
	for range 5 {
		events = append(events, event(events[len(events)-1]))
	}
	for announced := range events {
		c := subscribedChannel()
		for _, e := range events[announced:] {
			c.announced(e)
		}
		bring(t, c, store.History{Tip: store.Tip{Position: events[5].Position, Base: base}})
		if c.history.Tip.Position != events[5].Position {
			t.Errorf("%d announced: stands at %v", len(events)-announced, c.history.Tip.Position)
		}
	}
}

func TestAnnouncementsOfALostBranchDoNotKeepAChannelWaiting(t *testing.T) {
	base, other := store.NewNonce(), store.NewNonce()
	e1 := event(store.Event{Position: store.Position{Nonce: base}})
	e2 := event(e1)
	e3 := event(e2)
	o1 := event(store.Event{Position: store.Position{Nonce: other}})
	c := subscribedChannel()
	bring(t, c, historyOf(base, 9, e1))
	c.announced(e3) // e2 was missed; and before it can be read, Redis is emptied
	bring(t, c, historyOf(other, 9, o1))
	if c.history.Tip.Position != o1.Position {
		t.Errorf("stands at %v, want %v", c.history.Tip.Position, o1.Position)
	}
	if len(c.pending) != 0 || c.pendingBytes != 0 {
		t.Errorf("%d events (%d bytes) are still pending", len(c.pending), c.pendingBytes)
	}
}

func TestAStreamThatWaitsForTheReadingOfAnotherOneGivesUpWhenItsClientLeaves(t *testing.T) {
	c := newChannel("orders", kind.Rule{Capacity: 10})
	c.begin(store.History{})
	begun, finish, first := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := c.load(t.Context(), func() (store.History, error) {
			close(begun)
			<-finish
			return store.History{}, nil
		})
		first <- err
	}()
	<-begun
	ctx, leave := context.WithCancel(t.Context())
	leave()
	_, err := c.load(ctx, func() (store.History, error) {
		t.Error("the history is read twice")
		return store.History{}, nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of the client's context", err)
	}
	close(finish)
	if err := <-first; err != nil {
		t.Error(err)
	}
}
