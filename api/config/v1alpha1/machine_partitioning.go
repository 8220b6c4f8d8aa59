package v1alpha1

import (
	"fmt"
	"maps"
	"strconv"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Partitioning says of what a device consists and into which parts it can be cut (KEP-4815). Each device of the group
// has a set of counters with its own name. The whole device consumes all of it, a part some of it; the scheduler gives
// out what is left. A set has at most 32 counters, those of slots included.
type Partitioning struct {
	// Counters are what a whole device has, by name: {multiprocessors: 132, copy-engines: 7}. Names are DNS labels.
	// +optional
	Counters map[string]Quantity `json:"counters,omitempty"`

	// Slots are places of which each is in at most one part, as the memory slices of NVIDIA's MIG.
	// +optional
	Slots *Slots `json:"slots,omitempty"`

	// Partitions are the parts that a device can be cut into, at least one.
	// +required
	Partitions []Partition `json:"partitions"`
}

// Slots are numbered places on a device. Each is a counter of 1.
type Slots struct {
	// Counter is the beginning of the counters' names: with memory-slice, they are memory-slice-0, memory-slice-1 and so
	// on.
	// +required
	Counter string `json:"counter"`

	// Count is the number of slots.
	// +minimum=1
	// +maximum=32
	// +required
	Count int `json:"count"`
}

// Partition is a kind of parts, at several places or in several copies.
//
// Texts may contain the placeholders of the device, which stand for what they stand for in the device, and besides
// {device}, the name of the device; {name}, that of the partition; {start}, the first slot of the part, or {copy}, the
// number of the copy from 0, both also with a format; and {partUUID}, a UUID for each part that is the same after every
// restart.
type Partition struct {
	// Name tells the partitions of a device apart, a DNS label such as 1g-10gb.
	// +required
	Name string `json:"name"`

	// DeviceName is the name of each part, with placeholders; a DNS label, different for each device of the node.
	// Default: {device}-{name}-{start}, or {device}-{name}-{copy} where size is not set.
	// +optional
	DeviceName string `json:"deviceName,omitempty"`

	// Size is how many slots the part has. Default: none.
	// +minimum=0
	// +maximum=32
	// +optional
	Size int `json:"size,omitempty"`

	// Starts are the first slots of the parts: there is one part for each. Required with size, and only with it.
	// +optional
	Starts []int `json:"starts,omitempty"`

	// Copies is how many parts there are, all alike; only without size. Default: 1.
	// +minimum=1
	// +maximum=20000
	// +optional
	Copies *int `json:"copies,omitempty"`

	// Counters are what the part consumes of those of the device, besides its slots. A part consumes something.
	// +optional
	Counters map[string]Quantity `json:"counters,omitempty"`

	// Attributes are added to those of the device or replace those with the same name. A part has the attributes of its
	// device otherwise.
	// +optional
	Attributes map[string]Attribute `json:"attributes,omitempty"`

	// Capacity is what the part has a quantity of. It has nothing of the capacity of the device but what is said here.
	// +optional
	Capacity map[string]Capacity `json:"capacity,omitempty"`
}

// Consumption is what a device consumes of a counter set. Devices of the same kind point to the same one.
type Consumption struct {
	// Counters are the amounts by the names of the counters.
	Counters map[string]Quantity
}

func (p *Partitioning) setDefaults() {
	if p == nil {
		return
	}
	for i := range p.Partitions {
		partition := &p.Partitions[i]
		if partition.Size != 0 {
			setDefault(&partition.DeviceName, "{device}-{name}-{start}")
			continue
		}
		setDefault(&partition.DeviceName, "{device}-{name}-{copy}")
		if partition.Copies == nil {
			partition.Copies = new(1)
		}
	}
}

// counter is the name of the counter of a slot.
func (s *Slots) counter(slot int) string { return s.Counter + "-" + strconv.Itoa(slot) }

// whole is what a whole device consumes, which is all that there is.
func (p *Partitioning) whole() *Consumption {
	if p == nil {
		return nil
	}
	all := maps.Clone(p.Counters)
	if all == nil {
		all = map[string]Quantity{}
	}
	if p.Slots != nil {
		p.Slots.take(0, p.Slots.Count, all)
	}
	return &Consumption{Counters: all}
}

func (s *Slots) take(start, size int, counters map[string]Quantity) {
	for slot := start; slot < start+size; slot++ {
		counters[s.counter(slot)] = Quantity{*resource.NewQuantity(1, resource.DecimalSI)}
	}
}

// placement is a part of a device, as it is on each device of the group.
type placement struct {
	*Partition
	partition int // index in Partitions
	place     int // index in Starts or number of the copy
	consumes  *Consumption
}

// placements returns the parts of each device.
func (p *Partitioning) placements() []placement {
	if p == nil {
		return nil
	}
	var all []placement
	for i := range p.Partitions {
		partition := &p.Partitions[i]
		var same *Consumption // of all copies
		for place := range partition.count() {
			consumes := same
			if consumes == nil {
				consumes = p.consumption(partition, place)
			}
			if partition.Size == 0 {
				same = consumes
			}
			all = append(all, placement{Partition: partition, partition: i, place: place, consumes: consumes})
		}
	}
	return all
}

func (p *Partitioning) consumption(partition *Partition, place int) *Consumption {
	counters := map[string]Quantity{}
	maps.Copy(counters, partition.Counters)
	if partition.Size > 0 {
		p.Slots.take(partition.Starts[place], partition.Size, counters)
	}
	return &Consumption{Counters: counters}
}

// parts is how many parts each device has.
func (p *Partitioning) parts() int {
	if p == nil {
		return 0
	}
	n := 0
	for i := range p.Partitions {
		n += p.Partitions[i].count()
	}
	return n
}

// count is how many parts of this kind each device has.
func (p *Partition) count() int {
	if p.Copies != nil {
		return *p.Copies
	}
	return len(p.Starts)
}

// in returns what the placeholders of the part stand for, on a device with the given name.
func (p placement) in(whole filling, device string) filling {
	number := p.place
	if p.Size > 0 {
		number = p.Starts[p.place]
	}
	seed := fmt.Sprintf("%s\x00%d", p.Name, number)
	whole.part = &partFilling{device: device, name: p.Name, number: number, seed: seed}
	return whole
}

// cut returns a part of the device.
func (p placement) cut(whole MachineDevice, fill filling) MachineDevice {
	fill = p.in(fill, whole.Name)
	part := MachineDevice{
		Name:       fill.text(p.DeviceName),
		PartOf:     whole.Name,
		Attributes: whole.Attributes,
		Capacity:   p.Capacity,
		Health:     whole.Health,
		Taints:     whole.Taints,
		Binding:    whole.Binding,
		Consumes:   p.consumes,
	}
	if len(p.Attributes) > 0 {
		part.Attributes = maps.Clone(whole.Attributes)
		for name, attribute := range p.Attributes {
			part.Attributes[name] = fill.attribute(attribute)
		}
	}
	return part
}
