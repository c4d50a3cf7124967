package observe

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are the server's figures, on a registry of their own. All methods
// may be called by any number of goroutines, and on a nil *Metrics, which
// keeps nothing.
type Metrics struct {
	registry    *prometheus.Registry
	issued      *prometheus.CounterVec
	validations *prometheus.HistogramVec
	requests    *prometheus.CounterVec
	expiry      *prometheus.GaugeVec
	revocation  revocationMetrics
	steps       [stepCount]prometheus.Observer
	bound       sync.Map // boundKey → prometheus.Counter, so that a request builds no label set
}

type boundKey struct {
	resource string
	status   int
}

// NewMetrics registers everything that is measured.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		issued: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chancery_issuances_total",
			Help: "Certificates asked of the road, by profile and outcome (issued, or the kind of failure).",
		}, []string{"profile", "outcome"}),
		validations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "chancery_validation_seconds",
			Help:    "Duration of attempts to validate a challenge, by method and outcome (valid, or the kind of failure).",
			Buckets: []float64{.001, .003, .01, .03, .1, .3, 1, 3, 10},
		}, []string{"method", "outcome"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chancery_requests_total",
			Help: "HTTP requests, by resource and status; 599 is an answer cut short.",
		}, []string{"resource", "status"}),
		expiry: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "chancery_ca_certificate_expiry_timestamp_seconds",
			Help: "When the CA's own certificates expire, in seconds since 1970.",
		}, []string{"certificate"}),
	}
	steps := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "chancery_store_step_seconds",
		Help:    "Duration of the store's steps.",
		Buckets: []float64{.0001, .0003, .001, .003, .01, .03, .1, .3, 1, 3},
	}, []string{"step"})
	for i, name := range stepNames {
		m.steps[i] = steps.WithLabelValues(name)
	}
	m.revocation = newRevocationMetrics(m.registry)
	m.registry.MustRegister(m.issued, m.validations, m.requests, m.expiry, steps,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the figures in Prometheus' format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Issued counts one issuance: the outcome is "issued" or a failure's kind.
func (m *Metrics) Issued(profile, outcome string) {
	if m != nil {
		m.issued.WithLabelValues(profile, outcome).Inc()
	}
}

// Validated counts one attempt to validate a challenge and its duration: the
// outcome is "valid" or a failure's kind.
func (m *Metrics) Validated(method, outcome string, took time.Duration) {
	if m != nil {
		m.validations.WithLabelValues(method, outcome).Observe(took.Seconds())
	}
}

// Queue registers the length of a queue, which is asked for when the metrics
// are read. A name can be registered once.
func (m *Metrics) Queue(name string, length func() int) {
	if m == nil {
		return
	}
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "chancery_queue_length",
		Help:        "Work that waits or is under way.",
		ConstLabels: prometheus.Labels{"queue": name},
	}, func() float64 { return float64(length()) }))
}

// Expiry says when one of the CA's own certificates expires: "root",
// "intermediate", "tls".
func (m *Metrics) Expiry(certificate string, notAfter time.Time) {
	if m != nil {
		m.expiry.WithLabelValues(certificate).Set(float64(notAfter.Unix()))
	}
}

// request counts an answer. There are few resources and few statuses, so the
// cache of bound counters stays small.
func (m *Metrics) request(resource string, status int) {
	if m == nil {
		return
	}
	key := boundKey{resource, status}
	counter, ok := m.bound.Load(key)
	if !ok {
		counter, _ = m.bound.LoadOrStore(key, m.requests.WithLabelValues(resource, strconv.Itoa(status)))
	}
	counter.(prometheus.Counter).Inc()
}
