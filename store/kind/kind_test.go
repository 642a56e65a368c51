package kind

import (
	"slices"
	"testing"
	"time"
)

func TestEachChannelIsKeptAndShownAsItsKindSays(t *testing.T) {
	general := Keep(7, time.Hour)
	for _, test := range []struct {
		channel, pattern string
		named            bool
		replay           int
		rule             Rule
	}{
		{"notifications", "notifications", false, 50, Rule{Capacity: 50, TTL: 30 * day, MetaTTL: 37 * day}},
		{"activity", "activity", false, 10, Rule{Capacity: 50, TTL: 30 * day, MetaTTL: 37 * day}},
		{"progress:t1", "progress:*", false, 1, Rule{Capacity: 1, TTL: day, MetaTTL: day, FinalTTL: time.Minute, Latest: true}},
		{"progress:a:b", "progress:*", false, 1, Rule{Capacity: 1, TTL: day, MetaTTL: day, FinalTTL: time.Minute, Latest: true}},
		{"orders", "*", true, 0, general},
		{"notification", "*", true, 0, general},
		{"notifications:ada", "*", true, 0, general},
		{"activity2", "*", true, 0, general},
		{"progress", "*", true, 0, general},
		{"Progress:t1", "*", true, 0, general},
		{"", "*", true, 0, general},
	} {
		k := Of(test.channel)
		if k.pattern != test.pattern || k.EventByType != test.named || k.Replay != test.replay || k.Rule(general) != test.rule {
			t.Errorf("%q is %+v with the rule %+v; want %+v", test.channel, k, k.Rule(general), test)
		}
	}
}

func TestWhichChannelsEveryReplicaFollows(t *testing.T) {
	channels, patterns := Always()
	if want := []string{"notifications", "activity"}; !slices.Equal(channels, want) {
		t.Errorf("channels: got %q, want %q", channels, want)
	}
	if want := []string{"progress:*"}; !slices.Equal(patterns, want) {
		t.Errorf("patterns: got %q, want %q", patterns, want)
	}
	for channel, want := range map[string]bool{"notifications": false, "activity": false, "progress:t1": true, "orders": false} {
		if got := Of(channel).ByPattern(); got != want {
			t.Errorf("%s: by pattern %v, want %v", channel, got, want)
		}
	}
}

// Every channel has a kind, no line of the table hides a later one, and only channels that can end have final events.
func TestEveryChannelHasAKindAndNoLineHidesAnother(t *testing.T) {
	if last := table[len(table)-1]; last.pattern != "*" {
		t.Errorf("the last line is for %q, want all channels", last.pattern)
	}
	for _, k := range table {
		if k.draft == nil {
			t.Errorf("%s: nothing makes drafts", k.pattern)
		}
		if got := Of(k.pattern); got.pattern != k.pattern { // a star is as good as any other ending
			t.Errorf("%s: the line of %s stands above it and hides it", k.pattern, got.pattern)
		}
		r := k.Rule(Keep(1, time.Second))
		if r.Capacity < 1 || r.TTL < time.Second || r.MetaTTL < r.TTL {
			t.Errorf("%s: the rule %+v does not bound or forgets positions too early", k.pattern, r)
		}
	}
	for _, channel := range []string{Notifications, Activities, "orders", TaskChannel("t1")} {
		for _, data := range []string{`{"type":"info","title":"a","message":"b"}`, `{"type":"user_joined","userName":"a","action":"b"}`, `{"progress":100}`} {
			d, err := DraftPayload(channel, []byte(data), 1000)
			if err == nil && d.Final && !Of(channel).Ends() {
				t.Errorf("%s: %s is a final event, but the channel has no end", channel, data)
			}
		}
	}
}
