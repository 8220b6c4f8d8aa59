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
	// Taints of devices, with the effect that was asked for (KEP-5055).
	Taints bool
	// NoneTaints are taints with the effect None, which Kubernetes 1.34 refuses.
	NoneTaints bool
	// Counters is where shared counters are kept (KEP-4815).
	Counters Counters
	// Shares is what lets several claims have a device at once: allowMultipleAllocations and request policies (KEP-5075).
	Shares bool
	// BindingConditions of devices that are prepared before a pod is bound (KEP-5007).
	BindingConditions bool
}

// Counters says in which slices an API server keeps shared counters.
type Counters string

// Where shared counters are kept.
const (
	CountersDropped Counters = "dropped" // nowhere: the feature gate DRAPartitionableDevices is off
	CountersBeside  Counters = "beside"  // in one slice with the devices that consume them: Kubernetes 1.34
	CountersApart   Counters = "apart"   // in slices without devices: Kubernetes 1.35 and later
)

// Complete says that nothing is missing, also of what a newer version of Kubernetes would bring.
func (f Features) Complete() bool {
	return f.Taints && f.NoneTaints && f.Counters == CountersApart && f.Shares && f.BindingConditions
}

// Missing returns the feature gates that would bring what is missing, sorted.
func (f Features) Missing() (gates []string) {
	for _, feature := range []struct {
		gate string
		kept bool
	}{
		{"DRAConsumableCapacity", f.Shares},
		{"DRADeviceBindingConditions", f.BindingConditions},
		{"DRADeviceTaints", f.Taints},
		{"DRAPartitionableDevices", f.Counters != CountersDropped},
	} {
		if !feature.kept {
			gates = append(gates, feature.gate)
		}
	}
	return gates
}

// The names in the slices of a probe, none of which is stored.
const (
	probeName = "probe"
	probeNone = "none"
)

// Probe finds out which optional fields the API server keeps, by creates that change nothing (dry run): what it drops
// is missing in its answer. That takes one request, two for Kubernetes 1.34 with feature gates on, and never more than
// seven. Effect is that of the taints which are going to be used. An error is a *[Problem] and means that it could not
// be found out. Of o, NodeUID and Observe are not used.
func Probe(ctx context.Context, o Options, effect resourceapi.DeviceTaintEffect) (Features, error) {
	p := probe{options: o}
	taint, none := p.taint(probeName, effect), p.taint(probeNone, resourceapi.DeviceTaintEffectNone)
	for _, q := range []question{
		// From 1.35 on counters are consumed in other slices than those which have them, before that in the same one.
		{layout: CountersApart, device: []setting{taint, none, shared, p.bound, consumer}},
		{layout: CountersBeside, device: []setting{taint, shared, p.bound, consumer}, counters: true},
	} {
		switch features, problem := p.ask(ctx, q); {
		case problem == nil:
			return features, nil
		case problem.Reason != Invalid:
			return Features{}, problem
		}
	}
	return p.oneByOne(ctx, taint)
}

// oneByOne is for an API server that refuses what it was asked at once. If it refuses the effect of the taint, none is
// kept: no taint is better than no slice.
func (p probe) oneByOne(ctx context.Context, taint setting) (Features, error) {
	all, problem := p.ask(ctx, question{device: []setting{taint}})
	if problem != nil && problem.Reason != Invalid {
		return Features{}, problem
	}
	for _, one := range []setting{shared, p.bound} {
		features, problem := p.ask(ctx, question{device: []setting{one}})
		if problem != nil {
			return Features{}, problem
		}
		all.Shares, all.BindingConditions = all.Shares || features.Shares, all.BindingConditions || features.BindingConditions
	}
	features, problem := p.ask(ctx, question{layout: CountersBeside, device: []setting{consumer}, counters: true})
	if problem != nil && problem.Reason == Invalid {
		features, problem = p.ask(ctx, question{layout: CountersApart, counters: true})
	}
	if problem != nil {
		return Features{}, problem
	}
	all.Counters = features.Counters
	return all, nil
}

type probe struct{ options Options }

// question is a slice that is or is not kept as it is.
type question struct {
	layout   Counters // what it means if counters are kept
	counters bool     // it has a counter set
	device   []setting
}

// setting sets some fields of a device.
type setting func(*resourceapi.Device)

func (p probe) taint(name string, effect resourceapi.DeviceTaintEffect) setting {
	return func(d *resourceapi.Device) {
		d.Taints = append(d.Taints, resourceapi.DeviceTaint{Key: p.options.DriverName + "/" + name, Effect: effect})
	}
}

func (p probe) bound(d *resourceapi.Device) {
	d.BindsToNode = new(true)
	d.BindingConditions = []string{p.options.DriverName + "/" + probeName}
	d.BindingFailureConditions = []string{p.options.DriverName + "/" + probeNone}
}

func shared(d *resourceapi.Device) {
	one := resource.MustParse("1")
	d.AllowMultipleAllocations = new(true)
	d.Capacity = map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{probeName: {
		Value: one, RequestPolicy: &resourceapi.CapacityRequestPolicy{
			Default: &one, ValidRange: &resourceapi.CapacityRequestPolicyRange{Min: &one},
		},
	}}
}

func consumer(d *resourceapi.Device) {
	d.ConsumesCounters = []resourceapi.DeviceCounterConsumption{{CounterSet: probeName, Counters: probeCounters()}}
}

func probeCounters() map[string]resourceapi.Counter {
	return map[string]resourceapi.Counter{probeName: {Value: resource.MustParse("1")}}
}

// ask returns what is kept of a question.
func (p probe) ask(ctx context.Context, q question) (Features, *Problem) {
	var spec resourceapi.ResourceSliceSpec
	if q.counters {
		spec.SharedCounters = []resourceapi.CounterSet{{Name: probeName, Counters: probeCounters()}}
	}
	if len(q.device) > 0 {
		spec.Devices = []resourceapi.Device{{Name: probeName}}
	}
	for _, set := range q.device {
		set(&spec.Devices[0])
	}
	kept, problem := p.create(ctx, spec)
	features := Features{Counters: CountersDropped}
	if problem != nil {
		return features, problem
	}
	if len(kept.SharedCounters) > 0 {
		features.Counters = q.layout
	}
	for _, d := range kept.Devices {
		if len(d.ConsumesCounters) > 0 {
			features.Counters = q.layout
		}
		for _, t := range d.Taints {
			isNone := t.Key == p.options.DriverName+"/"+probeNone
			features.Taints, features.NoneTaints = features.Taints || !isNone, features.NoneTaints || isNone
		}
		features.Shares = d.AllowMultipleAllocations != nil && d.Capacity[probeName].RequestPolicy != nil
		features.BindingConditions = d.BindsToNode != nil && len(d.BindingConditions) > 0
	}
	return features, nil
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
