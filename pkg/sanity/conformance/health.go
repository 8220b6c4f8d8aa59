package conformance

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	healthv1 "k8s.io/kubelet/pkg/apis/dra-health/v1"
	healthv1alpha1 "k8s.io/kubelet/pkg/apis/dra-health/v1alpha1"

	"example.com/dragoman/pkg/sanity/kubelet"
	"example.com/dragoman/pkg/sanity/node"
	"example.com/dragoman/pkg/sanity/suite"
)

func (s *subject) health() []suite.Case {
	source := helper + `DRAPlugin.WatchHealthStatus: "an initial [DeviceHealthReport] covering all devices"`
	return []suite.Case{{
		Name:    "health-covers-all-devices-v1",
		Promise: "The health stream of v1 begins with the health of all devices.",
		Source:  source,
		Run:     func(t *suite.T) { s.healthCoversAll(t, healthv1.DRAResourceHealthService, false) },
	}, {
		Name:    "health-covers-all-devices-v1alpha1",
		Promise: "The health stream of v1alpha1 begins with the health of all devices.",
		Source:  source,
		Run:     func(t *suite.T) { s.healthCoversAll(t, healthv1alpha1.DRAResourceHealthService, true) },
	}, {
		Name:    "health-is-sent-again",
		Promise: "Health is sent again before it is too old, also if nothing changed; else the kubelet takes it for unknown.",
		Source:  helper + `DRAPlugin.WatchHealthStatus: "re-send reports within that window even when nothing changed"`,
		Timeout: slow,
		Run:     s.healthIsSentAgain,
	}}
}

// watch begins to watch the health of devices, or ends the case where there is none to watch.
func (s *subject) watch(ctx context.Context, t *suite.T, service string, old bool) func() ([]kubelet.Health, error) {
	plugin := s.plugin(t)
	if !plugin.Offers(service) {
		t.NotRun("the driver offers no %s", service)
	}
	next, err := plugin.WatchHealth(ctx, old)
	t.Must(err, "watch the health of devices")
	return func() ([]kubelet.Health, error) {
		report, err := next()
		if status.Code(err) == codes.Unimplemented {
			t.NotRun("the driver says that it does not report health")
		}
		return report, err
	}
}

func (s *subject) healthCoversAll(t *suite.T, service string, old bool) {
	ctx, cancel := context.WithTimeout(t.Context(), node.Patience)
	defer cancel()
	missing := s.devices(t)
	next := s.watch(ctx, t, service, old)
	for reports := 1; len(missing) > 0; reports++ {
		report, err := next()
		t.Must(err, "wait for the health of %s", strings.Join(slices.Sorted(maps.Keys(missing)), ", "))
		for _, health := range report {
			delete(missing, health.Pool+"/"+health.Device)
		}
		// One report for each source of health is allowed; what comes much later is none of the beginning.
		if len(missing) > 0 && reports == 16 {
			t.Fatalf("the first %d reports do not cover %s", reports, strings.Join(slices.Sorted(maps.Keys(missing)), ", "))
		}
	}
}

func (s *subject) devices(t *suite.T) map[string]time.Time {
	all, err := s.Cluster.Devices(t.Context())
	t.Must(err, "read the devices")
	names := map[string]time.Time{}
	for _, device := range all {
		names[device.Pool+"/"+device.Name] = time.Time{}
	}
	return names
}

func (s *subject) healthIsSentAgain(t *suite.T) {
	plugin := s.plugin(t)
	service, old := healthv1.DRAResourceHealthService, false
	if !plugin.Offers(service) {
		service, old = healthv1alpha1.DRAResourceHealthService, true
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	next := s.watch(ctx, t, service, old)
	first, due, again := s.devices(t), map[string]time.Duration{}, map[string]bool{}
	longest, latest := time.Duration(0), time.Duration(0)
	silence := time.AfterFunc(node.Patience, cancel) // nothing is sent that may be waited for
	defer silence.Stop()
	for len(again) < len(first) {
		report, err := next()
		if err != nil {
			t.Fatalf("health was not sent again within %v, after which the kubelet takes it for unknown: %v", longest, err)
		}
		for _, health := range report {
			name, now := health.Pool+"/"+health.Device, time.Now()
			before, known := first[name]
			switch {
			case !known:
			case before.IsZero():
				first[name], due[name] = now, health.Timeout
				longest = max(longest, health.Timeout)
			case now.Sub(before) > due[name]:
				t.Fatalf("the health of %s was sent again after %v; it holds for %v: send it more often", name,
					now.Sub(before).Round(time.Millisecond), due[name])
			default:
				again[name], latest = true, max(latest, now.Sub(before))
			}
		}
		silence.Reset(longest + lateness)
	}
	t.Notef("it was sent again after %v at most", latest.Round(time.Millisecond))
}

// lateness is how much later than it may something is still waited for, to say how late it is.
const lateness = 2 * time.Second
