package gateway

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the replica's figures. No label ever holds a channel, a user or an address.
type metrics struct {
	registry  *prometheus.Registry
	opened    prometheus.Counter
	closed    *prometheus.CounterVec
	refused   *prometheus.CounterVec
	published prometheus.Counter
}

func newMetrics(s *Server) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		opened: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sluice_streams_opened_total", Help: "Streams opened."}),
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_streams_closed_total", Help: "Streams closed, by reason."}, []string{"reason"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_refusals_total", Help: "Requests refused, by code."}, []string{"code"}),
		published: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sluice_published_total", Help: "Events published over HTTP by this replica."}),
	}
	for _, reason := range []string{"client", "too_slow", "ended", "draining", "unavailable"} {
		m.closed.WithLabelValues(reason)
	}
	st := s.broker.Stats()
	counter := func(name, help string, read func() int64) {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help},
			func() float64 { return float64(read()) }))
	}
	gauge := func(name, help string, read func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
	}
	counter("sluice_redis_sessions_lost_total", "Subscribing connections to Redis that were lost or refused.", st.Sessions.Load)
	counter("sluice_announcements_total", "Events announced to this replica.", st.Announced.Load)
	counter("sluice_announcements_malformed_total", "Announcements that were not readable.", st.Malformed.Load)
	counter("sluice_repairs_total", "Channels brought up from the stored history.", st.Repairs.Load)
	counter("sluice_history_reads_total", "Whole histories read from Redis for streams and repairs.", st.Reads.Load)
	counter("sluice_gaps_total", "Gap notices in streams' beginnings.", st.Gaps.Load)
	counter("sluice_raw_messages_total", "Raw PUBLISH messages seen.", st.RawSeen.Load)
	counter("sluice_raw_stored_total", "Raw PUBLISH messages stored by this replica.", st.RawStored.Load)
	counter("sluice_raw_rejected_total", "Raw PUBLISH messages rejected by this replica.", st.RawRejected.Load)
	counter("sluice_raw_lost_total", "Raw PUBLISH messages given up because Redis took nothing for too long.", st.RawLost.Load)
	gauge("sluice_probe_seconds", "Time of the newest probe through Redis.",
		func() float64 { return float64(st.ProbeNanos.Load()) / 1e9 })
	gauge("sluice_streams", "Open streams.", func() float64 { return float64(s.streams.count()) })
	gauge("sluice_channels", "Channels followed.", func() float64 { c, _ := s.broker.Counts(); return float64(c) })
	gauge("sluice_feeds", "Feeds.", func() float64 { _, f := s.broker.Counts(); return float64(f) })
	gauge("sluice_ready", "1 if this replica should get traffic.", func() float64 {
		if s.draining.Load() || s.broker.Ready() != nil {
			return 0
		}
		return 1
	})
	m.registry.MustRegister(m.opened, m.closed, m.refused, m.published,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
