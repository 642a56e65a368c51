package kind_test

import (
	"strings"
	"testing"

	"sluice/store/kind"
)

func TestWhichChannelsAPatternReaches(t *testing.T) {
	for _, test := range []struct {
		pattern, channel string
		want             bool
	}{
		{"orders", "orders", true},
		{"orders", "orders.7", false},
		{"orders.7", "orders", false},
		{"orders.*", "orders.7", true},
		{"orders.*", "orders.7.paid", true},
		{"orders.*", "orders.", true},
		{"orders.*", "orders", false},
		{"orders.*", "ordersX7", false},
		{"progress:*", "progress:t1", true},
		{"team:7:*", "team:7:chat", true},
		{"team:7:*", "team:77:chat", false},
		{"*", "orders", true},
		{"*", "notifications", true},
		{"notifications", "notifications", true},
		{"Notifications", "notifications", false},

		{"notifications:ada", "notifications:ada", true},
		{"notifications:*", "notifications:ada", true},
		{"notifications:a*", "notifications:ada", true},
		{"notifications", "notifications:ada", false},
		{"notifications:ad", "notifications:ada", false},
		{"notifications:adam", "notifications:ada", false},
		{"*", "notifications:ada", false},
		{"n*", "notifications:ada", false},
		{"notifications*", "notifications:ada", false},
		{"notifications*", "notifications", true},
		{"notifications*", "notifications2", true},
	} {
		if got := kind.Reaches(test.pattern, test.channel); got != test.want {
			t.Errorf("%s reaches %s: got %v, want %v", test.pattern, test.channel, got, test.want)
		}
	}
}

func TestAStarStandsOnlyAtTheEndOfAPattern(t *testing.T) {
	for _, good := range []string{"orders", "orders.*", "*", "a:*", "ada@example.com", "auth0|123", "a+b=c~d*", strings.Repeat("x", 127) + "*"} {
		if err := kind.CheckPattern(good); err != nil {
			t.Errorf("%q is refused: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "**", "*a", "a*b", "a**", "a b", "a b*", "a,b", "a\n", "a\n*", "a\x00*", "é*", "a?", "[a]*", `a\*`, "{a}*", "sluice:x",
		strings.Repeat("x", 129), strings.Repeat("x", 128) + "*",
	} {
		if kind.CheckPattern(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestTheIDOfAUserIsTakenAsItIs(t *testing.T) {
	for _, good := range []string{"ada", "ada@example.com", "auth0|123", "42", "-1", "a:b", "a+b@c.de", strings.Repeat("x", 100)} {
		if err := kind.CheckUser(good); err != nil {
			t.Errorf("%q is refused: %v", good, err)
		}
		if err := kind.CheckChannel(kind.UserChannel(good)); err != nil {
			t.Errorf("the channel of %q: %v", good, err)
		}
	}
	for _, bad := range []string{"", " ", "ada ", " ada", "a b", "*", "ada*", "a,b", "a\n", "a\x00", "é", "{ada}", `a"b`, "a/b", strings.Repeat("x", 101)} {
		if kind.CheckUser(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// FuzzReaches: whatever the pattern is, it reaches no user's channel without naming where these begin.
func FuzzReaches(f *testing.F) {
	for _, pattern := range []string{"*", "notifications*", "notifications:*", "notifications:ada", "n*", "", "notifications:ada*"} {
		f.Add(pattern, "ada")
	}
	f.Fuzz(func(t *testing.T, pattern, user string) {
		if kind.CheckPattern(pattern) != nil || kind.CheckUser(user) != nil {
			return
		}
		channel := kind.UserChannel(user)
		if kind.Reaches(pattern, channel) && !strings.HasPrefix(pattern, "notifications:") {
			t.Errorf("%q reaches %q", pattern, channel)
		}
		if !kind.Reaches(channel, channel) {
			t.Errorf("%q does not reach itself", channel)
		}
	})
}
