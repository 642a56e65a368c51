package listen

import (
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/pubsub/ingest"
)

// lost counts raw messages that Redis sent, or may have sent, to this replica, and that it did not take.
type lost struct {
	connection atomic.Int64 // may have been on their way when a connection broke: an estimate
	paused     atomic.Int64 // lay in the socket while this process did not run
	unnamed    atomic.Int64 // came before their marker, and no other replica was there
}

func (l *lost) collectors() []prometheus.Collector {
	var all []prometheus.Collector
	for cause, n := range map[string]*atomic.Int64{
		"connection": &l.connection, "paused": &l.paused, "unnamed": &l.unnamed,
	} {
		all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: ingest.LostName, Help: ingest.LostHelp, ConstLabels: prometheus.Labels{"cause": cause},
		}, func() float64 { return float64(n.Load()) }))
	}
	return all
}

// noteUnnamed counts the raw messages that came before a marker of ours. Where other replicas follow the channel, these
// have them.
func (s *session) noteUnnamed(alone, others []string) {
	for _, source := range alone {
		s.listener.lost.unnamed.Add(int64(s.unnamed[source]))
		delete(s.unnamed, source)
	}
	for _, source := range others {
		delete(s.unnamed, source)
	}
}

// onTheirWay estimates how many raw messages Redis had sent that did not arrive before the connection broke: as many as
// usually come in the time for which nothing is known. That begins with the last thing that was read, or with a probe that
// did not come back if this was sent before: what was published after it may have been waiting in Redis all the time.
func (s *session) onTheirWay() int64 {
	since := s.conn.lastRead()
	if unheard := time.Duration(s.unheard.Load()); unheard != 0 {
		since = min(since, unheard)
	}
	perSecond := s.rawRate.perSecond(since, s.raws.Load())
	return int64(math.Ceil(perSecond * (s.listener.now() - since).Seconds()))
}

// rateSamples is how many readings a rate keeps. They are made once a second.
const rateSamples = 10

// rate remembers how a counter has grown in the last seconds.
type rate struct{ samples []sample }

// sample is a reading of a counter.
type sample struct {
	at    time.Duration
	count int64
}

// note adds a reading of the counter.
func (r *rate) note(at time.Duration, count int64) {
	if len(r.samples) == rateSamples {
		r.samples = slices.Delete(r.samples, 0, 1)
	}
	r.samples = append(r.samples, sample{at, count})
}

// perSecond returns how much the counter has grown per second from the oldest reading to a time. A time of less than a
// second counts as one.
func (r *rate) perSecond(to time.Duration, count int64) float64 {
	if len(r.samples) == 0 {
		return 0
	}
	first := r.samples[0]
	return float64(count-first.count) / max(to-first.at, time.Second).Seconds()
}
