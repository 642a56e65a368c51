package pubsub

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// stats counts what the broker does.
type stats struct {
	announced atomic.Int64 // announcements received
	malformed atomic.Int64 // announcements that could not be read
	repairs   atomic.Int64 // how often a channel had to read its history from Redis
	reads     atomic.Int64 // whole histories read from Redis
	gaps      atomic.Int64 // gaps announced to streams
}

// collectors returns the metrics of the broker and its parts.
func (b *Broker) collectors() []prometheus.Collector {
	counter := func(name, help string, n *atomic.Int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help},
			func() float64 { return float64(n.Load()) })
	}
	gauge := func(name, help string, read func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(read()) })
	}
	return []prometheus.Collector{
		b.listener,
		b.intake,
		b.queue,
		counter("sluice_announcements_total", "Events announced to this replica.", &b.stats.announced),
		counter("sluice_announcements_malformed_total", "Announcements that were not readable.", &b.stats.malformed),
		counter("sluice_repairs_total", "Times a channel had to read the stored history to find what it missed.", &b.stats.repairs),
		counter("sluice_history_reads_total", "Whole histories read from Redis for streams and repairs.", &b.stats.reads),
		counter("sluice_gaps_total", "Gap notices in streams' beginnings.", &b.stats.gaps),
		counter("sluice_history_evicted_total",
			"Events dropped from memory, to be read from Redis when needed, because the channels together remember too much.",
			&b.memory.evicted),
		gauge("sluice_history_bytes", "Bytes of events and positions that channels remember.",
			func() int { return int(b.memory.held.Load()) }),
		gauge("sluice_channels", "Channels followed.", func() int { channels, _ := b.Counts(); return channels }),
		gauge("sluice_feeds", "Feeds.", func() int { _, feeds := b.Counts(); return feeds }),
	}
}

// Describe implements prometheus.Collector.
func (b *Broker) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range b.metrics {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (b *Broker) Collect(ch chan<- prometheus.Metric) {
	for _, c := range b.metrics {
		c.Collect(ch)
	}
}
