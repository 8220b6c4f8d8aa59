package publish

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// release is what versions of Kubernetes differ in (pkg/registry/resource/resourceslice and
// pkg/apis/resource/validation of 1.34 and 1.37).
type release struct {
	taints, counters, shares, binding bool // the feature gates
	beside                            bool // 1.34: counter sets and devices in one slice, no taint effect None
}

func (r release) admit(s *resourceapi.ResourceSlice) *apierrors.StatusError {
	var errs field.ErrorList
	if !r.counters {
		s.Spec.SharedCounters = nil
	}
	for i := range s.Spec.Devices {
		d := &s.Spec.Devices[i]
		if !r.taints {
			d.Taints = nil
		}
		if !r.counters {
			d.ConsumesCounters = nil
		}
		if !r.shares {
			d.AllowMultipleAllocations = nil
			for name, capacity := range d.Capacity {
				capacity.RequestPolicy = nil
				d.Capacity[name] = capacity
			}
		}
		if !r.binding {
			d.BindsToNode, d.BindingConditions, d.BindingFailureConditions = nil, nil, nil
		}
		if r.beside && slices.ContainsFunc(d.Taints, func(t resourceapi.DeviceTaint) bool { return t.Effect == "None" }) {
			errs = append(errs, field.NotSupported(field.NewPath("spec", "devices"), "None", []string{"NoSchedule"}))
		}
		if r.beside && len(d.ConsumesCounters) > 0 && len(s.Spec.SharedCounters) == 0 {
			errs = append(errs, field.NotFound(field.NewPath("spec", "devices"), d.Name))
		}
	}
	if !r.beside && s.Spec.SharedCounters != nil && s.Spec.Devices != nil {
		errs = append(errs, field.Invalid(field.NewPath("spec"), "", "only one of `sharedCounters` or `devices` is allowed"))
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(resourceapi.SchemeGroupVersion.WithKind("ResourceSlice").GroupKind(), s.Name, errs)
	}
	return nil
}

func probeOptions(client kubernetes.Interface) Options {
	return Options{Client: client, DriverName: driver, NodeName: node}
}

func TestProbe(t *testing.T) {
	const all = "DRAConsumableCapacity DRADeviceBindingConditions DRADeviceTaints DRAPartitionableDevices"
	everything := release{taints: true, counters: true, shares: true, binding: true}
	old := everything
	old.beside = true
	for name, test := range map[string]struct {
		release  release
		effect   resourceapi.DeviceTaintEffect
		want     Features
		missing  string
		requests int
	}{
		"1.34, gates off": {release{beside: true}, "NoSchedule", Features{Counters: CountersDropped}, all, 1},
		"1.34, counters on": {release{beside: true, counters: true}, "NoSchedule", Features{Counters: CountersBeside},
			"DRAConsumableCapacity DRADeviceBindingConditions DRADeviceTaints", 2},
		"1.34, taints on": {release{beside: true, taints: true}, "NoSchedule",
			Features{Taints: true, Counters: CountersDropped},
			"DRAConsumableCapacity DRADeviceBindingConditions DRAPartitionableDevices", 2},
		"1.34, all gates on": {old, "NoSchedule",
			Features{Taints: true, Counters: CountersBeside, Shares: true, BindingConditions: true}, "", 2},
		"1.34, an effect that it has not": {old, "None",
			Features{Counters: CountersBeside, Shares: true, BindingConditions: true}, "DRADeviceTaints", 6},
		"1.35, gates off": {release{}, "NoExecute", Features{Counters: CountersDropped}, all, 1},
		"1.35, taints on": {release{taints: true}, "None",
			Features{Taints: true, NoneTaints: true, Counters: CountersDropped},
			"DRAConsumableCapacity DRADeviceBindingConditions DRAPartitionableDevices", 1},
		"1.36, without binding conditions": {release{taints: true, counters: true, shares: true}, "NoExecute",
			Features{Taints: true, NoneTaints: true, Counters: CountersApart, Shares: true}, "DRADeviceBindingConditions", 1},
		"1.36, without shares": {release{taints: true, counters: true, binding: true}, "NoExecute",
			Features{Taints: true, NoneTaints: true, Counters: CountersApart, BindingConditions: true},
			"DRAConsumableCapacity", 1},
		"1.37": {everything, "NoSchedule", complete(), "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newAPIServer(t)
			s.admit = test.release.admit
			got, err := Probe(t.Context(), probeOptions(s.client(t)), test.effect)
			if err != nil || got != test.want {
				t.Errorf("got %+v, %v; want %+v", got, err, test.want)
			}
			if got.Complete() != (test.want == complete()) {
				t.Errorf("complete: %v", got.Complete())
			}
			if missing := strings.Join(got.Missing(), " "); missing != test.missing {
				t.Errorf("missing %q, want %q", missing, test.missing)
			}
			if s.writes() > 0 || len(s.stored()) > 0 {
				t.Errorf("something was written: %v", s.requests)
			}
			if n := s.count("rehearse"); n != test.requests {
				t.Errorf("%d requests, want %d", n, test.requests)
			}
		})
	}
}

func complete() Features {
	return Features{Taints: true, NoneTaints: true, Counters: CountersApart, Shares: true, BindingConditions: true}
}

// TestAnAPIServerThatTakesThingsOneByOneOnly is one with rules that nobody knows of yet.
func TestAnAPIServerThatTakesThingsOneByOneOnly(t *testing.T) {
	s := newAPIServer(t)
	s.admit = func(slice *resourceapi.ResourceSlice) *apierrors.StatusError {
		for _, d := range slice.Spec.Devices {
			if len(d.Taints) > 0 && len(d.BindingConditions) > 0 {
				return apierrors.NewInvalid(resourceapi.SchemeGroupVersion.WithKind("ResourceSlice").GroupKind(), "",
					field.ErrorList{field.Forbidden(field.NewPath("spec", "devices"), "not both")})
			}
		}
		return release{taints: true, counters: true, shares: true, binding: true}.admit(slice)
	}
	got, err := Probe(t.Context(), probeOptions(s.client(t)), "NoSchedule")
	want := complete()
	want.NoneTaints = false // which is not worth a question more
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if n := s.count("rehearse"); n > 7 {
		t.Errorf("%d requests", n)
	}
}

func TestAProbeThatIsNotAnsweredKnowsNothing(t *testing.T) {
	deny := func(status *apierrors.StatusError) func(*resourceapi.ResourceSlice) *apierrors.StatusError {
		return func(*resourceapi.ResourceSlice) *apierrors.StatusError { return status }
	}
	group := resourceapi.Resource("resourceslices")
	for name, test := range map[string]struct {
		admit func(*resourceapi.ResourceSlice) *apierrors.StatusError
		down  bool
		want  Reason
	}{
		"the API server is down": {nil, true, Unreachable},
		"RBAC forbids it":        {deny(apierrors.NewForbidden(group, "", errors.New("no"))), false, Forbidden},
		"an admission policy forbids it": {deny(apierrors.NewInvalid(
			resourceapi.SchemeGroupVersion.WithKind("ResourceSlice").GroupKind(), "",
			field.ErrorList{field.Invalid(nil, "", "ValidatingAdmissionPolicy 'p' denied request")})), false, Forbidden},
		"a webhook cannot rehearse": {deny(apierrors.NewBadRequest("admission webhook does not support dry run")), false,
			Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			s := newAPIServer(t)
			s.admit = test.admit
			s.setDown(test.down)
			_, err := Probe(t.Context(), probeOptions(s.client(t)), "NoSchedule")
			var problem *Problem
			if !errors.As(err, &problem) || problem.Reason != test.want {
				t.Fatalf("error %v, want reason %s", err, test.want)
			}
			if text := err.Error(); !strings.Contains(text, "ask which fields of ResourceSlices are kept") {
				t.Errorf("it does not say what it was about: %s", text)
			}
		})
	}
}

func TestAProbeIsASliceOfThisNode(t *testing.T) {
	var seen []*resourceapi.ResourceSlice
	s := newAPIServer(t)
	s.admit = func(slice *resourceapi.ResourceSlice) *apierrors.StatusError {
		seen = append(seen, slice.DeepCopy())
		return release{beside: true, taints: true, counters: true}.admit(slice)
	}
	if _, err := Probe(t.Context(), probeOptions(s.client(t)), "NoSchedule"); err != nil {
		t.Fatal(err)
	}
	for _, slice := range seen {
		if slice.Spec.Driver != driver || slice.Spec.Pool.Name != node || *slice.Spec.NodeName != node ||
			slice.Spec.Pool.ResourceSliceCount != 1 {
			t.Errorf("slice %+v", slice.Spec)
		}
	}
	if len(seen) != 2 {
		t.Errorf("%d requests", len(seen))
	}
}

// TestAProbeNeverForgetsDryRun looks at the requests themselves.
func TestAProbeNeverForgetsDryRun(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Query().Get("dryRun"); got != metav1.DryRunAll || r.Method != http.MethodPost {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		reply(w, apierrors.NewInvalid(resourceapi.SchemeGroupVersion.WithKind("ResourceSlice").GroupKind(), "", nil))
	}))
	defer server.Close()
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Probe(t.Context(), probeOptions(client), "NoSchedule"); err == nil {
		t.Error("nothing is known, and no error")
	}
}
