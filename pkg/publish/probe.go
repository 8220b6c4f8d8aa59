package publish

import (
	"context"
	"fmt"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Features are the optional fields of ResourceSlices that an API server keeps.
type Features struct {
	// Taints of devices, with the effect that was asked for.
	Taints bool
	// Counters is where shared counters are kept.
	Counters Counters
}

// Counters says in which slices an API server keeps shared counters.
type Counters string

// Where shared counters are kept.
const (
	CountersDropped Counters = "dropped" // nowhere: the feature gate DRAPartitionableDevices is off
	CountersBeside  Counters = "beside"  // in one slice with the devices that consume them: Kubernetes 1.34
	CountersApart   Counters = "apart"   // in slices without devices: Kubernetes 1.35 and later
)

// Complete says that nothing is missing.
func (f Features) Complete() bool { return f.Taints && f.Counters == CountersApart }

// Missing returns the feature gates that would bring what is missing, sorted.
func (f Features) Missing() (gates []string) {
	if !f.Taints {
		gates = append(gates, "DRADeviceTaints")
	}
	if f.Counters == CountersDropped {
		gates = append(gates, "DRAPartitionableDevices")
	}
	return gates
}

// The names in the slices of a probe, none of which is stored.
const (
	probeName    = "probe"
	probeCounter = "counter"
)

// Probe finds out which optional fields the API server keeps, by creates that change nothing (dry run): what it drops
// is missing in its answer. Effect is that of the taints which are going to be used; Kubernetes 1.34 has not all of
// them. An error is a *[Problem] and means that it could not be found out. Of o, NodeUID and Observe are not used.
func Probe(ctx context.Context, o Options, effect resourceapi.DeviceTaintEffect) (Features, error) {
	p := probe{options: o}
	features := Features{Counters: CountersDropped}
	taint := resourceapi.DeviceTaint{Key: o.DriverName + "/" + probeName, Effect: effect}
	kept, err := p.create(ctx, resourceapi.ResourceSliceSpec{
		Devices: []resourceapi.Device{{Name: probeName, Taints: []resourceapi.DeviceTaint{taint}}},
	})
	switch {
	case err == nil:
		features.Taints = len(kept.Devices) > 0 && len(kept.Devices[0].Taints) > 0
	case err.Reason != Invalid: // This effect is refused, and no taint is better than no slice.
		return Features{}, err
	}
	if features.Counters, err = p.counters(ctx); err != nil {
		return Features{}, err
	}
	return features, nil
}

type probe struct{ options Options }

func (p probe) counters(ctx context.Context) (Counters, *Problem) {
	amount := map[string]resourceapi.Counter{probeCounter: {Value: resource.MustParse("1")}}
	sets := []resourceapi.CounterSet{{Name: probeName, Counters: amount}}
	consumer := resourceapi.Device{Name: probeName, ConsumesCounters: []resourceapi.DeviceCounterConsumption{
		{CounterSet: probeName, Counters: amount}}}
	kept, err := p.create(ctx, resourceapi.ResourceSliceSpec{
		SharedCounters: sets, Devices: []resourceapi.Device{consumer},
	})
	switch {
	case err == nil && len(kept.SharedCounters) == 0:
		return CountersDropped, nil
	case err == nil:
		return CountersBeside, nil
	case err.Reason != Invalid:
		return "", err
	}
	if kept, err = p.create(ctx, resourceapi.ResourceSliceSpec{SharedCounters: sets}); err != nil {
		return "", err
	}
	if len(kept.SharedCounters) == 0 {
		return CountersDropped, nil
	}
	return CountersApart, nil
}

// create returns what the API server would keep of spec. Admission policies see a slice of this driver in the pool of
// its node, as any other.
func (p probe) create(
	ctx context.Context, spec resourceapi.ResourceSliceSpec,
) (resourceapi.ResourceSliceSpec, *Problem) {
	spec.Driver, spec.NodeName = p.options.DriverName, &p.options.NodeName
	spec.Pool = resourceapi.ResourcePool{Name: p.options.NodeName, ResourceSliceCount: 1}
	slice := &resourceapi.ResourceSlice{
		ObjectMeta: metav1.ObjectMeta{GenerateName: fmt.Sprintf("%s-%s-", probeName, p.options.DriverName)},
		Spec:       spec,
	}
	kept, err := p.options.Client.ResourceV1().ResourceSlices().Create(ctx, slice,
		metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		problem := problemOf(fmt.Errorf("ask which fields of ResourceSlices are kept: %w", err), nil)
		if problem.Reason == Invalid {
			problem.text = problem.Err.Error() // Otherwise it would speak of devices.
		}
		return resourceapi.ResourceSliceSpec{}, problem
	}
	return kept.Spec, nil
}
