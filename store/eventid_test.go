package store_test

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"sluice/store"
)

// somewhere returns n channels and a place in each of them, the same for the same seed. Half of the places have a mark.
func somewhere(n int, seed uint64) (channels []string, places []store.Place) {
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range n {
		channels = append(channels, fmt.Sprintf("channel-%d:%c", i, 'a'+rune(r.IntN(26))))
		p := store.Place{Offset: r.Uint64() >> (11 + r.IntN(53))} // of any length, up to 2^53
		for j := range p.Nonce {
			p.Nonce[j] = byte(r.Uint32())
		}
		if i%2 == 1 || n == 1 && seed%2 == 1 {
			p.Left = store.Mark(1 + r.IntN(1<<16-1))
		}
		places = append(places, p)
	}
	return channels, places
}

// parseEventID returns what an id says about channels, without the end mark.
func parseEventID(text string, channels []string) (at []store.Place, known []bool) {
	id := store.ParseEventID(text, channels)
	return id.Places, id.Known
}

func TestAnEventIDHoldsThePlaceInEveryChannel(t *testing.T) {
	for n := 1; n <= 50; n++ {
		channels, places := somewhere(n, uint64(n))
		id := string(store.AppendEventID(nil, channels, places))
		if !regexp.MustCompile(`^[0-9A-Za-z_-]+$`).MatchString(id) {
			t.Errorf("%d channels: %q is not safe in a header", n, id)
		}
		got, known := parseEventID(id, channels)
		for i := range channels {
			if !known[i] || got[i] != places[i] {
				t.Errorf("%d channels: place %d is read as %v (known %v), want %v", n, i, got[i], known[i], places[i])
			}
		}
	}
}

func TestAnEventIDIsAppended(t *testing.T) {
	channels, places := somewhere(2, 1)
	if got := string(store.AppendEventID([]byte("id: "), channels, places)); !strings.HasPrefix(got, "id: l") {
		t.Errorf("got %q", got)
	}
	if got, want := string(store.AppendEventID([]byte("id: "), channels[:1], places[:1])), "id: "+string(places[0].Append(nil)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// nginx and most others take a header line of 4 KiB, but all lines together must fit in 8 KiB or so.
func TestTheEventIDOfFiftyChannelsIsShorterThanOneKiB(t *testing.T) {
	channels, places := somewhere(50, 1)
	for i := range places {
		places[i].Offset, places[i].Left = 1<<34, 0 // 200 events a second for three years
	}
	if n := len(store.AppendEventID(nil, channels, places)); n >= 1024 {
		t.Errorf("%d bytes", n)
	}
}

func TestAnEventIDMeansTheSameInAnotherOrder(t *testing.T) {
	channels, places := somewhere(3, 1)
	id := string(store.AppendEventID(nil, channels, places))
	got, known := parseEventID(id, []string{channels[2], channels[0], channels[1]})
	for i, want := range []store.Place{places[2], places[0], places[1]} {
		if !known[i] || got[i] != want {
			t.Errorf("place %d: got %v (known %v), want %v", i, got[i], known[i], want)
		}
	}
}

func TestAnEventIDOfOtherChannelsKnowsThoseItHas(t *testing.T) {
	channels, places := somewhere(3, 1)
	id := string(store.AppendEventID(nil, channels, places))
	for name, test := range map[string]struct {
		asked []string
		known []bool
	}{
		"one less":        {channels[:2], []bool{true, true}},
		"one alone":       {channels[1:2], []bool{true}},
		"one more":        {append(channels[:3:3], "new"), []bool{true, true, true, false}},
		"none of them":    {[]string{"new", "newer"}, []bool{false, false}},
		"an alike name":   {[]string{strings.ToUpper(channels[0])}, []bool{false}},
		"an empty name":   {[]string{""}, []bool{false}},
		"a name's prefix": {[]string{channels[0][:3]}, []bool{false}},
	} {
		got, known := parseEventID(id, test.asked)
		for i := range test.asked {
			if known[i] != test.known[i] {
				t.Errorf("%s: channel %q known %v, want %v", name, test.asked[i], known[i], test.known[i])
			}
			if known[i] && got[i] != places[i] && name != "one alone" {
				t.Errorf("%s: channel %q at %v, want %v", name, test.asked[i], got[i], places[i])
			}
			if !known[i] && got[i] != (store.Place{}) {
				t.Errorf("%s: an unknown channel has the place %v", name, got[i])
			}
		}
	}
}

// The name is not in the id of one channel: it is for people to read, and the nonce tells a wrong channel.
func TestTheIDOfOneChannelSaysNothingToAStreamOfSeveral(t *testing.T) {
	_, known := parseEventID("7-0000000000", []string{"a", "b"})
	if known[0] || known[1] {
		t.Errorf("known: %v", known)
	}
}

func TestTheEndMarkSaysThatTheEndWasSeenAndDoesNotHideThePlace(t *testing.T) {
	id := store.ParseEventID("7-0000000000"+store.EndMark, []string{"progress:t"})
	if !id.Known[0] || id.Places[0].Offset != 7 || !id.End {
		t.Errorf("got %+v, want position 7 and the end", id)
	}
	if id := store.ParseEventID("7-0000000000", []string{"progress:t"}); id.End {
		t.Error("an id without the mark is taken for the end")
	}
	for _, made := range []string{store.EndMark, "x" + store.EndMark, "n" + store.EndMark, "nAAAA" + store.EndMark} {
		if id := store.ParseEventID(made, []string{"progress:t"}); id.End {
			t.Errorf("%q, which is no position, is taken for the end", made)
		}
	}
}

func TestACutOffEventIDKnowsNothing(t *testing.T) {
	channels, places := somewhere(5, 3)
	id := string(store.AppendEventID(nil, channels, places))
	raw, err := base64.RawURLEncoding.DecodeString(id[1:])
	if err != nil {
		t.Fatal(err)
	}
	for n := range raw {
		cut := "l" + base64.RawURLEncoding.EncodeToString(raw[:n])
		at, known := parseEventID(cut, channels)
		for i := range channels {
			if known[i] && at[i] != places[i] {
				t.Errorf("cut to %d bytes, channel %d has the place %v, want %v or none", n, i, at[i], places[i])
			}
		}
	}
}

// FuzzParseEventID: whatever a client sends, reading it does not panic, knows at most what was asked for, and writes no
// place that could not be written again.
func FuzzParseEventID(f *testing.F) {
	for n := range 4 {
		channels, places := somewhere(n+1, uint64(n))
		f.Add(string(store.AppendEventID(nil, channels, places)), "channel-0:a,channel-1:b")
	}
	for _, id := range []string{
		"", "n", "n=", "N", "-end", "n-end", "7-0000000000-end", "nAAAA", "n" + strings.Repeat("_", 300), "n" + strings.Repeat("A", 15),
		"7-0000000000", "7-0000000000-0080", "7-0000000000-0080-end", "7-0000000000-", "lAAAA", "l" + strings.Repeat("A", 17), "\x00", "n\n", "mAAAA", "unknown",
	} {
		f.Add(id, "a")
		f.Add(id, "a,b,c")
	}
	f.Fuzz(func(t *testing.T, id, names string) {
		channels := strings.Split(names, ",")
		at, known := parseEventID(id, channels)
		if len(at) != len(channels) || len(known) != len(channels) {
			t.Fatalf("%d places and %d answers for %d channels", len(at), len(known), len(channels))
		}
		for i := range channels {
			if !known[i] && at[i] != (store.Place{}) {
				t.Errorf("unknown channel %q has the place %v", channels[i], at[i])
			}
		}
		again, _ := parseEventID(string(store.AppendEventID(nil, channels, at)), channels)
		for i := range channels {
			// Two names may share a hash; and a lone offset beyond what Redis can count is not read again.
			if known[i] && again[i] != at[i] && len(channels) == 1 && at[i].Offset < 1<<53 {
				t.Errorf("channel %q: %v is written and read as %v", channels[i], at[i], again[i])
			}
		}
	})
}

// FuzzATamperedEventIDGivesNoOtherChannelsPlace flips one byte of a good id.
func FuzzATamperedEventIDGivesNoOtherChannelsPlace(f *testing.F) {
	f.Add(uint64(1), uint(0), byte('x'))
	f.Add(uint64(2), uint(20), byte('-'))
	f.Fuzz(func(t *testing.T, seed uint64, where uint, what byte) {
		channels, places := somewhere(4, seed)
		id := store.AppendEventID(nil, channels, places)
		id[where%uint(len(id))] = what
		at, known := parseEventID(string(id), channels)
		for i := range channels {
			for j := range channels {
				if known[i] && i != j && at[i] == places[j] {
					t.Errorf("%q: channel %d has the place of channel %d", id, i, j)
				}
			}
		}
	})
}
