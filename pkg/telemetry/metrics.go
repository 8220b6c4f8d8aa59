package telemetry

import (
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const namespace = "dragoman"

// other is the label value for what is in none of the closed sets, so that no caller can make a set grow.
const other = "other"

// Values of the label result.
const (
	resultOK    = "ok"
	resultError = "error"
)

// phases of preparing a claim: reading it from the API server, waiting for its lock, reading and writing records,
// setting devices up, writing the CDI file.
func phases() []string { return []string{"get", "lock", "commit", "device", "cdi"} }

// verbs are those with which ResourceSlices are written.
func verbs() []string { return []string{"create", "update", "delete"} }

// kinds of problems with publishing ResourceSlices.
func kinds() []string {
	return []string{"dropped_fields", "invalid", "forbidden", "conflict", "unreachable", other}
}

// actions are what is put right without a call of the kubelet.
func actions() []string {
	return []string{"cdi_file_made", "marker_made", "cdi_file_removed", "marker_removed", "backend_swept",
		"record_quarantined", "claim_taken_back", other}
}

// reasons are why claims are not just prepared.
func reasons() []string {
	return []string{"half_prepared", "half_unprepared", "unreadable_record", "not_allocated", "other_devices", "gone",
		other}
}

// statusResults are what came of writing the status of a claim.
func statusResults() []string {
	return []string{"ok", "dropped", "forbidden", "refused", "unreachable", other}
}

// maxNamedDevices is how many unhealthy devices are named. Where there are more, something else is wrong than devices.
const maxNamedDevices = 32

// DeviceCounts are the devices of the node by state.
type DeviceCounts struct {
	Healthy, Unhealthy int
	// Names are those of the unhealthy ones, in an order that stays the same; the first 32 are shown.
	Names []string
}

// Metrics are the figures of one process. All methods may be called concurrently.
type Metrics struct {
	registry *prometheus.Registry

	prepare, unprepare *prometheus.HistogramVec
	phase              *prometheus.HistogramVec
	inFlight           prometheus.Gauge
	devices            *prometheus.GaugeVec
	unhealthy          *named
	sliceWrites        *prometheus.CounterVec
	publishErrors      *prometheus.CounterVec
	droppedFields      *prometheus.GaugeVec
	lastPublish        prometheus.Gauge
	reconciled         *prometheus.CounterVec
	unsettled          *prometheus.GaugeVec
	statusWrites       *prometheus.CounterVec
}

// Build says what the process was built from.
type Build struct{ Version, Revision, GoVersion string }

// NewMetrics returns figures that are all zero, each label value of a closed set included, so that a rate is defined
// from the start.
func NewMetrics(build Build) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		prepare: histogram("prepare_duration_seconds",
			"From the kubelet's call to the answer for one claim, reading the claim included.", "result"),
		unprepare: histogram("unprepare_duration_seconds",
			"From the kubelet's call to the answer for one claim.", "result"),
		phase: histogram("prepare_phase_duration_seconds",
			"Part of the time that preparing one claim takes.", "phase"),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: "calls_in_flight",
			Help: "Calls of the kubelet that are being worked on."}),
		devices: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: "devices",
			Help: "Devices of the node as the backend saw them last."}, []string{"state"}),
		unhealthy: newNamed("device_unhealthy", "1 for each unhealthy device, at most 32.", "device"),
		sliceWrites: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: "slice_writes_total",
			Help: "Writes of ResourceSlices to the API server."}, []string{"verb"}),
		publishErrors: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace,
			Name: "publish_errors_total", Help: "Times that ResourceSlices could not be published."}, []string{"kind"}),
		droppedFields: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: "dropped_fields",
			Help: "1 for each feature gate without which the API server drops fields of our ResourceSlices."},
			[]string{"feature"}),
		lastPublish: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace,
			Name: "last_publish_timestamp_seconds",
			Help: "When the API server was last seen to hold what was published, 0 if never."}),
		reconciled: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: "reconciled_total",
			Help: "Things that were put right without a call of the kubelet."}, []string{"action"}),
		unsettled: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: "unsettled_claims",
			Help: "Claims with something on the node that are not just prepared, when they were last compared with the " +
				"API server."}, []string{"reason"}),
		statusWrites: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace,
			Name: "claim_status_writes_total", Help: "Attempts to write the status of a claim."}, []string{"result"}),
	}
	m.registry.MustRegister(m.prepare, m.unprepare, m.phase, m.inFlight, m.devices, m.unhealthy.gauge, m.sliceWrites,
		m.publishErrors, m.droppedFields, m.lastPublish, m.reconciled, m.unsettled, m.statusWrites, buildInfo(build),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.zero()
	return m
}

func histogram(name, help, label string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help,
		// 0.25 ms … 65 s: a claim without side effects takes less than a millisecond, the kubelet waits for 45 s.
		Buckets: prometheus.ExponentialBuckets(0.00025, 2, 19)}, []string{label})
}

func (m *Metrics) zero() {
	for _, result := range []string{resultOK, resultError} {
		m.prepare.WithLabelValues(result)
		m.unprepare.WithLabelValues(result)
	}
	for _, phase := range phases() {
		m.phase.WithLabelValues(phase)
	}
	for _, verb := range verbs() {
		m.sliceWrites.WithLabelValues(verb)
	}
	for _, kind := range kinds() {
		m.publishErrors.WithLabelValues(kind)
	}
	for _, action := range actions() {
		m.reconciled.WithLabelValues(action)
	}
	for _, reason := range reasons() {
		m.Unsettled(reason, 0)
	}
	for _, result := range statusResults() {
		m.statusWrites.WithLabelValues(result)
	}
	m.Devices(DeviceCounts{})
}

// Prepared counts one claim that was prepared, or was not because of err.
func (m *Metrics) Prepared(d time.Duration, err error) {
	m.prepare.WithLabelValues(result(err)).Observe(d.Seconds())
}

// Unprepared counts one claim that was taken back, or was not because of err.
func (m *Metrics) Unprepared(d time.Duration, err error) {
	m.unprepare.WithLabelValues(result(err)).Observe(d.Seconds())
}

// Phase counts the time that one phase of preparing a claim took.
func (m *Metrics) Phase(phase string, d time.Duration) {
	m.phase.WithLabelValues(oneOf(phase, phases())).Observe(d.Seconds())
}

// InFlight adds to the number of calls that are being worked on.
func (m *Metrics) InFlight(delta int) { m.inFlight.Add(float64(delta)) }

// Devices replaces what is said about the node's devices.
func (m *Metrics) Devices(c DeviceCounts) {
	m.devices.WithLabelValues("healthy").Set(float64(c.Healthy))
	m.devices.WithLabelValues("unhealthy").Set(float64(c.Unhealthy))
	m.unhealthy.replace(c.Names[:min(len(c.Names), maxNamedDevices)])
}

// SeeDevices makes seen the source of the time when the devices were seen last, the zero time if never. It is asked
// when somebody reads the metrics. To be called once.
func (m *Metrics) SeeDevices(seen func() time.Time) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace,
		Name: "devices_seen_timestamp_seconds",
		Help: "When the backend last said which devices there are, 0 if never: once a minute at least."},
		func() float64 {
			if at := seen(); !at.IsZero() {
				return float64(at.UnixNano()) / 1e9
			}
			return 0
		}))
}

// SliceWrites counts writes of ResourceSlices.
func (m *Metrics) SliceWrites(verb string, n int) {
	m.sliceWrites.WithLabelValues(oneOf(verb, verbs())).Add(float64(n))
}

// PublishError counts one attempt at publishing that went wrong.
func (m *Metrics) PublishError(kind string) {
	m.publishErrors.WithLabelValues(oneOf(kind, kinds())).Inc()
}

// DroppedFields replaces the set of features without which the API server drops fields; none means that it keeps all.
// The names are those of the feature gates that the DRA library knows.
func (m *Metrics) DroppedFields(features []string) {
	m.droppedFields.Reset()
	for _, feature := range features {
		m.droppedFields.WithLabelValues(feature).Set(1)
	}
}

// Published notes when the API server was seen to hold what was published.
func (m *Metrics) Published(at time.Time) { m.lastPublish.Set(float64(at.UnixNano()) / 1e9) }

// CountRecords makes count the source of the number of claims that have a record, and of those whose record was put
// aside because it could not be read. It is asked when somebody reads the metrics, because two processes may take turns
// in changing them. While it gives an error, the figures are missing rather than wrong. To be called once.
func (m *Metrics) CountRecords(count func() (recorded, quarantined int, err error)) {
	m.registry.MustRegister(records{
		count: count,
		prepared: prometheus.NewDesc(namespace+"_prepared_claims",
			"Claims that are recorded as prepared, being prepared or being taken back.", nil, nil),
		quarantined: prometheus.NewDesc(namespace+"_quarantined_records",
			"Records of claims that were put aside because they could not be read.", nil, nil),
	})
}

// Reconciled counts one thing that was put right without a call of the kubelet.
func (m *Metrics) Reconciled(action string) {
	m.reconciled.WithLabelValues(oneOf(action, actions())).Inc()
}

// Unsettled replaces how many claims are not just prepared for that reason.
func (m *Metrics) Unsettled(reason string, claims int) {
	m.unsettled.WithLabelValues(oneOf(reason, reasons())).Set(float64(claims))
}

// StatusWritten counts one attempt to write the status of a claim.
func (m *Metrics) StatusWritten(result string) {
	m.statusWrites.WithLabelValues(oneOf(result, statusResults())).Inc()
}

// Handler serves the metrics in the formats that Prometheus understands.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

type records struct {
	count                 func() (recorded, quarantined int, err error)
	prepared, quarantined *prometheus.Desc
}

func (r records) Describe(out chan<- *prometheus.Desc) {
	out <- r.prepared
	out <- r.quarantined
}

func (r records) Collect(out chan<- prometheus.Metric) {
	recorded, quarantined, err := r.count()
	if err != nil {
		return
	}
	out <- prometheus.MustNewConstMetric(r.prepared, prometheus.GaugeValue, float64(recorded))
	out <- prometheus.MustNewConstMetric(r.quarantined, prometheus.GaugeValue, float64(quarantined))
}

func result(err error) string {
	if err != nil {
		return resultError
	}
	return resultOK
}

func oneOf(value string, set []string) string {
	if slices.Contains(set, value) {
		return value
	}
	return other
}
