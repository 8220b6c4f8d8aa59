package inventory

import (
	"fmt"
	"slices"

	resourceapi "k8s.io/api/resource/v1"
)

// Offer says which optional fields of ResourceSlices the cluster keeps, and what shall become of unhealthy devices.
// The zero value is the least that any cluster takes: devices that one claim has as a whole, without taints.
type Offer struct {
	// Counters is where shared counters may be.
	Counters CounterLayout
	// Shares says that the cluster keeps what lets several claims have one device. Without it each device is offered to
	// one claim at a time.
	Shares bool
	// BindingConditions says that the cluster keeps them. Without it devices that have some are left out: pods would be
	// bound before those are prepared.
	BindingConditions bool
	// Taints says that the cluster keeps taints.
	Taints bool
	// NoneTaints says that it keeps those with the effect None too. Without it there are none, and at most four taints.
	NoneTaints bool
	// TaintEffect is the effect of the taint of an unhealthy device; empty for no taint.
	TaintEffect resourceapi.DeviceTaintEffect
	// LeaveOutUnhealthy leaves out, where Taints is false, unhealthy devices and those with taints that keep pods away.
	LeaveOutUnhealthy bool
}

// CounterLayout says in which slices the API server wants shared counters (KEP-4815).
type CounterLayout string

const (
	// NoCounters is for API servers that drop them (feature gate DRAPartitionableDevices). Then what is cut from a
	// device on demand is not offered, and whole devices are offered without what they consume.
	NoCounters CounterLayout = ""
	// CountersBeside is for Kubernetes 1.34: a counter set has to be in one slice with all devices that consume it.
	CountersBeside CounterLayout = "beside"
	// CountersApart is for Kubernetes 1.35 and later: a slice holds counter sets or devices.
	CountersApart CounterLayout = "apart"
)

// What Kubernetes 1.34 allows in one slice; later versions have other limits (k8s.io/api v0.34, resource/v1/types.go).
const (
	besideMaxDevices  = resourceapi.ResourceSliceMaxDevices
	besideMaxCounters = 32   // in all counter sets of a slice together, and consumed by one device
	besideMaxConsumed = 1024 // by all devices of a slice together
)

// family is counter sets and devices that have to be in one slice.
type family struct {
	sets    []resourceapi.CounterSet
	devices []resourceapi.Device
}

// families returns the counter sets, each with the devices that consume it, in natural order of the sets, and the
// devices that consume none. A device may consume two sets, which makes one family of theirs.
func families(
	sets []resourceapi.CounterSet, devices []resourceapi.Device,
) (all []*family, loose []resourceapi.Device) {
	of := make(map[string]*family, len(sets))
	for _, set := range sets {
		of[set.Name] = &family{sets: []resourceapi.CounterSet{set}}
	}
	for _, d := range devices {
		if len(d.ConsumesCounters) == 0 {
			loose = append(loose, d)
			continue
		}
		home := of[d.ConsumesCounters[0].CounterSet]
		home.devices = append(home.devices, d)
		for _, consumption := range d.ConsumesCounters[1:] {
			other := of[consumption.CounterSet]
			if other == home {
				continue
			}
			home.sets, home.devices = append(home.sets, other.sets...), append(home.devices, other.devices...)
			for _, set := range other.sets {
				of[set.Name] = home
			}
		}
	}
	for _, set := range sets {
		if f := of[set.Name]; !slices.Contains(all, f) {
			all = append(all, f)
		}
	}
	for _, f := range all {
		slices.SortFunc(f.sets, func(a, b resourceapi.CounterSet) int { return naturalCompare(a.Name, b.Name) })
		slices.SortFunc(f.devices, compareDevices)
	}
	return all, loose
}

// tooLarge says why a family cannot be in one slice, empty if it can.
func (f *family) tooLarge() string {
	counters, consumed, most := 0, 0, 0
	for _, set := range f.sets {
		counters += len(set.Counters)
	}
	for _, d := range f.devices {
		n := 0
		for _, consumption := range d.ConsumesCounters {
			n += len(consumption.Counters)
		}
		consumed, most = consumed+n, max(most, n)
	}
	if len(f.devices) <= besideMaxDevices && counters <= besideMaxCounters && consumed <= besideMaxConsumed &&
		most <= besideMaxCounters {
		return ""
	}
	return fmt.Sprintf("has %d counters, of which %d devices consume %d: Kubernetes 1.34 allows %d, %d and %d in the one "+
		"slice that they have to share, and later versions more", counters, len(f.devices), consumed,
		besideMaxCounters, besideMaxDevices, besideMaxConsumed)
}

// together returns the two as one.
func (f *family) together(other *family) *family {
	return &family{sets: slices.Concat(f.sets, other.sets), devices: slices.Concat(f.devices, other.devices)}
}

// beside puts counter sets into one slice with their consumers, as many families as fit, and other devices after them.
// A family that is too large is treated like one for which there is no feature; isPart says what is cut from others.
func beside(
	sets []resourceapi.CounterSet, devices []resourceapi.Device, isPart func(name string) bool,
) (specs []resourceapi.ResourceSliceSpec, leftOut []LeftOut) {
	all, loose := families(sets, devices)
	var open *family
	finish := func() {
		if open != nil {
			specs = append(specs, resourceapi.ResourceSliceSpec{SharedCounters: open.sets, Devices: open.devices})
		}
	}
	for _, f := range all {
		if reason := f.tooLarge(); reason != "" {
			leftOut = append(leftOut, LeftOut{Field: "sharedCounters[" + f.sets[0].Name + "]", Reason: reason})
			for _, d := range f.devices {
				if !isPart(d.Name) {
					d.ConsumesCounters = nil
					loose = append(loose, d)
				}
			}
			continue
		}
		if open != nil && open.together(f).tooLarge() == "" {
			open = open.together(f)
			continue
		}
		finish()
		open = f
	}
	finish()
	slices.SortFunc(loose, compareDevices)
	return append(specs, inChunks(loose)...), leftOut
}

// apart puts counter sets into slices of their own, before those with devices.
func apart(sets []resourceapi.CounterSet, devices []resourceapi.Device) (specs []resourceapi.ResourceSliceSpec) {
	for chunk := range slices.Chunk(sets, resourceapi.ResourceSliceMaxCounterSets) {
		specs = append(specs, resourceapi.ResourceSliceSpec{SharedCounters: slices.Clip(chunk)})
	}
	return append(specs, inChunks(devices)...)
}

func inChunks(devices []resourceapi.Device) (specs []resourceapi.ResourceSliceSpec) {
	for chunk := range slices.Chunk(devices, maxDevices) {
		specs = append(specs, resourceapi.ResourceSliceSpec{Devices: slices.Clip(chunk)})
	}
	return specs
}
