package mock

import (
	"maps"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	configv1alpha1 "example.com/dragoman/api/config/v1alpha1"
	"example.com/dragoman/pkg/device"
)

// profileMachine is the machine of a profile in the words of Kubernetes. It is replaced and never changed.
type profileMachine struct {
	device.Snapshot
	byName   map[string]int
	networks map[string]*resourceapi.NetworkDeviceData
}

// maker makes the devices of a machine. What is the same is made once.
type maker struct {
	profileMachine
	before   profileMachine // the machine until now
	consumed map[*configv1alpha1.Consumption]map[string]resourceapi.Counter
	alike    map[*configv1alpha1.Consumption]int // the last device that consumes this
	tainted  []configv1alpha1.Taint
	taints   []resourceapi.DeviceTaint
}

// replaced returns the machine with the given devices. It shares what is the same with the one that there was before.
func (before profileMachine) replaced(devices []configv1alpha1.MachineDevice) profileMachine {
	m := maker{
		profileMachine: profileMachine{
			Snapshot: device.Snapshot{Devices: make([]device.Device, 0, len(devices))},
			byName:   make(map[string]int, len(devices)),
			networks: map[string]*resourceapi.NetworkDeviceData{},
		},
		before:   before,
		consumed: map[*configv1alpha1.Consumption]map[string]resourceapi.Counter{},
		alike:    map[*configv1alpha1.Consumption]int{},
	}
	for _, d := range devices {
		m.add(d)
	}
	return m.profileMachine
}

func (m *maker) add(d configv1alpha1.MachineDevice) {
	made := deviceOf(d)
	shareWith(m.kindred(d), &made)
	if d.Consumes != nil {
		counters := m.countersOf(d.Consumes)
		set := d.PartOf
		if set == "" {
			set = d.Name
			m.SharedCounters = append(m.SharedCounters, resourceapi.CounterSet{Name: set, Counters: counters})
		}
		made.ConsumesCounters = []resourceapi.DeviceCounterConsumption{{CounterSet: set, Counters: counters}}
		m.alike[d.Consumes] = len(m.Devices)
	}
	made.Taints = m.taintsOf(d.Taints)
	if d.Network != nil {
		m.networks[d.Name] = &resourceapi.NetworkDeviceData{
			InterfaceName: d.Network.InterfaceName, IPs: d.Network.IPs, HardwareAddress: d.Network.HardwareAddress,
		}
	}
	m.byName[d.Name] = len(m.Devices)
	m.Devices = append(m.Devices, made)
}

// kindred are the devices with which one probably has much in common: the one of its name until now, which usually is
// the same; the one before, for a part its device or another part of that; and the same part of another device.
func (m *maker) kindred(d configv1alpha1.MachineDevice) []device.Device {
	var all []device.Device
	if was, ok := m.before.byName[d.Name]; ok {
		all = append(all, m.before.Devices[was])
	}
	if last := len(m.Devices) - 1; last >= 0 {
		all = append(all, m.Devices[last])
	}
	if last, ok := m.alike[d.Consumes]; ok {
		all = append(all, m.Devices[last])
	}
	return all
}

func (m *maker) countersOf(c *configv1alpha1.Consumption) map[string]resourceapi.Counter {
	if counters, ok := m.consumed[c]; ok {
		return counters
	}
	counters := make(map[string]resourceapi.Counter, len(c.Counters))
	for name, amount := range c.Counters {
		counters[name] = resourceapi.Counter{Value: amount.DeepCopy()}
	}
	m.consumed[c] = counters
	return counters
}

// taintsOf returns the taints of a device, which are usually those of the one before.
func (m *maker) taintsOf(taints []configv1alpha1.Taint) []resourceapi.DeviceTaint {
	if len(taints) == 0 {
		return nil
	}
	if len(m.tainted) == len(taints) && &m.tainted[0] == &taints[0] {
		return m.taints
	}
	m.tainted, m.taints = taints, nil
	for _, t := range taints {
		m.taints = append(m.taints, resourceapi.DeviceTaint{
			Key: t.Key, Value: t.Value, Effect: resourceapi.DeviceTaintEffect(t.Effect),
		})
	}
	return m.taints
}

// shareWith lets d share with other devices what is the same, so that it is in memory once: most of a device in a group
// of thousands, and usually all of it if one of them is the same device before the profile changed.
func shareWith(others []device.Device, d *device.Device) {
	for _, other := range others {
		if maps.EqualFunc(d.Capacity, other.Capacity, sameCapacity) {
			d.Capacity = other.Capacity
			break
		}
	}
	for _, other := range others {
		if maps.EqualFunc(d.Attributes, other.Attributes, sameAttribute) {
			d.Attributes = other.Attributes
			return
		}
	}
	for name, attribute := range d.Attributes {
		for _, other := range others {
			if o, ok := other.Attributes[name]; ok && sameAttribute(attribute, o) {
				d.Attributes[name] = o
				break
			}
		}
	}
}

// sameAttribute compares the types that a profile knows.
func sameAttribute(a, b resourceapi.DeviceAttribute) bool {
	return ptr.Equal(a.IntValue, b.IntValue) && ptr.Equal(a.BoolValue, b.BoolValue) &&
		ptr.Equal(a.StringValue, b.StringValue) && ptr.Equal(a.VersionValue, b.VersionValue)
}

func sameCapacity(a, b resourceapi.DeviceCapacity) bool {
	return a.Value.Format == b.Value.Format && a.Value.Cmp(b.Value) == 0 &&
		(a.RequestPolicy == b.RequestPolicy || equality.Semantic.DeepEqual(a.RequestPolicy, b.RequestPolicy))
}

func deviceOf(d configv1alpha1.MachineDevice) device.Device {
	result := device.Device{
		Device: resourceapi.Device{Name: d.Name},
		Health: device.Health{Unhealthy: d.Health.Unhealthy, Reason: d.Health.Reason},
		PartOf: d.PartOf,
	}
	if len(d.Attributes) > 0 {
		result.Attributes = make(map[resourceapi.QualifiedName]resourceapi.DeviceAttribute, len(d.Attributes))
	}
	for name, a := range d.Attributes {
		attribute := resourceapi.DeviceAttribute{StringValue: a.String, BoolValue: a.Bool, VersionValue: a.Version}
		if a.Int != nil {
			attribute.IntValue = new(a.Int.Int64())
		}
		result.Attributes[resourceapi.QualifiedName(name)] = attribute
	}
	if len(d.Capacity) > 0 {
		result.Capacity = make(map[resourceapi.QualifiedName]resourceapi.DeviceCapacity, len(d.Capacity))
	}
	for name, c := range d.Capacity {
		result.Capacity[resourceapi.QualifiedName(name)] = resourceapi.DeviceCapacity{
			Value: c.Value.DeepCopy(), RequestPolicy: policyOf(c.RequestPolicy),
		}
	}
	if d.AllowMultipleAllocations {
		result.AllowMultipleAllocations = new(true)
	}
	if b := d.Binding; b != nil {
		result.BindingConditions, result.BindingFailureConditions = b.Conditions, b.FailureConditions
		if b.BindsToNode {
			result.BindsToNode = new(true)
		}
	}
	return result
}

func policyOf(p *configv1alpha1.RequestPolicy) *resourceapi.CapacityRequestPolicy {
	if p == nil {
		return nil
	}
	policy := &resourceapi.CapacityRequestPolicy{Default: quantityOf(p.Default)}
	for _, value := range p.ValidValues {
		policy.ValidValues = append(policy.ValidValues, value.DeepCopy())
	}
	if r := p.ValidRange; r != nil {
		policy.ValidRange = &resourceapi.CapacityRequestPolicyRange{
			Min: quantityOf(r.Min), Max: quantityOf(r.Max), Step: quantityOf(r.Step),
		}
	}
	return policy
}

func quantityOf(q *configv1alpha1.Quantity) *resource.Quantity {
	if q == nil {
		return nil
	}
	return new(q.DeepCopy())
}
