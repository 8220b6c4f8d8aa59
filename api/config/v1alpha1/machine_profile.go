package v1alpha1

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"example.com/dragoman/api/internal/strict"
)

// MachineProfile describes the devices of a made-up machine. The backend mock offers them as if they were there.
//
// Texts may contain placeholders: {index} is the index of the device on its node, counted from 0 over all groups in
// their order; {groupIndex} is its index in its group; {uuid} is a UUID made from the node's name and the index, so
// that it is the same after every restart and different on every node. {index} and {groupIndex} may have a format of
// minimal width and base, with zeros in front if it begins with one: {index:02x} is 0a for the device 10. Parts of
// devices have some more, see [Partition].
type MachineProfile struct {
	metav1.TypeMeta `json:",inline"`

	// Groups are the devices of every node, unless one of nodes says otherwise. A machine without groups has no
	// devices.
	// +optional
	Groups []DeviceGroup `json:"groups,omitempty"`

	// Nodes are the variations for some nodes. The first entry whose pattern matches the name of the node counts, the
	// others do not.
	// +optional
	Nodes []NodeVariation `json:"nodes,omitempty"`
}

// NodeVariation is what is different on the nodes whose names match a pattern.
type NodeVariation struct {
	// Pattern is compared with the whole name of the node: * is any text, ? any character, [a-c] one of these.
	// +required
	Pattern string `json:"pattern"`

	// Groups replace the groups of the same name, at their place, and add those with a new name at the end. A group
	// with count 0 takes its devices away.
	// +optional
	Groups []DeviceGroup `json:"groups,omitempty"`
}

// DeviceGroup is a number of devices that are alike.
type DeviceGroup struct {
	// Name tells the groups of a machine apart. It is seen nowhere else.
	// +required
	Name string `json:"name"`

	// Count is the number of devices. Default: 1.
	// +minimum=0
	// +maximum=20000
	// +optional
	Count *int `json:"count,omitempty"`

	// DeviceName is the name of each device, with placeholders; a DNS label, different for each device of the node.
	// Default: gpu-{index}.
	// +optional
	DeviceName string `json:"deviceName,omitempty"`

	DeviceTemplate `json:",inline"`

	// Partitioning says into which parts the devices can be cut. Who wants one gets a whole device or a part of one.
	// +optional
	Partitioning *Partitioning `json:"partitioning,omitempty"`

	// Devices say what is different on single devices of the group.
	// +optional
	Devices []DeviceVariation `json:"devices,omitempty"`
}

// DeviceVariation is what is different on one device of a group. Attributes and capacities are added to those of the
// group or replace those with the same name; everything else replaces what the group says.
type DeviceVariation struct {
	// GroupIndex is the index of the device in the group, from 0.
	// +minimum=0
	// +required
	GroupIndex *int `json:"groupIndex"`

	DeviceTemplate `json:",inline"`
}

// DeviceTemplate is what can be said about a device.
type DeviceTemplate struct {
	// Attributes are what claims choose devices by. Names without a domain belong to the driver's. A device has at
	// most 32 attributes and capacities, those from pciBusID, pcieRoot and numaNode included.
	// +optional
	Attributes map[string]Attribute `json:"attributes,omitempty"`

	// Capacity is what the device has a quantity of.
	// +optional
	Capacity map[string]Capacity `json:"capacity,omitempty"`

	// PCIBusID is the PCI address, with placeholders, such as 0000:1b:00.0. It becomes the attribute
	// resource.kubernetes.io/pciBusID.
	// +optional
	PCIBusID string `json:"pciBusID,omitempty"`

	// PCIeRoot is the PCIe root complex, with placeholders, such as pci0000:15. It becomes the attribute
	// resource.kubernetes.io/pcieRoot.
	// +optional
	PCIeRoot string `json:"pcieRoot,omitempty"`

	// NUMANode is the NUMA node. It becomes the attribute resource.kubernetes.io/numaNode.
	// +minimum=0
	// +optional
	NUMANode *int `json:"numaNode,omitempty"`

	// Health says that the device is broken. Default: healthy.
	// +optional
	Health *Health `json:"health,omitempty"`

	// AllowMultipleAllocations says that several claims can have the device at a time, each with a share of its
	// capacity (KEP-5075). Default: false.
	// +optional
	AllowMultipleAllocations *bool `json:"allowMultipleAllocations,omitempty"`

	// Taints keep pods away that do not tolerate them (KEP-5055), at most 3: Kubernetes 1.34 allows 4, and one of these
	// is for the health of the device. Parts of the device have them, too.
	// +optional
	Taints []Taint `json:"taints,omitempty"`

	// Binding says that the device is attached to its node when somebody gets it, before the pod is bound (KEP-5007).
	// Parts of the device are attached in the same way.
	// +optional
	Binding *Binding `json:"binding,omitempty"`

	// Network is what the status of a claim says of the device when it is prepared (KEP-4817). Parts have none.
	// +optional
	Network *Network `json:"network,omitempty"`
}

// Health says whether a device can be used.
type Health struct {
	// Unhealthy devices are reported as such. They can still be prepared for claims that already have them.
	// +optional
	Unhealthy bool `json:"unhealthy,omitempty"`

	// Reason is a sentence for people, at most 256 bytes; only for unhealthy devices.
	// Default: the machine profile says so.
	// +optional
	Reason string `json:"reason,omitempty"`
}

// Attribute is the value of an attribute. Exactly one field is set.
type Attribute struct {
	// String is a text of at most 64 bytes, with placeholders.
	// +optional
	String *string `json:"string,omitempty"`

	// Int is a whole number, or one of the texts "{index}" and "{groupIndex}"; in parts also "{start}" and "{copy}".
	// +optional
	Int *Integer `json:"int,omitempty"`

	// Bool is true or false.
	// +optional
	Bool *bool `json:"bool,omitempty"`

	// Version is a semantic version 2.0.0, such as 1.2.3, of at most 64 bytes.
	// +optional
	Version *string `json:"version,omitempty"`
}

// Capacity is how much a device has of something.
type Capacity struct {
	// Value is a quantity such as 80Gi, 100 or 500m.
	// +required
	Value *Quantity `json:"value"`

	// RequestPolicy says how much of it a claim can have; only on devices with allowMultipleAllocations. Without one, a
	// claim gets as much as it asks for, and all of it if it does not ask.
	// +optional
	RequestPolicy *RequestPolicy `json:"requestPolicy,omitempty"`
}

// Integer is a whole number or the placeholder for one.
type Integer struct {
	value    int64
	template string
}

// Int64 returns the number; of a placeholder, which no resolved device has, 0.
func (i *Integer) Int64() int64 { return i.value }

// UnmarshalJSON accepts a number or the placeholder of one.
func (i *Integer) UnmarshalJSON(raw []byte) error {
	switch s := string(raw); s {
	case `"{index}"`, `"{groupIndex}"`, `"{start}"`, `"{copy}"`:
		*i = Integer{template: s[1 : len(s)-1]}
		return nil
	}
	value, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return errors.New(`must be a whole number of 64 bits, "{index}" or "{groupIndex}", or in parts ` +
			`"{start}" or "{copy}"`)
	}
	*i = Integer{value: value}
	return nil
}

// MarshalJSON writes what UnmarshalJSON reads.
func (i *Integer) MarshalJSON() ([]byte, error) {
	if i.template != "" {
		return json.Marshal(i.template)
	}
	return strconv.AppendInt(nil, i.value, 10), nil
}

// Quantity is a Kubernetes quantity that is not negative, in plain notation: parsing and printing exponents can take
// very long.
type Quantity struct{ resource.Quantity }

var quantityPattern = regexp.MustCompile(`^[0-9]{1,18}(\.[0-9]{1,9})?([KMGTPE]i|[numkMGTPE])?$`)

// UnmarshalJSON accepts a number or a text.
func (q *Quantity) UnmarshalJSON(raw []byte) error {
	s := string(raw)
	if len(s) > 1 && s[0] == '"' {
		s = s[1 : len(s)-1]
	}
	if !quantityPattern.MatchString(s) {
		return fmt.Errorf("must be a quantity that is not negative, such as 80Gi, 100 or 500m")
	}
	value, err := resource.ParseQuantity(s)
	if err != nil {
		return err
	}
	q.Quantity = value
	return nil
}

// DecodeMachineProfile reads a MachineProfile strictly, sets what it leaves out and validates it against what the
// Kubernetes API accepts, for every node that it can apply to. Without problems, the devices of any node can be
// published.
func DecodeMachineProfile(raw []byte) (*MachineProfile, field.ErrorList) {
	profile := &MachineProfile{}
	gvk := schema.GroupVersionKind{Group: GroupName, Version: Version, Kind: MachineProfileKind}
	form := strict.Decode(raw, nil, gvk, profile)
	if profile.Kind == "" { // not even the right kind: its content says nothing
		return nil, form
	}
	profile.setDefaults()
	if errs := strict.Join(form, profile.validate()); len(errs) > 0 {
		return nil, errs
	}
	return profile, nil
}

func (p *MachineProfile) setDefaults() {
	setGroupDefaults(p.Groups)
	for i := range p.Nodes {
		setGroupDefaults(p.Nodes[i].Groups)
	}
}

func setGroupDefaults(groups []DeviceGroup) {
	for i := range groups {
		group := &groups[i]
		setDefault(&group.DeviceName, "gpu-{index}")
		if group.Count == nil {
			group.Count = new(1)
		}
		setHealthDefaults(group.Health)
		group.Partitioning.setDefaults()
		for d := range group.Devices {
			setHealthDefaults(group.Devices[d].Health)
		}
	}
}

func setHealthDefaults(health *Health) {
	if health != nil && health.Unhealthy {
		setDefault(&health.Reason, "the machine profile says so")
	}
}
