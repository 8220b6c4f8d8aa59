package agreement

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
)

const (
	hostLabel = "kubernetes.io/hostname"
	zoneLabel = "agreement.example.com/zone"
)

// place is how a pool says which nodes reach its devices.
type place int

const (
	onNode    place = iota // those of one node
	inZone                 // nodes with a label
	anywhere               // all nodes
	perDevice              // each device says it for itself
)

// machines makes nodes and the devices that they reach.
func (g *generator) machines() {
	for i := range g.between(1, 4) {
		g.nodes = append(g.nodes, g.machine(i))
	}
	for d := range one(g, 1, 1, 2) {
		if d > 0 && g.single {
			break
		}
		driver := fmt.Sprintf("%s-%d.example.com", g.name, d)
		kind := g.kind()
		where := g.where(kind)
		if where != onNode {
			g.pool(driver, kind, where, nil)
			continue
		}
		for _, node := range g.nodes {
			if g.chance(90) { // now and then a node has none
				g.pool(driver, kind, where, node)
			}
		}
	}
}

func (g *generator) machine(number int) *corev1.Node {
	name := fmt.Sprintf("%s-node-%d", g.name, number)
	node := &corev1.Node{ObjectMeta: g.object(name)}
	node.Labels[hostLabel] = name
	node.Labels[zoneLabel] = g.zone()
	if g.chance(10) {
		node.Spec.Taints = []corev1.Taint{{
			Key: "example.com/reserved", Value: "yes", Effect: one(g, corev1.TaintEffectNoSchedule,
				corev1.TaintEffectPreferNoSchedule),
		}}
	}
	node.Spec.Unschedulable = g.chance(5)
	room := corev1.ResourceList{
		corev1.ResourceCPU: quantity("64"), corev1.ResourceMemory: quantity("256Gi"), corev1.ResourcePods: quantity("110"),
	}
	node.Status = corev1.NodeStatus{Capacity: room, Allocatable: room, Conditions: []corev1.NodeCondition{{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue,
	}}}
	return node
}

// zone is a zone of this question: pools that are reached from one are not to be reached by nodes of others.
func (g *generator) zone() string { return g.name + one(g, "-east", "-west") }

func (g *generator) kind() kind {
	switch roll := g.IntN(100); {
	case roll < 25 && g.has.parts:
		return parts
	case roll >= 25 && roll < 50 && g.has.shares:
		return shared
	default:
		return whole
	}
}

func (g *generator) where(k kind) place {
	switch roll := g.IntN(100); {
	case roll < 12:
		return inZone
	case roll < 20:
		return anywhere
	case roll < 28 && g.has.parts && k != parts:
		return perDevice
	default:
		return onNode
	}
}

// pool makes a pool, the slices that make it known, and what may be wrong with them.
func (g *generator) pool(driver string, kind kind, where place, node *corev1.Node) {
	p := &pool{kind: kind, driver: driver, place: where, node: node, name: "pool"}
	if node != nil {
		p.name = node.Name
	}
	g.pools = append(g.pools, p)
	switch kind {
	case parts:
		g.cut(p)
	case shared:
		g.share(p)
	case whole:
		g.fill(p)
	}
	if where == perDevice {
		g.placeEach(p)
	}
	generation := int64(g.between(1, 3))
	current := g.cutIntoSlices(p, generation)
	// What all nodes reach is whole: a pool that is not would stop other questions.
	if where != anywhere && where != perDevice && g.chance(8) {
		g.damage(current)
	}
	if g.chance(12) {
		g.slices = append(g.slices, g.outdated(p, generation-1))
	}
	g.slices = append(g.slices, current...)
}

// cutIntoSlices puts the devices of a pool into one or two slices, with counter sets where the release wants them.
func (g *generator) cutIntoSlices(p *pool, generation int64) (slices []*resourceapi.ResourceSlice) {
	chunks := [][]resourceapi.Device{p.devices}
	if n := len(p.devices); n > 1 && !g.single && (p.kind != parts || g.has.countersApart) && g.chance(40) {
		at := g.between(1, n-1)
		chunks = [][]resourceapi.Device{p.devices[:at], p.devices[at:]}
	}
	for i, devices := range chunks {
		slice := g.slice(p, fmt.Sprintf("devices-%d", i), generation)
		slice.Spec.Devices = devices
		slices = append(slices, slice)
	}
	switch {
	case len(p.counters) == 0:
	case g.has.countersApart:
		slice := g.slice(p, "counters", generation)
		slice.Spec.SharedCounters = p.counters
		slices = append(slices, slice)
	default:
		slices[0].Spec.SharedCounters = p.counters
	}
	for _, slice := range slices {
		slice.Spec.Pool.ResourceSliceCount = int64(len(slices))
	}
	return slices
}

// slice is a slice of the pool without content, as the only one.
func (g *generator) slice(p *pool, suffix string, generation int64) *resourceapi.ResourceSlice {
	slice := &resourceapi.ResourceSlice{
		ObjectMeta: g.object(fmt.Sprintf("%s-%s-%s-%d", p.driver, p.name, suffix, generation)),
		Spec: resourceapi.ResourceSliceSpec{
			Driver: p.driver,
			Pool:   resourceapi.ResourcePool{Name: p.name, Generation: generation, ResourceSliceCount: 1},
		},
	}
	switch p.place {
	case onNode:
		slice.Spec.NodeName = &p.node.Name
	case inZone:
		slice.Spec.NodeSelector = selecting(zoneLabel, g.name+"-east")
	case anywhere:
		slice.Spec.AllNodes = new(true)
	case perDevice:
		slice.Spec.PerDeviceNodeSelection = new(true)
	}
	return slice
}

// selecting is a node selector for a label.
func selecting(label, value string) *corev1.NodeSelector {
	return &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{
			Key: label, Operator: corev1.NodeSelectorOpIn, Values: []string{value},
		}},
	}}}
}

// damage makes a pool incomplete, or ambiguous: the same name for two devices.
func (g *generator) damage(slices []*resourceapi.ResourceSlice) {
	last := slices[len(slices)-1]
	first := slices[0]
	ambiguous := len(slices) > 1 && len(last.Spec.Devices) > 0 && !g.has.old
	if ambiguous && g.chance(40) {
		last.Spec.Devices[0].Name = first.Spec.Devices[0].Name
		return
	}
	for _, slice := range slices {
		slice.Spec.Pool.ResourceSliceCount++
	}
}

// outdated is a slice of an earlier generation, with devices that are not there any more.
func (g *generator) outdated(p *pool, generation int64) *resourceapi.ResourceSlice {
	slice := g.slice(p, "old", generation)
	slice.Spec.Devices = []resourceapi.Device{{Name: "gone-0"}, {Name: "gone-1"}}
	if p.place == perDevice {
		for i := range slice.Spec.Devices {
			slice.Spec.Devices[i].AllNodes = new(true)
		}
	}
	return slice
}

// placeEach lets each device say which nodes reach it.
func (g *generator) placeEach(p *pool) {
	for i := range p.devices {
		switch device := &p.devices[i]; g.IntN(3) {
		case 0:
			device.NodeName = &one(g, g.nodes...).Name
		case 1:
			device.NodeSelector = selecting(zoneLabel, g.name+"-west")
		default:
			device.AllNodes = new(true)
		}
	}
}
