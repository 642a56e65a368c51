package writer

import (
	"time"
)

// wheel reminds of sockets, to the second. A socket that was written to in the meantime is not due when its reminder comes,
// and is put back: so a write costs the wheel nothing.
//
// A wheel is for one goroutine at a time.
type wheel struct {
	spokes  [][]*socket // one per second, round and round
	current int         // index of the spoke whose time has come last
	at      time.Time   // the time of that spoke
}

// newWheel returns a wheel for reminders at most span ahead.
func newWheel(span time.Duration, now time.Time) wheel {
	return wheel{spokes: make([][]*socket, int(span/wheelInterval)+2), at: now}
}

// add has the wheel remind of a socket at a time.
func (w *wheel) add(k *socket, at time.Time) {
	ahead := int(at.Sub(w.at)/wheelInterval) + 1
	ahead = min(max(ahead, 1), len(w.spokes)-1)
	i := (w.current + ahead) % len(w.spokes)
	w.spokes[i] = append(w.spokes[i], k)
	k.spoke = int32(i)
	k.spot = int32(len(w.spokes[i]) - 1)
}

// remove takes a socket off the wheel, if it is on it.
func (w *wheel) remove(k *socket) {
	if k.spot < 0 {
		return
	}
	spoke := w.spokes[k.spoke]
	last := spoke[len(spoke)-1]
	spoke[k.spot], last.spot = last, k.spot
	spoke[len(spoke)-1] = nil
	w.spokes[k.spoke] = spoke[:len(spoke)-1]
	k.spot = -1
}

// turn calls remind for every socket whose time has come by now. remind returns whether the socket stays on the wheel, and
// when it is to be reminded again.
func (w *wheel) turn(now time.Time, remind func(*socket) (again time.Time, stays bool)) {
	for !now.Before(w.at.Add(wheelInterval)) {
		w.at = w.at.Add(wheelInterval)
		w.current = (w.current + 1) % len(w.spokes)
		due := w.spokes[w.current]
		w.spokes[w.current] = nil
		for _, k := range due {
			k.spot = -1
		}
		for _, k := range due {
			if at, stays := remind(k); stays {
				w.add(k, at)
			}
		}
	}
}

// next returns when turn has something to do.
func (w *wheel) next() time.Time { return w.at.Add(wheelInterval) }

// ending is a socket that is to be ended at a time, for a reason.
type ending struct {
	place
	at     time.Time
	reason error
}

// endings is a heap (container/heap) with the earliest first.
type endings []ending

func (e *endings) Len() int           { return len(*e) }
func (e *endings) Less(i, j int) bool { return (*e)[i].at.Before((*e)[j].at) }
func (e *endings) Swap(i, j int)      { (*e)[i], (*e)[j] = (*e)[j], (*e)[i] }

// Push adds an ending at the end of the slice, as container/heap asks.
func (e *endings) Push(x any) { *e = append(*e, x.(ending)) }

// Pop removes the last ending of the slice, as container/heap asks.
func (e *endings) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}

// first returns when the earliest is due; ok is false if there is none.
func (e *endings) first() (at time.Time, ok bool) {
	if len(*e) == 0 {
		return time.Time{}, false
	}
	return (*e)[0].at, true
}
