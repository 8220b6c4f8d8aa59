package degradation

import (
	"fmt"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"example.com/dragoman/pkg/device"
)

// machine has a device of each kind: plain, sick, tainted, tainted for information only, for several claims, prepared
// before binding, and one that can be cut, with a part of it.
func machine() device.Snapshot {
	s := partitionable(1, 1)
	s.Devices[0].Name, s.Devices[1].Name = "whole", "part"
	size, part := resource.MustParse("80Gi"), resource.MustParse("10Gi")
	taint := func(effect resourceapi.DeviceTaintEffect) []resourceapi.DeviceTaint {
		return []resourceapi.DeviceTaint{{Key: "example.com/maintenance", Effect: effect}}
	}
	for _, d := range []resourceapi.Device{
		{Name: "plain"},
		{Name: "sick"},
		{Name: "tainted", Taints: taint(resourceapi.DeviceTaintEffectNoExecute)},
		{Name: "noted", Taints: taint(resourceapi.DeviceTaintEffectNone)},
		{Name: "share", AllowMultipleAllocations: new(true),
			Capacity: map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{"memory": {Value: size,
				RequestPolicy: &resourceapi.CapacityRequestPolicy{Default: &part,
					ValidRange: &resourceapi.CapacityRequestPolicyRange{Min: &part, Max: &size, Step: &part}}}}},
		{Name: "fabric", BindsToNode: new(true), BindingConditions: []string{driver + "/attached"},
			BindingFailureConditions: []string{driver + "/attach-failed"}},
	} {
		s.Devices = append(s.Devices, device.Device{Device: d,
			Health: device.Health{Unhealthy: d.Name == "sick", Reason: "the fan is broken"}})
	}
	return s
}

// partitionable is GPUs of which each can be cut into so many parts, as MIG does: by counters of its own.
func partitionable(gpus, parts int) device.Snapshot {
	amounts := func(n, multiprocessors int) map[string]resourceapi.Counter {
		counters := map[string]resourceapi.Counter{
			"multiprocessors": {Value: *resource.NewQuantity(int64(multiprocessors), resource.DecimalSI)},
		}
		for i := range n {
			counters[fmt.Sprintf("memory-slice-%d", i)] = resourceapi.Counter{Value: resource.MustParse("1")}
		}
		return counters
	}
	var s device.Snapshot
	for g := range gpus {
		name := fmt.Sprintf("gpu-%d", g)
		s.SharedCounters = append(s.SharedCounters, resourceapi.CounterSet{Name: name, Counters: amounts(8, 132)})
		consuming := func(counters map[string]resourceapi.Counter) []resourceapi.DeviceCounterConsumption {
			return []resourceapi.DeviceCounterConsumption{{CounterSet: name, Counters: counters}}
		}
		s.Devices = append(s.Devices, device.Device{Device: resourceapi.Device{Name: name,
			ConsumesCounters: consuming(amounts(8, 132))}})
		for p := range parts {
			s.Devices = append(s.Devices, device.Device{PartOf: name, Device: resourceapi.Device{
				Name: fmt.Sprintf("%s-part-%d", name, p), ConsumesCounters: consuming(amounts(1+p%8, 16)),
			}})
		}
	}
	return s
}
