package gateway

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sluice/gateway/auth"
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
	for _, reason := range []string{"client", "too_slow", "ended", "expired", "revoked", "draining", "unavailable"} {
		m.closed.WithLabelValues(reason)
	}
	gauge := func(name, help string, read func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
	}
	gauge("sluice_streams", "Open streams.", func() float64 { return float64(s.streams.count()) })
	gauge("sluice_ready", "1 if this replica should get traffic.", func() float64 {
		if s.draining.Load() || s.broker.Ready() != nil {
			return 0
		}
		return 1
	})
	gauge("sluice_publish_refused", "1 if Redis refused the newest event of this replica.", func() float64 {
		if s.store.Refusal() != nil {
			return 1
		}
		return 0
	})
	if a := s.cfg.Authenticator; a != nil {
		m.registerAuth(a)
		gauge("sluice_revocations", "Revocations that are known.", func() float64 { return float64(a.Revocations().Count()) })
	}
	m.registry.MustRegister(s.broker, m.opened, m.closed, m.refused, m.published,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// registerAuth registers what became of the questions that were asked to find out who makes a request.
func (m *metrics) registerAuth(a *auth.Authenticator) {
	counter := func(name, help, label, value string, read func(auth.Counts) int64) {
		m.registry.MustRegister(prometheus.NewCounterFunc(
			prometheus.CounterOpts{Name: name, Help: help, ConstLabels: prometheus.Labels{label: value}},
			func() float64 { return float64(read(a.Counts())) }))
	}
	const calls, callsHelp = "sluice_auth_calls_total", "Questions to the application who somebody is, by its answer."
	counter(calls, callsHelp, "answer", "known", func(c auth.Counts) int64 { return c.Calls.Known })
	counter(calls, callsHelp, "answer", "refused", func(c auth.Counts) int64 { return c.Calls.Denied })
	counter(calls, callsHelp, "answer", "none", func(c auth.Counts) int64 { return c.Calls.Failed })
	counter(calls, callsHelp, "answer", "not_asked", func(c auth.Counts) int64 { return c.Calls.Crowded })
	const keys, keysHelp = "sluice_auth_key_fetches_total", "Fetches of the keys that tokens are signed with, by result."
	counter(keys, keysHelp, "result", "good", func(c auth.Counts) int64 { return c.KeysFetched })
	counter(keys, keysHelp, "result", "failed", func(c auth.Counts) int64 { return c.KeysFailed })
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
