//go:build cgo

package mig

import (
	"fmt"
	"maps"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// A GPU has one counter set (KEP-4815), named after the device that is the whole GPU. It counts engines and memory,
// and each memory slice by itself: two partitions that overlap want the same slice, of which there is one. The
// scheduler therefore never gives out both. Where these would let more instances of a profile be than NVML allows, the
// profile has a counter of its own.

// quantity is one thing that a profile has a number of.
type quantity struct {
	capacity resourceapi.QualifiedName // a C identifier
	counter  string                    // a DNS label
	of       func(nvml.GpuInstanceProfileInfo) int64
	format   resource.Format
}

// quantities are what instances of a GPU share between them.
func quantities() []quantity {
	type info = nvml.GpuInstanceProfileInfo
	return []quantity{
		{
			"multiprocessors", "multiprocessors",
			func(i info) int64 { return int64(i.MultiprocessorCount) }, resource.DecimalSI,
		},
		{"copyEngines", "copy-engines", func(i info) int64 { return int64(i.CopyEngineCount) }, resource.DecimalSI},
		{"decoders", "decoders", func(i info) int64 { return int64(i.DecoderCount) }, resource.DecimalSI},
		{"encoders", "encoders", func(i info) int64 { return int64(i.EncoderCount) }, resource.DecimalSI},
		{"jpegEngines", "jpeg-engines", func(i info) int64 { return int64(i.JpegCount) }, resource.DecimalSI},
		{"ofaEngines", "ofa-engines", func(i info) int64 { return int64(i.OfaCount) }, resource.DecimalSI},
		{"memory", "memory", memoryOf, resource.BinarySI},
	}
}

// memoryOf is in bytes; MemorySizeMB of NVML counts MiB.
func memoryOf(i nvml.GpuInstanceProfileInfo) int64 { return int64(i.MemorySizeMB) << 20 }

func slice(n uint32) string { return fmt.Sprintf("memory-slice-%d", n) }

// CounterSet returns what partitions of a GPU consume; none without partitions, since an empty one is refused.
//
// NVML does not say how many engines a GPU has, but how many instances of a profile it can have at the same time
// (InstanceCount): it has as many engines as the most demanding of these promises takes.
func (l Layout) CounterSet(name string) (resourceapi.CounterSet, bool) {
	counters := map[string]resourceapi.Counter{}
	for _, q := range quantities() {
		if total := l.total(q); total > 0 {
			counters[q.counter] = resourceapi.Counter{Value: *resource.NewQuantity(total, q.format)}
		}
	}
	partitions := l.Partitions()
	for _, p := range partitions {
		maps.Copy(counters, p.slices())
	}
	for _, p := range l {
		if p.Counted {
			count := resource.NewQuantity(int64(p.Info.InstanceCount), resource.DecimalSI)
			counters[p.counter()] = resourceapi.Counter{Value: *count}
		}
	}
	return resourceapi.CounterSet{Name: name, Counters: counters}, len(partitions) > 0
}

func (l Layout) total(q quantity) int64 {
	var most int64
	for _, profile := range l {
		most = max(most, q.of(profile.Info)*int64(profile.Info.InstanceCount))
	}
	return most
}

// fit returns how many instances of a profile could be at the same time by its placements and what it consumes.
func (l Layout) fit(p Profile) int64 {
	var count int64
	var end uint32
	for _, placement := range p.Placements { // by start, all of one size
		if placement.Start >= end {
			end = placement.Start + placement.Size
			count++
		}
	}
	for _, q := range quantities() {
		if each := q.of(p.Info); each > 0 {
			count = min(count, l.total(q)/each)
		}
	}
	return count
}

func (p Profile) counter() string { return "profile-" + p.Label }

func (p Placement) slices() map[string]resourceapi.Counter {
	counters := map[string]resourceapi.Counter{}
	for n := p.Start; n < p.Start+p.Size; n++ {
		counters[slice(n)] = resourceapi.Counter{Value: *resource.NewQuantity(1, resource.DecimalSI)}
	}
	return counters
}

// ConsumeAll is what the device that is the whole GPU consumes: everything.
func ConsumeAll(set resourceapi.CounterSet) []resourceapi.DeviceCounterConsumption {
	return []resourceapi.DeviceCounterConsumption{{CounterSet: set.Name, Counters: maps.Clone(set.Counters)}}
}

// Consumption is what the partition takes from the counter set of its GPU.
func (p Partition) Consumption(set string) []resourceapi.DeviceCounterConsumption {
	counters := p.slices()
	for _, q := range quantities() {
		if n := q.of(p.Info); n > 0 {
			counters[q.counter] = resourceapi.Counter{Value: *resource.NewQuantity(n, q.format)}
		}
	}
	if p.Counted {
		counters[p.counter()] = resourceapi.Counter{Value: *resource.NewQuantity(1, resource.DecimalSI)}
	}
	return []resourceapi.DeviceCounterConsumption{{CounterSet: set, Counters: counters}}
}

// Capacity is what a user of an instance of the profile gets.
func (p Profile) Capacity() map[resourceapi.QualifiedName]resourceapi.DeviceCapacity {
	capacity := map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{}
	for _, q := range quantities() {
		capacity[q.capacity] = resourceapi.DeviceCapacity{Value: *resource.NewQuantity(q.of(p.Info), q.format)}
	}
	return capacity
}

// Parent is a GPU as its partitions need it.
type Parent struct {
	// UUID is NVML's: "GPU-…".
	UUID string
	// Device is the name of the device that is the whole GPU, and of the counter set.
	Device string
	// Attributes are those of the GPU that its partitions have too.
	Attributes map[resourceapi.QualifiedName]resourceapi.DeviceAttribute
}

// Device returns what the scheduler is told of a partition that does not exist before somebody gets it.
func (p Partition) Device(parent Parent) resourceapi.Device {
	return resourceapi.Device{
		Name:             DeviceName(parent.UUID, p),
		Attributes:       attributes(parent, p.Name),
		Capacity:         p.Capacity(),
		ConsumesCounters: p.Consumption(parent.Device),
	}
}

// Device returns what the scheduler is told of an instance that somebody else made. There is none for an instance that
// cannot be used: without a compute instance, or of a profile that has no name.
func (i Instance) Device(parent Parent) (resourceapi.Device, bool) {
	if i.UUID == "" || i.Partition.Name == "" {
		return resourceapi.Device{}, false
	}
	d := resourceapi.Device{
		Name:       i.DeviceName(parent.UUID),
		Attributes: attributes(parent, i.Name()),
		Capacity:   i.Capacity(),
	}
	d.Attributes["uuid"] = resourceapi.DeviceAttribute{StringValue: new(i.UUID)}
	if !i.whole() {
		sms := resource.NewQuantity(int64(i.Multiprocessors), resource.DecimalSI)
		d.Capacity["multiprocessors"] = resourceapi.DeviceCapacity{Value: *sms}
	}
	for n := i.Start; n < i.Start+i.Size; n++ {
		one := resourceapi.DeviceCapacity{Value: *resource.NewQuantity(1, resource.DecimalSI)}
		d.Capacity[resourceapi.QualifiedName(fmt.Sprintf("memorySlice%d", n))] = one
	}
	return d, true
}

func attributes(parent Parent, profile string) map[resourceapi.QualifiedName]resourceapi.DeviceAttribute {
	all := map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{}
	for name, a := range parent.Attributes {
		all[name] = *a.DeepCopy()
	}
	all["type"] = resourceapi.DeviceAttribute{StringValue: new("mig")}
	all["parentUUID"] = resourceapi.DeviceAttribute{StringValue: new(parent.UUID)}
	all["profile"] = resourceapi.DeviceAttribute{StringValue: new(profile)}
	return all
}
