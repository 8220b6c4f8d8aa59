package validate

import (
	"fmt"
	"slices"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// slice judges a ResourceSlice. What its types say of themselves is judged already.
func (j judge) slice(spec *resourceapi.ResourceSliceSpec, at *field.Path, f *findings) {
	f.driverName(spec.Driver, at.Child("driver"))
	f.pool(spec.Pool, at.Child("pool"))
	f.nodes(nodes{spec.NodeName, spec.NodeSelector, spec.AllNodes, spec.PerDeviceNodeSelection}, true, at)
	if spec.NodeSelector != nil && len(spec.NodeSelector.NodeSelectorTerms) != 1 {
		f.add(field.Invalid(at.Child("nodeSelector", "nodeSelectorTerms"), len(spec.NodeSelector.NodeSelectorTerms),
			"must be exactly one term"))
	}
	if j.minor > Oldest && spec.SharedCounters != nil && spec.Devices != nil {
		f.add(field.Forbidden(at, "sharedCounters and devices must be in slices of their own"))
	}
	if most := j.mostDevices(spec); len(spec.Devices) > most {
		f.add(field.TooMany(at.Child("devices"), len(spec.Devices), most))
		return
	}
	seen := map[string]bool{}
	for i := range spec.Devices {
		at, name := at.Child("devices").Index(i), spec.Devices[i].Name
		j.device(&spec.Devices[i], spec.PerDeviceNodeSelection != nil && *spec.PerDeviceNodeSelection, at, f)
		if seen[name] {
			f.add(field.Duplicate(at.Child("name"), name))
		}
		seen[name] = true
	}
	j.counterSets(spec, at, f)
	j.operations(spec, at, f)
}

// mostDevices is lower for slices whose devices can be large. That rule came with Kubernetes 1.35.
func (j judge) mostDevices(spec *resourceapi.ResourceSliceSpec) int {
	large := slices.ContainsFunc(spec.Devices, func(d resourceapi.Device) bool {
		for _, a := range d.Attributes {
			if a.BoolValues != nil || a.IntValues != nil || a.StringValues != nil || a.VersionValues != nil {
				return true
			}
		}
		return len(d.Taints) > 0 || len(d.ConsumesCounters) > 0
	})
	if large && j.minor > Oldest {
		return resourceapi.ResourceSliceMaxDevicesWithAdvancedFeatures
	}
	return resourceapi.ResourceSliceMaxDevices
}

func (f *findings) pool(pool resourceapi.ResourcePool, at *field.Path) {
	f.poolName(pool.Name, at.Child("name"))
	if pool.ResourceSliceCount <= 0 {
		f.add(field.Invalid(at.Child("resourceSliceCount"), pool.ResourceSliceCount, "must be greater than zero"))
	}
	if pool.Generation < 0 {
		f.add(field.Invalid(at.Child("generation"), pool.Generation, "must not be negative"))
	}
}

// counterSets judges shared counters. In 1.34, devices and the counters that they consume were in one slice, and all
// counters had a limit together.
func (j judge) counterSets(spec *resourceapi.ResourceSliceSpec, at *field.Path, f *findings) {
	const mostIn34, mostConsumedIn34, mostOfDeviceIn34 = 32, 1024, 32
	total, consumed := 0, 0
	counters := map[string]map[string]resourceapi.Counter{}
	for i, set := range spec.SharedCounters {
		at := at.Child("sharedCounters").Index(i)
		f.label(set.Name, at.Child("name"))
		f.counters(set.Counters, resourceapi.ResourceSliceMaxCountersPerCounterSet, at.Child("counters"))
		counters[set.Name] = set.Counters
		total += len(set.Counters)
	}
	if j.minor > Oldest {
		return
	}
	for i, device := range spec.Devices {
		ofDevice := 0
		for k, c := range device.ConsumesCounters {
			at := at.Child("devices").Index(i).Child("consumesCounters").Index(k)
			consumed += len(c.Counters)
			if ofDevice += len(c.Counters); ofDevice > mostOfDeviceIn34 {
				f.add(field.TooMany(at, ofDevice, mostOfDeviceIn34))
			}
			set, found := counters[c.CounterSet]
			if !found {
				f.add(field.NotFound(at.Child("counterSet"), c.CounterSet))
				continue
			}
			for _, name := range sortedKeys(c.Counters) {
				if _, found := set[name]; !found {
					f.add(field.NotFound(at.Child("counters").Key(name), name))
				}
			}
		}
	}
	if total > mostIn34 {
		f.add(field.TooMany(at.Child("sharedCounters"), total, mostIn34))
	}
	if consumed > mostConsumedIn34 {
		f.add(field.TooMany(at.Child("devices"), consumed, mostConsumedIn34))
	}
}

func (f *findings) counters(counters map[string]resourceapi.Counter, most int, at *field.Path) {
	if len(counters) == 0 {
		f.add(field.Required(at, "at least one counter"))
	}
	if len(counters) > most {
		f.add(field.TooMany(at, len(counters), most))
		return
	}
	for _, name := range sortedKeys(counters) {
		f.label(name, at)
	}
}

// operations is about partition types and about drivers that need not be called, both alpha in 1.37.
func (j judge) operations(spec *resourceapi.ResourceSliceSpec, at *field.Path, f *findings) {
	skips := func(o resourceapi.SkipNodeOperation) bool { return slices.Contains(spec.SkipNodeOperations, o) }
	if skips(resourceapi.SkipNodeOperationNodePrepareResources) && !skips(resourceapi.SkipNodeOperationAll) &&
		!skips(resourceapi.SkipNodeOperationNodeUnprepareResources) {
		f.add(field.Forbidden(at.Child("skipNodeOperations"),
			"NodePrepareResources can be skipped only together with NodeUnprepareResources"))
	}
	if spec.PartitionTypeAttribute == nil {
		return
	}
	name := string(*spec.PartitionTypeAttribute)
	consumes := false
	for i, device := range spec.Devices {
		if len(device.ConsumesCounters) == 0 {
			continue
		}
		consumes = true
		attribute, ok := device.Attributes[resourceapi.QualifiedName(name)]
		if bare, own := strings.CutPrefix(name, spec.Driver+"/"); !ok && own {
			attribute, ok = device.Attributes[resourceapi.QualifiedName(bare)]
		}
		if !ok || attribute.StringValue == nil {
			f.add(field.Required(at.Child("devices").Index(i).Child("attributes").Key(name),
				"a string, because partitionTypeAttribute names it"))
		}
	}
	if !consumes {
		f.add(field.Forbidden(at.Child("partitionTypeAttribute"), "is for slices whose devices consume counters"))
	}
}

// device judges one device of a slice.
func (j judge) device(d *resourceapi.Device, perDevice bool, at *field.Path, f *findings) {
	f.label(d.Name, at.Child("name"))
	values := 0
	for _, name := range sortedKeys(d.Attributes) {
		a, at := d.Attributes[name], at.Child("attributes").Key(string(name))
		f.qualified(string(name), at)
		f.attribute(a, at)
		values += max(1, len(a.BoolValues)+len(a.IntValues)+len(a.StringValues)+len(a.VersionValues))
	}
	const mostAttributes = resourceapi.ResourceSliceMaxAttributesAndCapacitiesPerDevice
	if n := len(d.Attributes) + len(d.Capacity); n > mostAttributes {
		f.add(field.Invalid(at, n, fmt.Sprintf("attributes and capacities may be %d together", mostAttributes)))
	}
	if values > resourceapi.ResourceSliceMaxAttributeValuesPerDevice {
		f.add(field.Invalid(at, values, fmt.Sprintf("the values of all attributes, those in lists too, may be %d",
			resourceapi.ResourceSliceMaxAttributeValuesPerDevice)))
	}
	j.capacities(d, at.Child("capacity"), f)
	j.taints(d.Taints, at.Child("taints"), f)
	for i, c := range d.ConsumesCounters {
		at := at.Child("consumesCounters").Index(i)
		f.label(c.CounterSet, at.Child("counterSet"))
		f.counters(c.Counters, resourceapi.ResourceSliceMaxCountersPerDeviceCounterConsumption, at.Child("counters"))
	}
	own := nodes{d.NodeName, d.NodeSelector, d.AllNodes, nil}
	switch {
	case perDevice:
		f.nodes(own, false, at)
	case own != nodes{}:
		f.add(field.Forbidden(at,
			"nodeName, nodeSelector and allNodes of a device need perDeviceNodeSelection: true in the slice"))
	}
	f.bindingConditions(d.BindingConditions, d.BindingFailureConditions, at)
	f.nodeAllocatable(d, at.Child("nodeAllocatableResources"))
}

func (j judge) taints(taints []resourceapi.DeviceTaint, at *field.Path, f *findings) {
	most := resourceapi.DeviceTaintsMaxLength
	if j.minor == Oldest {
		most = 4
	}
	if len(taints) > most {
		f.add(field.TooMany(at, len(taints), most))
		return
	}
	for i, t := range taints {
		j.taint(t, at.Index(i), f)
	}
}

func (j judge) taint(t resourceapi.DeviceTaint, at *field.Path, f *findings) {
	f.labelKey(t.Key, at.Child("key"))
	if t.Value != "" {
		f.labelValue(t.Value, at.Child("value"))
	}
	if t.Effect == "" {
		f.add(field.Required(at.Child("effect"), "NoSchedule or NoExecute"))
		return
	}
	j.effect(t.Effect, at.Child("effect"), f)
}

// taintRule judges a DeviceTaintRule.
func (j judge) taintRule(spec *resourceapi.DeviceTaintRuleSpec, at *field.Path, f *findings) {
	if s := spec.DeviceSelector; s != nil {
		at := at.Child("deviceSelector")
		if s.Driver != nil {
			f.driverName(*s.Driver, at.Child("driver"))
		}
		if s.Pool != nil {
			f.poolName(*s.Pool, at.Child("pool"))
		}
		if s.Device != nil {
			f.label(*s.Device, at.Child("device"))
		}
	}
	j.taint(spec.Taint, at.Child("taint"), f)
}

// bindingConditions come in pairs of lists, without anything twice.
func (f *findings) bindingConditions(conditions, failures []string, at *field.Path) {
	for i, c := range conditions {
		at := at.Child("bindingConditions").Index(i)
		f.labelKey(c, at)
		if slices.Contains(conditions[:i], c) {
			f.add(field.Duplicate(at, c))
		}
	}
	for i, c := range failures {
		at := at.Child("bindingFailureConditions").Index(i)
		f.labelKey(c, at)
		if slices.Contains(failures[:i], c) {
			f.add(field.Duplicate(at, c))
		}
		if slices.Contains(conditions, c) {
			f.add(field.Invalid(at, c, "is a binding condition too"))
		}
	}
	if (len(conditions) == 0) != (len(failures) == 0) {
		f.add(field.Required(at, "bindingConditions and bindingFailureConditions need each other"))
	}
}
