package listen

import (
	"context"
	"fmt"
	"strings"

	"sluice/store"
)

// write is the writing goroutine. It makes and ends subscriptions, in batches.
func (s *session) write(ctx context.Context) error {
	if err := s.conn.send([]string{"PSUBSCRIBE", s.listener.cfg.Names.PatternMarkers}); err != nil {
		return err
	}
	s.asked++
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.listener.changed:
		}
		for {
			add, remove := s.listener.nextBatch()
			if len(add)+len(remove) == 0 {
				break
			}
			if err := s.unsubscribe(remove); err != nil {
				return fmt.Errorf("unsubscribe: %w", err)
			}
			if err := s.subscribe(ctx, add); err != nil {
				return fmt.Errorf("subscribe: %w", err)
			}
		}
	}
}

// unsubscribe ends subscriptions. Subscriptions to patterns never end.
func (s *session) unsubscribe(remove []Subscription) error {
	for len(remove) > 0 {
		n := min(len(remove), namesPerBatch)
		command := []string{"UNSUBSCRIBE"}
		for _, sub := range remove[:n] {
			names, _ := sub.redisChannels(s.listener.cfg.Names)
			command = append(command, names...)
		}
		if len(command) > 1 {
			if err := s.conn.send(command); err != nil {
				return err
			}
		}
		remove = remove[n:]
	}
	return nil
}

// order is a batch of subscriptions as commands. Channels and patterns have a marker each, because miniredis keeps the
// order of messages only within a kind of subscription.
type order struct {
	own store.Names

	subscribe []string // names for SUBSCRIBE
	patterns  []string // names for PSUBSCRIBE

	batch         batch // confirmed by marker
	marker        string
	sources       []string // of raw messages, channels
	patternBatch  batch    // confirmed by patternMarker
	patternMarker string

	// followers is, for each channel of batch and then of patternBatch, the name whose subscribers count as its followers:
	// of a channel with announcements the name of these, and of others that of the markers, which all replicas follow. The
	// channel of the raw messages would not do: gateways on other databases subscribe to it too.
	followers []string
}

// newOrder makes an order of subscriptions, with new markers.
func newOrder(add []Subscription, own store.Names) order {
	o := order{own: own, marker: store.NewNonce().String() + store.NewNonce().String()}
	o.patternMarker = o.marker + "p"
	for _, sub := range add {
		names, source := sub.redisChannels(own)
		o.subscribe = append(o.subscribe, names...)
		if sub.Pattern {
			o.patterns = append(o.patterns, source)
			continue
		}
		o.batch.channels = append(o.batch.channels, sub.Channel)
		if source != "" {
			o.sources = append(o.sources, source)
		}
		if sub.Live {
			o.followers = append(o.followers, own.Live(sub.Channel))
		} else {
			o.followers = append(o.followers, own.Markers)
		}
	}
	o.patternBatch = batch{channels: o.patterns, first: len(o.followers)}
	for range o.patterns {
		o.followers = append(o.followers, own.Markers)
	}
	return o
}

// commands returns the subscribing commands, and those that publish the markers.
func (o order) commands() (subscribe, markers [][]string) {
	if len(o.subscribe) > 0 {
		subscribe = append(subscribe, append([]string{"SUBSCRIBE"}, o.subscribe...))
		markers = append(markers, []string{"PUBLISH", o.own.Markers, markerText(o.marker, o.sources)})
	}
	if len(o.patterns) > 0 {
		subscribe = append(subscribe, append([]string{"PSUBSCRIBE"}, o.patterns...))
		markers = append(markers, []string{"PUBLISH", o.own.PatternMarkers, markerText(o.patternMarker, o.patterns)})
	}
	return subscribe, markers
}

func markerText(marker string, sources []string) string {
	return marker + " " + strings.Join(sources, " ")
}

// subscribe subscribes to a batch and publishes its markers in one transaction. No raw message can come between the
// two, so every one that reaches this replica has a name.
func (s *session) subscribe(ctx context.Context, add []Subscription) error {
	o := newOrder(add, s.listener.cfg.Names)
	commands, markers := o.commands()
	if len(commands) == 0 {
		return nil
	}
	if !s.conn.canPublish {
		return s.subscribeApart(ctx, o)
	}
	s.expect(o)
	commands = append(commands, append([]string{"PUBSUB", "NUMSUB"}, o.followers...)) // read takes the reply
	commands = append(commands, markers...)
	if !s.listener.full.Load() {
		commands = append(append([][]string{{"MULTI"}}, commands...), []string{"EXEC"})
	}
	return s.conn.send(commands...)
}

// subscribeApart subscribes on a server that does not accept PUBLISH on this connection (miniredis). The ordinary
// client publishes the markers as soon as the subscriptions are confirmed.
func (s *session) subscribeApart(ctx context.Context, o order) error {
	commands, markers := o.commands()
	if err := s.conn.send(commands...); err != nil {
		return err
	}
	s.asked += len(o.subscribe) + len(o.patterns)
	for s.confirmed.Load() < int64(s.asked) {
		select {
		case <-ctx.Done():
			return nil
		case <-s.confirmedUp:
		}
	}
	rdb := s.listener.cfg.Redis
	subscribers, err := rdb.PubSubNumSub(ctx, o.followers...).Result()
	if err != nil {
		return err
	}
	counts := make([]int64, len(o.followers))
	for i, name := range o.followers {
		counts[i] = subscribers[name]
	}
	o.batch.counts, o.patternBatch.counts = counts, counts
	s.expect(o)
	for _, m := range markers {
		if err := rdb.Publish(ctx, m[1], m[2]).Err(); err != nil {
			return err
		}
	}
	return nil
}

// expect remembers which subscriptions are in place when the markers of an order arrive.
func (s *session) expect(o order) {
	s.batchMu.Lock()
	defer s.batchMu.Unlock()
	s.batches[o.marker] = o.batch
	if len(o.patterns) > 0 {
		s.batches[o.patternMarker] = o.patternBatch
	}
}
