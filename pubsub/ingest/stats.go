package ingest

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// stats counts raw messages.
type stats struct {
	seen, stored, rejected, lost atomic.Int64
}

// collectors returns the metrics of an Intake.
func (s *stats) collectors() []prometheus.Collector {
	counter := func(name, help string, n *atomic.Int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help},
			func() float64 { return float64(n.Load()) })
	}
	return []prometheus.Collector{
		counter("sluice_raw_messages_total", "Raw PUBLISH messages seen.", &s.seen),
		counter("sluice_raw_stored_total", "Raw PUBLISH messages stored by this replica.", &s.stored),
		counter("sluice_raw_rejected_total", "Raw PUBLISH messages rejected by this replica.", &s.rejected),
		counter("sluice_raw_lost_total", "Raw PUBLISH messages dropped because Redis accepted no writes for too long.", &s.lost),
	}
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
