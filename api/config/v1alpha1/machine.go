package v1alpha1

import (
	"maps"
	"path"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The attributes that the fields of a DeviceTemplate become; their names are standardized by Kubernetes.
const (
	pciBusIDAttribute = "resource.kubernetes.io/pciBusID"
	pcieRootAttribute = "resource.kubernetes.io/pcieRoot"
	numaNodeAttribute = "resource.kubernetes.io/numaNode"
)

// MachineDevice is one device of a node: a template with everything filled in. Devices share what they have in common,
// with each other and with the profile: nobody changes it.
type MachineDevice struct {
	// Name of the device, a DNS label.
	Name string
	// Attributes and Capacity have no placeholders any more and include those of PCI and NUMA.
	Attributes map[string]Attribute
	Capacity   map[string]Capacity
	// Health of the device.
	Health Health
	// PartOf is the name of the device that this one is cut from when somebody gets it; empty for a whole device. Parts
	// follow their device.
	PartOf string
	// Consumes is what the device takes of the counter set that has the name of the whole device. A whole device takes
	// all that there is; nil if it cannot be cut.
	Consumes *Consumption
	// AllowMultipleAllocations says that several claims can have the device at a time.
	AllowMultipleAllocations bool
	// Taints of the device.
	Taints []Taint
	// Binding says how the device is attached to its node; nil if it is there.
	Binding *Binding
	// Network has no placeholders any more; nil for anything but network devices.
	Network *Network
}

// Devices returns the devices of the node with the given name, in the order of their indexes, each followed by its
// parts. The profile must be one that DecodeMachineProfile returned.
func (p *MachineProfile) Devices(nodeName string) []MachineDevice {
	var devices []MachineDevice
	for _, group := range p.machine(p.variation(nodeName)) {
		for i := range *group.Count {
			whole := group.device(i, nodeName)
			devices = append(devices, whole)
			for _, part := range group.placements {
				devices = append(devices, part.cut(whole, group.filling(i, nodeName)))
			}
		}
	}
	return devices
}

// variation returns the index of the entry of Nodes that counts for a node, or -1.
func (p *MachineProfile) variation(nodeName string) int {
	for i := range p.Nodes {
		if ok, err := path.Match(p.Nodes[i].Pattern, nodeName); ok && err == nil {
			return i
		}
	}
	return -1
}

// placedGroup is a group of a machine with the index of its first device, and where the profile describes it.
type placedGroup struct {
	*DeviceGroup
	first      int
	variations map[int]int // index in the group -> index in Devices
	placements []placement
	whole      *Consumption
	at         *field.Path
}

// machine returns the groups of a machine with the given variation, or without one if it is negative.
func (p *MachineProfile) machine(variation int) []placedGroup {
	var groups []placedGroup
	place := map[string]int{}
	for i := range p.Groups {
		place[p.Groups[i].Name] = i
		groups = append(groups, placedGroup{DeviceGroup: &p.Groups[i], at: field.NewPath("groups").Index(i)})
	}
	if variation >= 0 {
		at := field.NewPath("nodes").Index(variation).Child("groups")
		for i := range p.Nodes[variation].Groups {
			group := placedGroup{DeviceGroup: &p.Nodes[variation].Groups[i], at: at.Index(i)}
			if old, ok := place[group.Name]; ok {
				groups[old] = group
			} else {
				groups = append(groups, group)
			}
		}
	}
	first := 0
	for i := range groups {
		groups[i].first = first
		first += *groups[i].Count
		groups[i].whole, groups[i].placements = groups[i].Partitioning.whole(), groups[i].Partitioning.placements()
		groups[i].variations = map[int]int{}
		for d, variation := range groups[i].Devices {
			groups[i].variations[*variation.GroupIndex] = d
		}
	}
	return groups
}

// filling is what placeholders stand for on the device i of the group.
func (g placedGroup) filling(i int, nodeName string) filling {
	return filling{index: g.first + i, groupIndex: i, nodeName: nodeName}
}

// device returns the device i of the group.
func (g placedGroup) device(i int, nodeName string) MachineDevice {
	fill := g.filling(i, nodeName)
	device := MachineDevice{
		Name:       fill.text(g.DeviceName),
		Attributes: map[string]Attribute{},
		Capacity:   map[string]Capacity{},
		Consumes:   g.whole,
	}
	g.apply(fill, &device)
	if d, ok := g.variations[i]; ok {
		g.Devices[d].apply(fill, &device)
	}
	return device
}

// apply lays the template over the device.
func (t *DeviceTemplate) apply(fill filling, device *MachineDevice) {
	for name, attribute := range t.Attributes {
		device.Attributes[name] = fill.attribute(attribute)
	}
	maps.Copy(device.Capacity, t.Capacity)
	for name, value := range map[string]string{pciBusIDAttribute: t.PCIBusID, pcieRootAttribute: t.PCIeRoot} {
		if value != "" {
			device.Attributes[name] = Attribute{String: new(fill.text(value))}
		}
	}
	if t.NUMANode != nil {
		device.Attributes[numaNodeAttribute] = Attribute{Int: &Integer{value: int64(*t.NUMANode)}}
	}
	if t.Health != nil {
		device.Health = *t.Health
	}
	if t.AllowMultipleAllocations != nil {
		device.AllowMultipleAllocations = *t.AllowMultipleAllocations
	}
	if t.Taints != nil {
		device.Taints = t.Taints
	}
	if t.Binding != nil {
		device.Binding = t.Binding
	}
	if t.Network != nil {
		device.Network = t.Network.filled(fill)
	}
}
