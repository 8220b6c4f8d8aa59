package v1alpha1

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"path"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The attributes that the fields of a DeviceTemplate become; their names are standardized by Kubernetes.
const (
	pciBusIDAttribute = "resource.kubernetes.io/pciBusID"
	pcieRootAttribute = "resource.kubernetes.io/pcieRoot"
	numaNodeAttribute = "resource.kubernetes.io/numaNode"
)

// MachineDevice is one device of a node: a template with everything filled in.
type MachineDevice struct {
	// Name of the device, a DNS label.
	Name string
	// Attributes and Capacity have no placeholders any more and include those of PCI and NUMA.
	Attributes map[string]Attribute
	Capacity   map[string]Capacity
	// Health of the device.
	Health Health
}

// Devices returns the devices of the node with the given name, in the order of their indexes. The profile must be one
// that DecodeMachineProfile returned.
func (p *MachineProfile) Devices(nodeName string) []MachineDevice {
	var devices []MachineDevice
	for _, group := range p.machine(p.variation(nodeName)) {
		for i := range *group.Count {
			devices = append(devices, group.device(i, nodeName))
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
		groups[i].variations = map[int]int{}
		for d, variation := range groups[i].Devices {
			groups[i].variations[*variation.GroupIndex] = d
		}
	}
	return groups
}

// device returns the device i of the group.
func (g placedGroup) device(i int, nodeName string) MachineDevice {
	fill := filling{index: g.first + i, groupIndex: i, nodeName: nodeName}
	device := MachineDevice{
		Name:       fill.text(g.DeviceName),
		Attributes: map[string]Attribute{},
		Capacity:   map[string]Capacity{},
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
}

// filling is what the placeholders of one device stand for.
type filling struct {
	index, groupIndex int
	nodeName          string
}

var (
	placeholder = regexp.MustCompile(`\{[^{}]*\}`)
	known       = regexp.MustCompile(`^\{(?:(index|groupIndex)(?::(0?[1-9]?[dx]))?|uuid)\}$`)
)

// text returns the template with all placeholders replaced. What is none stays.
func (f filling) text(template string) string {
	if !strings.Contains(template, "{") {
		return template
	}
	return placeholder.ReplaceAllStringFunc(template, func(s string) string {
		switch parts := known.FindStringSubmatch(s); {
		case parts == nil:
			return s
		case parts[1] == "":
			return f.uuid()
		case parts[2] == "":
			return strconv.Itoa(f.number(parts[1]))
		default:
			return fmt.Sprintf("%"+parts[2], f.number(parts[1]))
		}
	})
}

func (f filling) number(name string) int {
	if name == "groupIndex" {
		return f.groupIndex
	}
	return f.index
}

func (f filling) attribute(a Attribute) Attribute {
	switch {
	case a.String != nil:
		return Attribute{String: new(f.text(*a.String))}
	case a.Int != nil && a.Int.template != "":
		return Attribute{Int: &Integer{value: int64(f.number(strings.Trim(a.Int.template, "{}")))}}
	}
	return a
}

// uuid is a version 8 UUID: its bits are this program's own choice (RFC 9562).
func (f filling) uuid() string {
	sum := sha256.Sum256([]byte("dragoman.example.com/device\x00" + f.nodeName + "\x00" + strconv.Itoa(f.index)))
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}
