package telemetry

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Values of the label verdict.
const (
	verdictAllowed = "allowed"
	verdictRefused = "refused"
	verdictBroken  = "broken" // the question made no sense
)

// ControllerMetrics are the figures of a process that serves a cluster rather than a node. All methods may be called
// concurrently.
type ControllerMetrics struct {
	registry *prometheus.Registry

	leading    prometheus.Gauge
	attach     *prometheus.HistogramVec
	attaching  prometheus.Gauge
	conditions *prometheus.CounterVec
	reviews    *prometheus.CounterVec
	expiry     prometheus.Gauge
}

// NewControllerMetrics returns figures that are all zero, each label value of a closed set included.
func NewControllerMetrics(build Build) *ControllerMetrics {
	m := &ControllerMetrics{
		registry: prometheus.NewRegistry(),
		leading: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: "leading",
			Help: "1 if this process is the one that attaches devices, else 0."}),
		attach: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace,
			Name: "attach_duration_seconds", Help: "How long attaching a device before binding took, or failing to.",
			// 10 ms … 655 s: the scheduler waits for 600 s.
			Buckets: prometheus.ExponentialBuckets(0.01, 2, 17)}, []string{"result"}),
		attaching: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: "attaching_devices",
			Help: "Devices that are being attached before binding."}),
		conditions: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace,
			Name: "binding_condition_writes_total", Help: "Attempts to set binding conditions in the status of a claim."},
			[]string{"result"}),
		reviews: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: "admission_reviews_total",
			Help: "Questions of the API server whether an object may be stored."}, []string{"verdict"}),
		expiry: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace,
			Name: "webhook_certificate_expiry_timestamp_seconds",
			Help: "When the certificate that the webhook serves ends, 0 if there is none."}),
	}
	m.registry.MustRegister(m.leading, m.attach, m.attaching, m.conditions, m.reviews, m.expiry, buildInfo(build),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, result := range []string{resultOK, resultError} {
		m.attach.WithLabelValues(result)
		m.conditions.WithLabelValues(result)
	}
	for _, verdict := range []string{verdictAllowed, verdictRefused, verdictBroken} {
		m.reviews.WithLabelValues(verdict)
	}
	return m
}

// Leading notes whether this process is the one that attaches devices.
func (m *ControllerMetrics) Leading(is bool) {
	m.leading.Set(0)
	if is {
		m.leading.Set(1)
	}
}

// Attached counts one device that was attached, or was not because of err.
func (m *ControllerMetrics) Attached(d time.Duration, err error) {
	m.attach.WithLabelValues(result(err)).Observe(d.Seconds())
}

// Attaching adds to the number of devices that are being attached.
func (m *ControllerMetrics) Attaching(delta int) { m.attaching.Add(float64(delta)) }

// ConditionsWritten counts one attempt to set conditions in the status of a claim.
func (m *ControllerMetrics) ConditionsWritten(err error) {
	m.conditions.WithLabelValues(result(err)).Inc()
}

// Reviewed counts one question of the API server. With broken it made no sense, whatever was answered.
func (m *ControllerMetrics) Reviewed(allowed, broken bool) {
	verdict := verdictRefused
	switch {
	case broken:
		verdict = verdictBroken
	case allowed:
		verdict = verdictAllowed
	}
	m.reviews.WithLabelValues(verdict).Inc()
}

// CertificateEnds notes when the certificate that the webhook serves ends.
func (m *ControllerMetrics) CertificateEnds(at time.Time) { m.expiry.Set(float64(at.Unix())) }

// Handler serves the metrics in the formats that Prometheus understands.
func (m *ControllerMetrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

func buildInfo(build Build) prometheus.Gauge {
	info := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: "build_info",
		Help: "1, with what the process was built from.", ConstLabels: prometheus.Labels{
			"version": build.Version, "revision": build.Revision, "goversion": build.GoVersion}})
	info.Set(1)
	return info
}
