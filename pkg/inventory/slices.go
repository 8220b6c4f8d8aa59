package inventory

import (
	"cmp"
	"slices"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/dynamic-resource-allocation/deviceattribute"
	"k8s.io/utils/ptr"

	"example.com/dragoman/pkg/device"
)

// maxDevices is how many devices go into one slice. The API has room for 128, but only for 64 as soon as one of them
// has a taint, consumes counters or has a list as attribute; a taint must not change which device is in which slice.
const maxDevices = resourceapi.ResourceSliceMaxDevicesWithAdvancedFeatures

// LeftOut is something that a backend offered and that is not published: the API server would refuse the whole slice
// because of it, or would drop it.
type LeftOut struct {
	// Device is the name of the device; empty for what belongs to the pool, such as a counter set.
	Device string
	// Field is what is wrong, as a path in the device: "attributes[model]".
	Field string
	// Whole says that the device is left out altogether, not only Field.
	Whole bool
	// Reason says what is wrong, to follow the field: "has 70 bytes, of which the API allows 64".
	Reason string
}

// String returns a sentence without a full stop.
func (l LeftOut) String() string {
	switch {
	case l.Device == "":
		return l.Field + " is left out: it " + l.Reason
	case l.Whole:
		return "device " + l.Device + " is left out: " + l.Field + " " + l.Reason
	default:
		return l.Field + " of device " + l.Device + " is left out: it " + l.Reason
	}
}

// Slices turns a snapshot into the ResourceSlices of the node's pool, which has the name of the node, as far as the
// cluster can hold them, see [Offer]. Counter sets come first, in slices of their own or with the devices that consume
// them, then devices; sets in natural order of their names (gpu-2 before gpu-10), devices in the order of their places
// on the PCI bus and then of their names. The scheduler prefers what comes first. There is always at least one slice,
// since an empty pool says that the driver runs and has no devices. An unhealthy device has the taint
// <driver name>/unhealthy with the value "true". The generation is left to whoever publishes. What devices consist of
// is shared with the snapshot, which is not changed: a large machine is in memory once.
func Slices(
	s device.Snapshot, driverName, nodeName string, o Offer,
) ([]resourceapi.ResourceSliceSpec, []LeftOut) {
	var counterSets []resourceapi.CounterSet
	var leftOut []LeftOut
	if o.Counters != NoCounters {
		counterSets, leftOut = usableCounterSets(s.SharedCounters)
	}
	offered, notOffered := o.offered(s.Devices, driverName)
	devices, unusable := usableDevices(offered, counterSets)
	leftOut = slices.Concat(leftOut, notOffered, unusable)

	var specs []resourceapi.ResourceSliceSpec
	if o.Counters == CountersBeside {
		var tooLarge []LeftOut
		specs, tooLarge = beside(counterSets, devices, partsOf(offered))
		leftOut = append(leftOut, tooLarge...)
	} else {
		specs = apart(counterSets, devices)
	}
	if len(specs) == 0 {
		specs = make([]resourceapi.ResourceSliceSpec, 1)
	}
	for i := range specs {
		specs[i].Driver = driverName
		specs[i].NodeName = new(nodeName)
		specs[i].Pool = resourceapi.ResourcePool{Name: nodeName, ResourceSliceCount: int64(len(specs))}
	}
	slices.SortStableFunc(leftOut, func(a, b LeftOut) int {
		return cmp.Or(naturalCompare(a.Device, b.Device), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Reason, b.Reason))
	})
	return specs, leftOut
}

// partsOf returns what says of a name whether it is that of a device which is cut from another one.
func partsOf(all []device.Device) (isPart func(name string) bool) {
	parts := make(map[string]bool)
	for _, d := range all {
		if d.PartOf != "" {
			parts[d.Name] = true
		}
	}
	return func(name string) bool { return parts[name] }
}

// usableCounterSets returns the counter sets that fit the API, sorted.
func usableCounterSets(all []resourceapi.CounterSet) (usable []resourceapi.CounterSet, leftOut []LeftOut) {
	for name, same := range byName(all, func(s resourceapi.CounterSet) string { return s.Name }) {
		set := same[0]
		reason := cmp.Or(ambiguous(same), badLabel(name), badCounters(set.Counters))
		if reason != "" {
			leftOut = append(leftOut, LeftOut{Field: "sharedCounters[" + abridged(name) + "]", Reason: reason})
			continue
		}
		usable = append(usable, set)
	}
	slices.SortFunc(usable, func(a, b resourceapi.CounterSet) int { return naturalCompare(a.Name, b.Name) })
	return usable, leftOut
}

// usableDevices returns the devices that fit the API, or what of them does, sorted.
func usableDevices(
	all []device.Device, sets []resourceapi.CounterSet,
) (usable []resourceapi.Device, leftOut []LeftOut) {
	known := make(map[string]resourceapi.CounterSet, len(sets))
	for _, set := range sets {
		known[set.Name] = set
	}
	published := func(d device.Device) resourceapi.Device { return d.Device }
	named := byName(mapped(all, published), func(d resourceapi.Device) string { return d.Name })
	for _, first := range all { // in their order, since it is most often the right one
		same := named[first.Name]
		delete(named, first.Name)
		if len(same) == 0 {
			continue
		}
		if reason := cmp.Or(badLabel(first.Name), ambiguous(same)); reason != "" {
			leftOut = append(leftOut, LeftOut{Device: abridged(first.Name), Field: "name", Whole: true, Reason: reason})
			continue
		}
		d := same[0]
		problems := sanitise(&d, known)
		leftOut = append(leftOut, problems...)
		if !slices.ContainsFunc(problems, func(l LeftOut) bool { return l.Whole }) {
			usable = append(usable, d)
		}
	}
	slices.SortFunc(usable, compareDevices)
	return usable, leftOut
}

func byName[T any](all []T, name func(T) string) map[string][]T {
	groups := make(map[string][]T, len(all))
	for _, item := range all {
		groups[name(item)] = append(groups[name(item)], item)
	}
	return groups
}

func mapped[T, U any](all []T, f func(T) U) []U {
	result := make([]U, 0, len(all))
	for _, item := range all {
		result = append(result, f(item))
	}
	return result
}

// ambiguous says if things with the same name differ, so that nobody can tell which is meant.
func ambiguous[T any](same []T) string {
	for _, other := range same[1:] {
		if !equality.Semantic.DeepEqual(same[0], other) {
			return "is there several times with different content"
		}
	}
	return ""
}

func badLabel(name string) string {
	if len(validation.IsDNS1123Label(name)) > 0 {
		return "is not a DNS label (lower case letters, digits and '-', at most 63)"
	}
	return ""
}

// compareDevices orders devices as they are in the machine, as far as they say where that is; those that do not come
// last. Names may be made of UUIDs, whose order says nothing.
func compareDevices(a, b resourceapi.Device) int {
	placeA, placeB := pciBusID(a), pciBusID(b)
	if (placeA == "") != (placeB == "") {
		return cmp.Compare(len(placeB), len(placeA))
	}
	return cmp.Or(cmp.Compare(placeA, placeB), naturalCompare(a.Name, b.Name))
}

func pciBusID(d resourceapi.Device) string {
	return ptr.Deref(d.Attributes[deviceattribute.StandardDeviceAttributePCIBusID].StringValue, "")
}

// naturalCompare orders names as people do: numbers in them by value.
func naturalCompare(a, b string) int {
	restA, restB := a, b
	for restA != "" && restB != "" {
		var partA, partB string
		partA, restA = leadingPart(restA)
		partB, restB = leadingPart(restB)
		if isDigit(partA[0]) && isDigit(partB[0]) {
			numberA, numberB := trimZeros(partA), trimZeros(partB)
			if c := cmp.Or(cmp.Compare(len(numberA), len(numberB)), cmp.Compare(numberA, numberB)); c != 0 {
				return c
			}
			continue
		}
		if c := cmp.Compare(partA, partB); c != 0 {
			return c
		}
	}
	return cmp.Or(cmp.Compare(len(restA), len(restB)), cmp.Compare(a, b))
}

// leadingPart cuts off the leading digits, or all that is before the first digit.
func leadingPart(s string) (part, rest string) {
	end := 1
	for end < len(s) && isDigit(s[end]) == isDigit(s[0]) {
		end++
	}
	return s[:end], s[end:]
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func trimZeros(number string) string {
	for len(number) > 1 && number[0] == '0' {
		number = number[1:]
	}
	return number
}
