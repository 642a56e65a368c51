package dispatch

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// cause is why announcements of a channel are dropped.
type cause uint8

const (
	fits        cause = iota // they are not
	channelFull              // too much waits on the channel
	allFull                  // too much waits on all channels together
	causes                   // how many there are
)

// stats counts announcements.
type stats struct {
	dropped [causes]atomic.Int64
}

// collectors returns the metrics of a Queue.
func (q *Queue) collectors() []prometheus.Collector {
	all := []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sluice_announcements_waiting_bytes", Help: "Memory of the announcements that wait for a worker.",
		}, func() float64 { return float64(q.held.Load()) }),
	}
	for c, label := range map[cause]string{channelFull: "channel_full", allFull: "all_full"} {
		all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name:        "sluice_announcements_dropped_total",
			Help:        "Announcements dropped because too much waited; their channels are repaired from the stored history.",
			ConstLabels: prometheus.Labels{"cause": label},
		}, func() float64 { return float64(q.stats.dropped[c].Load()) }))
	}
	return all
}

// Describe implements prometheus.Collector.
func (q *Queue) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range q.metrics {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (q *Queue) Collect(ch chan<- prometheus.Metric) {
	for _, c := range q.metrics {
		c.Collect(ch)
	}
}
