package ingest

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Name and help of the counter of raw messages that a replica dropped. Each cause has a label. Whoever counts another cause
// uses the same name and help.
const (
	LostName = "sluice_raw_lost_total"
	LostHelp = "Raw PUBLISH messages that this replica dropped; another one may have stored them."
)

// lostCause is why a message was dropped: a label of LostName.
type lostCause string

const (
	lostChannelFull lostCause = "channel_full" // too much waits on its channel
	lostAllFull     lostCause = "all_full"     // too much waits on all channels together
	lostTooOld      lostCause = "too_old"      // it waited until the store may have forgotten its name
	lostRefused     lostCause = "refused"      // Redis refuses it for good, and to keep it among the rejected ones
	lostStopped     lostCause = "stopped"      // the replica stopped before Redis took it
)

// stats counts raw messages.
type stats struct {
	seen, stored, rejected, aside atomic.Int64
	vain, failed                  atomic.Int64 // presentations
	lost                          map[lostCause]*atomic.Int64
}

// collectors returns the metrics of an Intake, and makes its counters of lost messages.
func (in *Intake) collectors() []prometheus.Collector {
	s := &in.stats
	counter := func(o prometheus.CounterOpts, n *atomic.Int64) prometheus.Collector {
		return prometheus.NewCounterFunc(o, func() float64 { return float64(n.Load()) })
	}
	plain := func(name, help string, n *atomic.Int64) prometheus.Collector {
		return counter(prometheus.CounterOpts{Name: name, Help: help}, n)
	}
	all := []prometheus.Collector{
		plain("sluice_raw_messages_total", "Raw PUBLISH messages seen.", &s.seen),
		plain("sluice_raw_stored_total", "Raw PUBLISH messages stored by this replica.", &s.stored),
		plain("sluice_raw_rejected_total", "Raw PUBLISH messages rejected by this replica.", &s.rejected),
		plain("sluice_raw_put_aside_total", "Raw PUBLISH messages rejected because Redis refused to store them.", &s.aside),
		plain("sluice_raw_vain_total", "Calls to store raw messages that another replica had stored already.", &s.vain),
		plain("sluice_raw_failed_total", "Calls to store raw messages that failed and were or will be repeated.", &s.failed),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sluice_raw_waiting_bytes", Help: "Memory of the raw PUBLISH messages that wait to be stored.",
		}, func() float64 {
			in.mu.Lock()
			defer in.mu.Unlock()
			return float64(in.bytes)
		}),
	}
	s.lost = make(map[lostCause]*atomic.Int64)
	for _, cause := range []lostCause{lostChannelFull, lostAllFull, lostTooOld, lostRefused, lostStopped} {
		s.lost[cause] = new(atomic.Int64)
		all = append(all, counter(prometheus.CounterOpts{
			Name: LostName, Help: LostHelp, ConstLabels: prometheus.Labels{"cause": string(cause)},
		}, s.lost[cause]))
	}
	return all
}

// Describe implements prometheus.Collector.
func (in *Intake) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range in.metrics {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (in *Intake) Collect(ch chan<- prometheus.Metric) {
	for _, c := range in.metrics {
		c.Collect(ch)
	}
}
