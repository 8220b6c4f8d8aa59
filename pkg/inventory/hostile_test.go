package inventory

import (
	"fmt"
	"math/rand/v2"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"example.com/dragoman/pkg/device"
)

// hostile returns a snapshot of n devices in which about anything may be wrong.
func hostile(seed uint64, n int) device.Snapshot {
	h := hostileSource{rand.New(rand.NewPCG(seed, 99))}
	var s device.Snapshot
	for range h.IntN(20) {
		s.SharedCounters = append(s.SharedCounters, resourceapi.CounterSet{Name: h.label("set"), Counters: h.counters()})
	}
	for range n {
		s.Devices = append(s.Devices, device.Device{Device: h.device()})
	}
	return s
}

type hostileSource struct{ *rand.Rand }

func (h hostileSource) rarely() bool { return h.IntN(12) == 0 }

func pick[T any](h hostileSource, items ...T) T { return items[h.IntN(len(items))] }

func (h hostileSource) label(prefix string) string {
	if h.rarely() {
		return pick(h, "", "UPPER", "a_b", "-a", strings.Repeat("x", 64), "a.b", "\xff", "ä")
	}
	return fmt.Sprintf("%s-%d", prefix, h.IntN(300))
}

func (h hostileSource) name() resourceapi.QualifiedName {
	if h.rarely() {
		return resourceapi.QualifiedName(pick(h, "", "a-b", "a/b/c", "/a", "a/", "9a", "UPPER.example.com/x", "a b", "\xff",
			strings.Repeat("x", 33), strings.Repeat("y", 64)+"/x", "under_score.com/x"))
	}
	domain := pick(h, "", "resource.kubernetes.io/", "gpu.example.com/")
	return resourceapi.QualifiedName(fmt.Sprintf("%sn%d", domain, h.IntN(40)))
}

func (h hostileSource) text() string {
	return pick(h, "", "text", strings.Repeat("x", 64), strings.Repeat("x", 65),
		strings.Repeat("ä", 33), "\xff\xfe", "a\x00b")
}

func (h hostileSource) version() string {
	return pick(h, "1.2.3", "1.2", "", "01.2.3", "1.2.3-rc.1+build", "550.54.15", "535.104.05",
		"1.2.3-"+strings.Repeat("a", 64), "v1.0.0")
}

func (h hostileSource) attribute() (a resourceapi.DeviceAttribute) {
	for {
		switch h.IntN(8) {
		case 0:
			a.IntValue = new(h.Int64())
		case 1:
			a.BoolValue = new(true)
		case 2, 3:
			a.StringValue = new(h.text())
		case 4:
			a.VersionValue = new(h.version())
		case 5:
			a.IntValues = make([]int64, h.IntN(20))
		case 6:
			a.StringValues = []string{"a", h.text()}
		case 7:
			a.VersionValues = []string{h.version()}
		}
		if !h.rarely() {
			return a
		}
	}
}

func (h hostileSource) quantity() *resource.Quantity {
	if h.rarely() {
		return nil
	}
	return new(resource.MustParse(pick(h, "0", "1", "2", "5", "10", "80", "80Gi", "100m", "1500m", "-1", "1n",
		"9223372036854775807", "18446744073709551616", "36893488147419103232", "1Ei", "500m")))
}

func (h hostileSource) policy() *resourceapi.CapacityRequestPolicy {
	if h.IntN(3) == 0 {
		return nil
	}
	p := &resourceapi.CapacityRequestPolicy{Default: h.quantity()}
	if h.IntN(2) == 0 {
		p.ValidRange = &resourceapi.CapacityRequestPolicyRange{Min: h.quantity(), Max: h.quantity(), Step: h.quantity()}
	}
	if p.ValidRange == nil || h.rarely() {
		for range h.IntN(12) {
			if q := h.quantity(); q != nil {
				p.ValidValues = append(p.ValidValues, *q)
			}
		}
		if h.IntN(2) == 0 {
			p.ValidValues = []resource.Quantity{resource.MustParse("1"), resource.MustParse("2"), resource.MustParse("10")}
		}
	}
	return p
}

func (h hostileSource) counters() map[string]resourceapi.Counter {
	counters := make(map[string]resourceapi.Counter)
	n := 1 + h.IntN(4)
	if h.rarely() {
		n = pick(h, 0, 40)
	}
	for i := range n {
		name := fmt.Sprintf("c%d", i)
		if h.rarely() {
			name = h.label("c")
		}
		counters[name] = resourceapi.Counter{Value: resource.MustParse("1")}
	}
	return counters
}

func (h hostileSource) device() resourceapi.Device {
	d := resourceapi.Device{
		Name:       h.label("gpu"),
		Attributes: make(map[resourceapi.QualifiedName]resourceapi.DeviceAttribute),
		Capacity:   make(map[resourceapi.QualifiedName]resourceapi.DeviceCapacity),
	}
	d.AllowMultipleAllocations = pick(h, nil, new(false), new(true))
	for range h.IntN(30) {
		d.Attributes[h.name()] = h.attribute()
	}
	for range h.IntN(3) {
		if q := h.quantity(); q != nil {
			d.Capacity[h.name()] = resourceapi.DeviceCapacity{Value: *q, RequestPolicy: h.policy()}
		}
	}
	if h.IntN(3) == 0 {
		for range pick(h, 0, 1, 2, 16, 20) {
			d.Taints = append(d.Taints, resourceapi.DeviceTaint{
				Key:    pick(h, "gpu.example.com/unhealthy", "a", "gpu.example.com/ok", "", "a b")[:],
				Value:  pick(h, "", "true", "x y"),
				Effect: pick[resourceapi.DeviceTaintEffect](h, "None", "NoSchedule", "NoExecute", "None", ""),
			})
		}
	}
	if h.IntN(3) == 0 {
		for range 1 + h.IntN(3) {
			d.ConsumesCounters = append(d.ConsumesCounters, resourceapi.DeviceCounterConsumption{
				CounterSet: h.label("set"), Counters: h.counters(),
				CompatibilityGroups: pick(h, nil, []string{"a"}, []string{"a", "a"}, []string{"a", "b"}, []string{"A"}),
			})
		}
	}
	h.rest(&d)
	return d
}

func (h hostileSource) rest(d *resourceapi.Device) {
	if h.rarely() {
		d.BindingConditions = pick(h, []string{"a"}, []string{"a", "a"}, []string{"a b"}, []string{"a", "b", "c", "d", "e"})
	}
	if d.BindingConditions != nil || h.rarely() {
		d.BindingFailureConditions = pick(h, []string{"f"}, []string{"a"}, nil, []string{"f", "g"})
	}
	d.BindsToNode = pick(h, nil, new(false), new(true))
	if h.rarely() {
		d.NodeName = pick(h, nil, new("node-a"))
		d.AllNodes = pick(h, nil, new(true))
		d.NodeAllocatableResources = pick(h, nil, map[corev1.ResourceName]resourceapi.NodeAllocatableResource{"cpu": {}})
	}
}
