package allocate

import (
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/dynamic-resource-allocation/structured"
	"k8s.io/utils/ptr"

	"example.com/dragoman/pkg/view"
)

// Features is what a cluster's scheduler can do: its feature gates, as far as they matter to devices.
type Features struct {
	structured.Features
	// ExtendedResources has claims made for pods that ask for devices as limits (DRAExtendedResource).
	ExtendedResources bool
}

// FeaturesOf returns the features of a cluster: those that are on by default in its version, or in the newest that is
// known here if it does not say, and those that its slices, classes, claims and rules use. An API server drops the
// fields of features that are off, so whoever has such a field has the feature. Gates that are off by hand, or on
// and not used, cannot be seen.
func FeaturesOf(c *view.Cluster) Features {
	f := defaults(c.Version)
	for _, s := range c.Slices {
		f.usedBySlice(s)
	}
	for _, class := range c.Classes {
		f.ExtendedResources = f.ExtendedResources || class.Spec.ExtendedResourceName != nil
	}
	for _, claim := range c.Claims {
		f.usedByClaim(claim)
	}
	f.DeviceTaints = f.DeviceTaints || len(c.TaintRules) > 0
	return f
}

// defaults follows pkg/features/kube_features.go of Kubernetes 1.34 to 1.37.
func defaults(of string) Features {
	f := Features{Features: structured.Features{AdminAccess: true, PrioritizedList: true}}
	if isOlder(of, 36) {
		return f
	}
	f.PartitionableDevices = true
	f.DeviceTaints = true
	f.DeviceBindingAndStatus = true
	f.ConsumableCapacity = true
	f.ExtendedResources = true
	f.FractionalCapacityRange = !isOlder(of, 37)
	return f
}

// isOlder says that a version is known and older than 1.minor.
func isOlder(of string, minor uint) bool {
	v, err := version.ParseGeneric(of)
	return err == nil && v.LessThan(version.MajorMinor(1, minor))
}

func (f *Features) usedBySlice(s *resourceapi.ResourceSlice) {
	spec := &s.Spec
	f.PartitionableDevices = f.PartitionableDevices || len(spec.SharedCounters) > 0 || spec.PerDeviceNodeSelection != nil
	f.OptionalNodeOperations = f.OptionalNodeOperations || len(spec.SkipNodeOperations) > 0
	for i := range spec.Devices {
		d := &spec.Devices[i]
		f.PartitionableDevices = f.PartitionableDevices || len(d.ConsumesCounters) > 0
		f.DeviceTaints = f.DeviceTaints || len(d.Taints) > 0
		f.DeviceBindingAndStatus = f.DeviceBindingAndStatus || len(d.BindingConditions) > 0
		f.ConsumableCapacity = f.ConsumableCapacity || ptr.Deref(d.AllowMultipleAllocations, false)
		for _, counters := range d.ConsumesCounters {
			f.CompatibilityGroups = f.CompatibilityGroups || len(counters.CompatibilityGroups) > 0
		}
		for _, a := range d.Attributes {
			f.ListTypeAttributes = f.ListTypeAttributes ||
				a.StringValues != nil || a.IntValues != nil || a.BoolValues != nil || a.VersionValues != nil
		}
	}
}

func (f *Features) usedByClaim(claim *resourceapi.ResourceClaim) {
	for i := range claim.Spec.Devices.Requests {
		request := &claim.Spec.Devices.Requests[i]
		if e := request.Exactly; e != nil {
			f.ConsumableCapacity = f.ConsumableCapacity || e.Capacity != nil
			f.DeviceTaints = f.DeviceTaints || len(e.Tolerations) > 0
			f.DerivedAttributes = f.DerivedAttributes || len(e.DerivedAttributes) > 0
		}
		for j := range request.FirstAvailable {
			sub := &request.FirstAvailable[j]
			f.ConsumableCapacity = f.ConsumableCapacity || sub.Capacity != nil
			f.DeviceTaints = f.DeviceTaints || len(sub.Tolerations) > 0
			f.DerivedAttributes = f.DerivedAttributes || len(sub.DerivedAttributes) > 0
		}
	}
	if claim.Status.Allocation == nil {
		return
	}
	for _, r := range claim.Status.Allocation.Devices.Results {
		f.ConsumableCapacity = f.ConsumableCapacity || r.ShareID != nil
		f.DeviceBindingAndStatus = f.DeviceBindingAndStatus || len(r.BindingConditions) > 0
	}
}
