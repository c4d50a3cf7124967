package observe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// revocationMetrics are figures about revocation lists.
type revocationMetrics struct {
	published  *prometheus.CounterVec
	nextUpdate *prometheus.GaugeVec
	overdue    prometheus.Gauge
}

func newRevocationMetrics(registry *prometheus.Registry) revocationMetrics {
	m := revocationMetrics{
		published: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chancery_revocation_lists_published_total",
			Help: "Revocation lists that were put in force, by kind (partition or full).",
		}, []string{"kind"}),
		nextUpdate: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "chancery_revocation_list_next_update_timestamp_seconds",
			Help: "When revocation lists end, in seconds since 1970: the root's, and the full list of each issuer.",
		}, []string{"issuer"}),
		overdue: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "chancery_revocation_lists_overdue",
			Help: "Revocation lists that have ended, or never were, and can't be made just now.",
		}),
	}
	registry.MustRegister(m.published, m.nextUpdate, m.overdue)
	return m
}

// ListPublished counts a revocation list. Of an issuer's full one it keeps when
// it ends.
func (m *Metrics) ListPublished(issuerID string, full bool, nextUpdate time.Time) {
	switch {
	case m == nil:
	case full:
		m.revocation.published.WithLabelValues("full").Inc()
		m.ListEnds(issuerID, nextUpdate)
	default:
		m.revocation.published.WithLabelValues("partition").Inc()
	}
}

// ListEnds says when a revocation list ends: "root", or an issuer's full one.
func (m *Metrics) ListEnds(issuer string, nextUpdate time.Time) {
	if m != nil {
		m.revocation.nextUpdate.WithLabelValues(issuer).Set(float64(nextUpdate.Unix()))
	}
}

// ListsOverdue says how many revocation lists have ended without another in
// their place.
func (m *Metrics) ListsOverdue(count int) {
	if m != nil {
		m.revocation.overdue.Set(float64(count))
	}
}
