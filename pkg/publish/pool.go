package publish

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	"k8s.io/utils/ptr"

	"example.com/dragoman/pkg/equal"
)

// poolError is something that the API server would accept in each slice but that makes the pool useless, or that the
// controller would refuse.
type poolError struct{ text string }

func (e *poolError) Error() string { return e.text }

// checkPool finds what the controller refuses for good: it would then write nothing at all until the next update.
func checkPool(specs []resourceapi.ResourceSliceSpec, pool string) error {
	counters := make(map[string]resourceapi.CounterSet)
	for i, spec := range specs {
		if spec.Pool.Name != pool {
			return &poolError{fmt.Sprintf("slice #%d is of pool %q instead of %q", i, spec.Pool.Name, pool)}
		}
		for _, set := range spec.SharedCounters {
			if _, ok := counters[set.Name]; ok {
				return &poolError{fmt.Sprintf("counter set %q is there twice", set.Name)}
			}
			counters[set.Name] = set
		}
	}
	devices := make(map[string]bool)
	for _, spec := range specs {
		for _, device := range spec.Devices {
			if devices[device.Name] {
				return &poolError{fmt.Sprintf("device %q is there twice", device.Name)}
			}
			devices[device.Name] = true
			for _, consumption := range device.ConsumesCounters {
				set, ok := counters[consumption.CounterSet]
				if !ok {
					return &poolError{fmt.Sprintf("device %q consumes counter set %q, which does not exist", device.Name,
						consumption.CounterSet)}
				}
				for _, name := range slices.Sorted(maps.Keys(consumption.Counters)) {
					if _, ok := set.Counters[name]; !ok {
						return &poolError{fmt.Sprintf("device %q consumes counter %q, which counter set %q does not have",
							device.Name, name, set.Name)}
					}
				}
			}
		}
	}
	return nil
}

// difference is how what the API server holds differs from what it shall hold.
type difference struct {
	// comparable says that the slices are the same in number and form a whole, so that they differ by content only.
	comparable bool
	// changed are the indexes of slices with another content, if comparable.
	changed []int
}

func (d difference) none() bool { return d.comparable && len(d.changed) == 0 }

// compare expects held in the order of the names, which begin with the index of the slice.
func compare(held []*resourceapi.ResourceSlice, wanted []resourceapi.ResourceSliceSpec) difference {
	if len(held) != len(wanted) {
		return difference{}
	}
	for i, slice := range held {
		if slice.Spec.Driver != wanted[i].Driver || slice.Spec.Pool.Name != wanted[i].Pool.Name ||
			ptr.Deref(slice.Spec.NodeName, "") != ptr.Deref(wanted[i].NodeName, "") ||
			slice.Spec.Pool.ResourceSliceCount != int64(len(wanted)) ||
			slice.Spec.Pool.Generation != held[0].Spec.Pool.Generation {
			return difference{}
		}
	}
	d := difference{comparable: true}
	for i, slice := range held {
		if !sameContent(slice.Spec, wanted[i]) {
			d.changed = append(d.changed, i)
		}
	}
	return d
}

// sameContent compares what the controller compares. The time of a taint, which the API server fills in, does not
// count.
func sameContent(a, b resourceapi.ResourceSliceSpec) bool {
	return equal.Devices(a.Devices, b.Devices, resourceslice.DevicesDeepEqual) &&
		equality.Semantic.DeepEqual(a.SharedCounters, b.SharedCounters) &&
		equality.Semantic.DeepEqual(a.PerDeviceNodeSelection, b.PerDeviceNodeSelection) &&
		equality.Semantic.DeepEqual(a.PartitionTypeAttribute, b.PartitionTypeAttribute) &&
		equality.Semantic.DeepEqual(a.SkipNodeOperations, b.SkipNodeOperations)
}

// sameSpec compares all that there is.
func sameSpec(a, b resourceapi.ResourceSliceSpec) bool {
	if !sameContent(a, b) {
		return false
	}
	a.Devices, b.Devices = nil, nil
	return equality.Semantic.DeepEqual(a, b)
}

// oneByOne says whether the changed slices can be written one after the other with a good pool after each: all hold
// the same devices as before, and no counter set changed. It is worth it unless all slices changed.
func oneByOne(held []*resourceapi.ResourceSlice, wanted []resourceapi.ResourceSliceSpec, d difference) bool {
	if !d.comparable || len(d.changed) < 2 || len(d.changed) == len(held) {
		return false
	}
	for _, i := range d.changed {
		if !equality.Semantic.DeepEqual(held[i].Spec.SharedCounters, wanted[i].SharedCounters) ||
			!slices.Equal(deviceNames(held[i].Spec), deviceNames(wanted[i])) {
			return false
		}
	}
	return true
}

func deviceNames(spec resourceapi.ResourceSliceSpec) []string {
	names := make([]string, 0, len(spec.Devices))
	for _, device := range spec.Devices {
		names = append(names, device.Name)
	}
	return names
}

// specsOf returns the content of slices as it can be published again.
func specsOf(held []*resourceapi.ResourceSlice) []resourceapi.ResourceSliceSpec {
	specs := make([]resourceapi.ResourceSliceSpec, 0, len(held))
	for _, slice := range held {
		specs = append(specs, slice.Spec)
	}
	return specs
}

// resources returns specs in the controller's form. No slices at all means no pool.
func resources(pool string, specs []resourceapi.ResourceSliceSpec) *resourceslice.DriverResources {
	if len(specs) == 0 {
		return &resourceslice.DriverResources{}
	}
	list := make([]resourceslice.Slice, 0, len(specs))
	for _, spec := range specs {
		list = append(list, resourceslice.Slice{
			Devices: spec.Devices, SharedCounters: spec.SharedCounters, PerDeviceNodeSelection: spec.PerDeviceNodeSelection,
			PartitionTypeAttribute: spec.PartitionTypeAttribute, SkipNodeOperations: spec.SkipNodeOperations,
		})
	}
	return &resourceslice.DriverResources{Pools: map[string]resourceslice.Pool{pool: {Slices: list}}}
}

func byName(a, b *resourceapi.ResourceSlice) int { return cmp.Compare(a.Name, b.Name) }
