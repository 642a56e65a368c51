//go:build linux

package main

import "testing"

// follow has one client after the other receive events in a given order, and audits the ledger.
func follow(events int, orders ...[]int) faults {
	l := &ledger{clients: int32(len(orders))}
	var f faults
	var cursors []int
	for _, order := range orders {
		cursor := 0
		for _, n := range order {
			cursor = l.receive(cursor, n, &f)
		}
		cursors = append(cursors, cursor)
	}
	l.audit(events, cursors, &f)
	return f
}

func TestEachFaultOfAStreamIsCounted(t *testing.T) {
	for _, c := range []struct {
		name   string
		events int
		orders [][]int
		want   faults
	}{
		{"nothing", 0, [][]int{{}, {}}, faults{}},
		{"all in order", 3, [][]int{{0, 1, 2}, {0, 1, 2}}, faults{}},
		{"any order, if all have the same", 3, [][]int{{2, 0, 1}, {2, 0, 1}}, faults{}},
		{"the first misses the last", 2, [][]int{{0}, {0, 1}}, faults{Missing: 1}},
		{"the second misses one in the middle", 3, [][]int{{0, 1, 2}, {0, 2}}, faults{Missing: 1}},
		{"nobody has one", 3, [][]int{{0, 2}, {0, 2}}, faults{Missing: 2}},
		{"the first gets one again", 2, [][]int{{0, 1, 0}, {0, 1}}, faults{Repeated: 1}},
		{"the second gets one again", 2, [][]int{{0, 1}, {0, 0, 1}}, faults{Repeated: 1}},
		{"two are swapped", 3, [][]int{{0, 1, 2}, {1, 0, 2}}, faults{Missing: 1, Repeated: 1}},
		{"one that the others have not had comes between", 3, [][]int{{0, 2}, {0, 1, 2}}, faults{Missing: 2, Disordered: 1}},
		{"one that nobody published", 1, [][]int{{0, 1}, {0, 1}}, faults{Unreadable: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := follow(c.events, c.orders...); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestItIsKnownWhatEveryClientHasReceived(t *testing.T) {
	l := &ledger{clients: 3}
	var f faults
	var cursors [3]int
	for i, step := range []struct{ client, n, all int }{
		{0, 0, 0}, {0, 1, 0}, {1, 0, 0}, {2, 0, 1}, {1, 1, 1}, {0, 2, 1}, {2, 1, 2}, {1, 2, 2}, {2, 2, 3},
	} {
		cursors[step.client] = l.receive(cursors[step.client], step.n, &f)
		if l.all != step.all {
			t.Errorf("step %d: all clients have %d events, want %d", i, l.all, step.all)
		}
	}
	if !f.none() {
		t.Errorf("faults: %+v", f)
	}
}

func TestTwoProcessesThatSawDifferentOrdersAreFound(t *testing.T) {
	written := func(order ...int) uint64 {
		l := &ledger{clients: 1}
		var f faults
		cursor := 0
		for _, n := range order {
			cursor = l.receive(cursor, n, &f)
		}
		return l.sum()
	}
	if first, second := written(0, 1, 2), written(0, 1, 2); first != second {
		t.Error("the same order has two sums")
	}
	if written(0, 1, 2) == written(0, 2, 1) || written(0, 1) == written(0, 1, 2) {
		t.Error("different orders have the same sum")
	}
}
