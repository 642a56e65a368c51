package main

import (
	"fmt"
	"slices"
	"testing"

	"sluice/cmd/internal/judge"
)

func numbered(from, to int) []judge.Event {
	var out []judge.Event
	for n := from; n <= to; n++ {
		out = append(out, judge.Event{ID: fmt.Sprint(n)})
	}
	return out
}

func TestTheWitnessSeesEveryEventOrSaysThatItDidNot(t *testing.T) {
	type look struct {
		list  []judge.Event
		whole bool
		ok    bool // whether the list reaches back to what is known
	}
	cases := []struct {
		name   string
		looks  []look
		want   []judge.Event
		failed bool
	}{
		{"overlapping lists are joined",
			[]look{{numbered(1, 3), false, true}, {numbered(2, 5), false, true}, {numbered(2, 5), false, true}}, numbered(1, 5), false},
		{"if the newest events are not enough the whole list is read",
			[]look{{numbered(1, 3), false, true}, {numbered(5, 7), false, false}, {numbered(2, 7), true, true}}, numbered(1, 7), false},
		{"a first look that is full is not enough either",
			[]look{{numbered(1, witnessGlance), false, false}, {numbered(1, witnessGlance), true, true}}, numbered(1, witnessGlance), false},
		{"a whole list without the newest known event is an error",
			[]look{{numbered(1, 3), false, true}, {numbered(5, 7), true, true}}, slices.Concat(numbered(1, 3), numbered(5, 7)), true},
		{"a list that is full at the first look is an error", []look{{numbered(11, 60), true, true}}, numbered(11, 60), true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := &witness{trim: 50, logs: map[string][]judge.Event{}}
			for i, l := range c.looks {
				if ok := w.add("a", l.list, l.whole); ok != l.ok {
					t.Errorf("look %d: %v, want %v", i+1, ok, l.ok)
				}
			}
			if !slices.Equal(w.logs["a"], c.want) || (w.err != nil) != c.failed {
				t.Errorf("got %v and error %v", w.logs["a"], w.err)
			}
		})
	}
}
