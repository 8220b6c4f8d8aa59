package agreement

import (
	"fmt"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Names of what devices say about themselves. The second belongs to nobody's driver.
const (
	model, index, fast, version resourceapi.QualifiedName = "model", "index", "fast", "driverVersion"

	numa   resourceapi.QualifiedName = "example.com/numa"
	memory resourceapi.QualifiedName = "memory"
)

const sick = "example.com/sick"

// fill makes devices that are given away as they are.
func (g *generator) fill(p *pool) {
	for i := range g.between(1, 8) {
		device := g.device(fmt.Sprintf("gpu-%d", i), i)
		g.taint(&device)
		p.devices = append(p.devices, device)
	}
}

// device has attributes with few values, so that some are equal, and now and then lacks one.
func (g *generator) device(name string, number int) resourceapi.Device {
	device := resourceapi.Device{Name: name}
	attributes := map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{}
	for _, a := range []struct {
		name  resourceapi.QualifiedName
		value resourceapi.DeviceAttribute
	}{
		{model, resourceapi.DeviceAttribute{StringValue: new(one(g, "A", "A", "B", "C"))}},
		{index, resourceapi.DeviceAttribute{IntValue: new(int64(number))}},
		{fast, resourceapi.DeviceAttribute{BoolValue: new(g.chance(70))}},
		{version, resourceapi.DeviceAttribute{VersionValue: new(one(g, "1.0.0", "2.1.0", "2.1.0-rc.1"))}},
		{numa, resourceapi.DeviceAttribute{IntValue: new(int64(g.IntN(2)))}},
	} {
		if g.chance(88) {
			attributes[a.name] = a.value
		}
	}
	if len(attributes) > 0 {
		device.Attributes = attributes
	}
	if g.chance(85) {
		device.Capacity = map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{
			memory: {Value: quantity(one(g, "8Gi", "16Gi", "32Gi"))},
		}
	}
	return device
}

// taint makes some devices such that they are given only to who tolerates it.
func (g *generator) taint(device *resourceapi.Device) {
	if !g.chance(15) {
		return
	}
	effects := []resourceapi.DeviceTaintEffect{
		resourceapi.DeviceTaintEffectNoSchedule, resourceapi.DeviceTaintEffectNoExecute,
	}
	if g.has.noneEffect {
		effects = append(effects, resourceapi.DeviceTaintEffectNone)
	}
	device.Taints = []resourceapi.DeviceTaint{{Key: sick, Value: one(g, "little", "very"), Effect: one(g, effects...)}}
}

// cut makes parts of one or two pieces of hardware, all of which exclude each other when there is not enough of it.
func (g *generator) cut(p *pool) {
	for i := range g.between(1, 2) {
		set := fmt.Sprintf("set-%d", i)
		p.counters = append(p.counters, resourceapi.CounterSet{Name: set, Counters: map[string]resourceapi.Counter{
			"memory": {Value: quantity("40Gi")}, "slices": {Value: quantity("4")},
		}})
		sizes := []int{4, 2, 2, 1, 1, 1, 1}[:g.between(2, 7)]
		for j, size := range sizes {
			device := g.device(fmt.Sprintf("part-%d-%d", i, j), j)
			device.Capacity = map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{
				memory: {Value: quantity(fmt.Sprintf("%dGi", 10*size))},
			}
			device.ConsumesCounters = []resourceapi.DeviceCounterConsumption{{CounterSet: set,
				Counters: map[string]resourceapi.Counter{
					"memory": {Value: quantity(fmt.Sprintf("%dGi", 10*size))},
					"slices": {Value: quantity(fmt.Sprint(size))},
				},
			}}
			if !g.has.old {
				g.taint(&device)
			}
			p.devices = append(p.devices, device)
		}
	}
}

// share makes devices that many can have a share of.
func (g *generator) share(p *pool) {
	devices := g.between(1, 3)
	if g.single {
		devices = 1
	}
	for i := range devices {
		device := g.device(fmt.Sprintf("shared-%d", i), i)
		device.AllowMultipleAllocations = new(true)
		device.Capacity = map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{
			memory: {Value: quantity("32Gi"), RequestPolicy: g.policy()},
		}
		g.taint(&device)
		p.devices = append(p.devices, device)
	}
}

// policy says in which amounts a capacity is given away.
func (g *generator) policy() *resourceapi.CapacityRequestPolicy {
	switch g.IntN(4) {
	case 0:
		return nil
	case 1:
		return &resourceapi.CapacityRequestPolicy{Default: new(quantity("4Gi"))}
	case 2:
		return &resourceapi.CapacityRequestPolicy{
			Default: new(quantity("8Gi")), ValidValues: sizes("4Gi", "8Gi", "16Gi"),
		}
	default:
		return &resourceapi.CapacityRequestPolicy{Default: new(quantity("2Gi")),
			ValidRange: &resourceapi.CapacityRequestPolicyRange{
				Min: new(quantity("2Gi")), Max: new(quantity("24Gi")), Step: new(quantity("2Gi")),
			},
		}
	}
}

func sizes(texts ...string) (list []resource.Quantity) {
	for _, text := range texts {
		list = append(list, quantity(text))
	}
	return list
}
