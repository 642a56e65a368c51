package eventsource

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestStreamsAreParsedAsTheStandardSays(t *testing.T) {
	cases := []struct {
		name, in string
		want     []string
	}{
		{"an event", "data: a\n\n", []string{`"" "a" ""`}},
		{"lines are joined", "data: a\ndata:b\ndata\n\n", []string{`"" "a\nb\n" ""`}},
		{"one space is taken off, not two", "data:  a\n\n", []string{`"" " a" ""`}},
		{"every kind of line break", "data: a\r\rdata: b\r\n\r\ndata: c\n\n", []string{`"" "a" ""`, `"" "b" ""`, `"" "c" ""`}},
		{"type and id", "event: e\nid: 7\ndata: a\n\ndata: b\n\n", []string{`"e" "a" "7"`, `"" "b" "7"`}},
		{"an empty id clears it", "id: 7\ndata: a\n\nid\ndata: b\n\n", []string{`"" "a" "7"`, `"" "b" ""`}},
		{"an id with NUL is ignored", "id: 7\nid: 8\x00\ndata: a\n\n", []string{`"" "a" "7"`}},
		{"an id without data is taken", "id: 7\n\ndata: a\n\n", []string{`"" "a" "7"`}},
		{"a type without data is forgotten", "event: e\n\ndata: a\n\n", []string{`"" "a" ""`}},
		{"empty data is an event", "data:\n\n", []string{`"" "" ""`}},
		{"comments and unknown fields", ": c\nfoo: bar\ndata: a\n\n", []string{`"" "a" ""`}},
		{"an end without a blank line is nothing", "data: a\n\ndata: b\nid: 9\n", []string{`"" "a" ""`}},
		{"a byte order mark", "\uFEFFdata: a\n\n", []string{`"" "a" ""`}},
		{"retry takes digits only", "retry: 250\nretry: 1x\nretry: +3\nretry:\n\n", []string{"retry 250ms"}},
	}
	for _, c := range cases {
		for _, size := range []int{1, 3, len(c.in)} { // wherever the network cuts
			t.Run(fmt.Sprintf("%s in pieces of %d", c.name, size), func(t *testing.T) {
				var got []string
				p := &Parser{
					Dispatch: func(kind, data, id string) { got = append(got, fmt.Sprintf("%q %q %q", kind, data, id)) },
					Position: func(string) {},
					Retry:    func(d time.Duration) { got = append(got, "retry "+d.String()) },
					Empty:    func() {},
				}
				for piece := range slices.Chunk([]byte(c.in), size) {
					p.Write(piece)
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("got  %s\nwant %s", strings.Join(got, "; "), strings.Join(c.want, "; "))
				}
			})
		}
	}
}
