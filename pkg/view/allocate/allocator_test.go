package allocate_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/allocate"
)

// got are the devices of allocations, claims separated by a bar: "gpu-0 gpu-1 | gpu-2".
func got(allocations []resourceapi.AllocationResult) string {
	var claims []string
	for _, a := range allocations {
		var devices []string
		for _, r := range a.Devices.Results {
			text := r.Device
			if strings.Contains(r.Request, "/") {
				text = r.Request + "=" + text
			}
			if ptr.Deref(r.AdminAccess, false) {
				text += " (admin)"
			}
			if r.ShareID != nil {
				m := r.ConsumedCapacity["memory"]
				text += fmt.Sprintf(" (%s)", m.String())
			}
			if len(r.BindingConditions) > 0 {
				text += " (waits)"
			}
			devices = append(devices, text)
		}
		claims = append(claims, strings.Join(devices, " "))
	}
	return strings.Join(claims, " | ")
}

func one(r resourceapi.DeviceRequest, change func(*resourceapi.ExactDeviceRequest)) resourceapi.DeviceRequest {
	change(r.Exactly)
	return r
}

func selecting(expression string) resourceapi.DeviceRequest {
	return one(exactly("gpu", 1), func(e *resourceapi.ExactDeviceRequest) {
		e.Selectors = []resourceapi.DeviceSelector{celSelector(expression)}
	})
}

func all() resourceapi.DeviceRequest {
	return one(exactly("gpu", 0), func(e *resourceapi.ExactDeviceRequest) {
		e.AllocationMode = resourceapi.DeviceAllocationModeAll
	})
}

func looking() resourceapi.DeviceRequest {
	return one(exactly("gpu", 1), func(e *resourceapi.ExactDeviceRequest) { e.AdminAccess = new(true) })
}

func firstAvailable(counts ...int64) resourceapi.DeviceRequest {
	r := resourceapi.DeviceRequest{Name: "gpu"}
	for _, n := range counts {
		r.FirstAvailable = append(r.FirstAvailable, resourceapi.DeviceSubRequest{
			Name: fmt.Sprintf("of-%d", n), DeviceClassName: "gpu",
			AllocationMode: resourceapi.DeviceAllocationModeExactCount, Count: n,
		})
	}
	return r
}

func sameValue(attribute resourceapi.FullyQualifiedName) resourceapi.DeviceConstraint {
	return resourceapi.DeviceConstraint{MatchAttribute: &attribute}
}

func distinctValues(attribute resourceapi.FullyQualifiedName) resourceapi.DeviceConstraint {
	return resourceapi.DeviceConstraint{DistinctAttribute: &attribute}
}

func constrained(c resourceapi.DeviceConstraint, requests ...resourceapi.DeviceRequest) *resourceapi.ResourceClaim {
	claim := asking("mine", requests...)
	claim.Spec.Devices.Constraints = []resourceapi.DeviceConstraint{c}
	return claim
}

func wantsMemory(q string) resourceapi.DeviceRequest {
	return one(exactly("gpu", 1), func(e *resourceapi.ExactDeviceRequest) {
		e.Capacity = &resourceapi.CapacityRequirements{
			Requests: map[resourceapi.QualifiedName]resource.Quantity{"memory": resource.MustParse(q)},
		}
	})
}

// shareable lets several claims have a device, in steps of 10Gi of its memory, 20Gi if they do not say.
func shareable(d resourceapi.Device) resourceapi.Device {
	d.AllowMultipleAllocations = new(true)
	d.Capacity["memory"] = resourceapi.DeviceCapacity{
		Value: resource.MustParse("80Gi"),
		RequestPolicy: &resourceapi.CapacityRequestPolicy{
			Default: new(resource.MustParse("20Gi")),
			ValidRange: &resourceapi.CapacityRequestPolicyRange{
				Min: new(resource.MustParse("10Gi")), Step: new(resource.MustParse("10Gi")),
			},
		},
	}
	return d
}

func holdsShare(name, q string) *resourceapi.ResourceClaim {
	c := held(name, "node-a", "gpu-0")
	r := &c.Status.Allocation.Devices.Results[0]
	r.ShareID = new(types.UID(name))
	r.ConsumedCapacity = map[resourceapi.QualifiedName]resource.Quantity{"memory": resource.MustParse(q)}
	return c
}

// partitionable is a GPU of 4 slots as a whole and in 2 halves, with the counters in the first slice.
func partitionable() []*resourceapi.ResourceSlice {
	counters := func(n string) []resourceapi.DeviceCounterConsumption {
		return []resourceapi.DeviceCounterConsumption{{CounterSet: "gpu-0", Counters: map[string]resourceapi.Counter{
			"slots": {Value: resource.MustParse(n)},
		}}}
	}
	devices := []resourceapi.Device{
		{Name: "half-0", ConsumesCounters: counters("2")}, {Name: "half-1", ConsumesCounters: counters("2")},
		{Name: "whole", ConsumesCounters: counters("4")},
	}
	first, second := onNode("node-a"), onNode("node-a", devices...)
	first.Spec.SharedCounters = []resourceapi.CounterSet{{Name: "gpu-0", Counters: map[string]resourceapi.Counter{
		"slots": {Value: resource.MustParse("4")},
	}}}
	first.Name, second.Name = "slice-0", "slice-1"
	first.Spec.Pool.ResourceSliceCount, second.Spec.Pool.ResourceSliceCount = 2, 2
	return []*resourceapi.ResourceSlice{first, second}
}

func tainted(effect resourceapi.DeviceTaintEffect, devices ...resourceapi.Device) []resourceapi.Device {
	for i := range devices {
		devices[i].Taints = []resourceapi.DeviceTaint{{Key: "sick", Effect: effect}}
	}
	return devices
}

func tolerating() resourceapi.DeviceRequest {
	return one(exactly("gpu", 1), func(e *resourceapi.ExactDeviceRequest) {
		e.Tolerations = []resourceapi.DeviceToleration{{Key: "sick", Operator: resourceapi.DeviceTolerationOpExists}}
	})
}

func binding(d resourceapi.Device) resourceapi.Device {
	d.BindingConditions = []string{"example.com/attached"}
	return d
}

func rule(device *string) *resourceapi.DeviceTaintRule {
	return &resourceapi.DeviceTaintRule{
		ObjectMeta: metav1.ObjectMeta{Name: "maintenance"},
		Spec: resourceapi.DeviceTaintRuleSpec{
			DeviceSelector: &resourceapi.DeviceTaintSelector{Driver: new(driver), Device: device},
			Taint:          resourceapi.DeviceTaint{Key: "sick", Effect: resourceapi.DeviceTaintEffectNoSchedule},
		},
	}
}

func incomplete(s *resourceapi.ResourceSlice) []*resourceapi.ResourceSlice {
	s.Spec.Pool.ResourceSliceCount = 2
	return []*resourceapi.ResourceSlice{s}
}

func TestClaimsGetWhatTheSchedulerWouldGiveThem(t *testing.T) {
	type slices = []*resourceapi.ResourceSlice
	type claims = []*resourceapi.ResourceClaim
	four := slices{onNode("node-a", devices(4)...)}
	for title, c := range map[string]struct {
		cluster view.Cluster
		claims  claims
		want    string // "" if nothing
		err     string
	}{
		"the first device": {view.Cluster{Slices: four}, claims{asking("mine", exactly("gpu", 1))}, "gpu-0", ""},
		"as many devices as there are": {
			view.Cluster{Slices: four}, claims{asking("mine", exactly("gpu", 4))}, "gpu-0 gpu-1 gpu-2 gpu-3", "",
		},
		"more devices than there are": {view.Cluster{Slices: four}, claims{asking("mine", exactly("gpu", 5))}, "", ""},
		"two claims at once": {
			view.Cluster{Slices: four}, claims{asking("a", exactly("gpu", 2)), asking("b", exactly("gpu", 1))},
			"gpu-0 gpu-1 | gpu-2", "",
		},
		"not what others have": {
			view.Cluster{Slices: four, Claims: claims{held("other", "node-a", "gpu-0", "gpu-2")}},
			claims{asking("mine", exactly("gpu", 2))}, "gpu-1 gpu-3", "",
		},
		"devices of another node are out of reach": {
			view.Cluster{Slices: slices{onNode("node-b", devices(4)...)}}, claims{asking("mine", exactly("gpu", 1))}, "", "",
		},
		"a selector": {
			view.Cluster{Slices: four}, claims{asking("mine", selecting(`device.attributes["gpu.example.com"].index == 2`))},
			"gpu-2", "",
		},
		"a selector that fails on a device": {
			view.Cluster{Slices: four},
			claims{asking("mine", selecting(`device.attributes["gpu.example.com"].modelName == "A"`))},
			"", "no such key: modelName",
		},
		"a selector that cannot be compiled": {
			view.Cluster{Slices: four}, claims{asking("mine", selecting(`device.model`))}, "", "undefined field 'model'",
		},
		"a request that no API server would take": {
			view.Cluster{Slices: four}, claims{asking("mine", resourceapi.DeviceRequest{Name: "gpu"})}, "",
			"the allocator cannot read these objects, which no API server would take",
		},
		"all devices": {view.Cluster{Slices: four}, claims{asking("mine", all())}, "gpu-0 gpu-1 gpu-2 gpu-3", ""},
		"all devices, of which one is taken": {
			view.Cluster{Slices: four, Claims: claims{held("other", "node-a", "gpu-3")}}, claims{asking("mine", all())}, "", "",
		},
		"all devices of a pool that is being updated": {
			view.Cluster{Slices: incomplete(onNode("node-a", devices(2)...))}, claims{asking("mine", all())}, "",
			"asks for all devices, but resource pool gpu.example.com/node-a is currently being updated",
		},
		"one device of a pool that is being updated": {
			view.Cluster{Slices: incomplete(onNode("node-a", devices(2)...))}, claims{asking("mine", exactly("gpu", 1))}, "", "",
		},
		"one device of a pool that is being updated, on Kubernetes 1.34": {
			view.Cluster{Version: "v1.34.3", Slices: incomplete(onNode("node-a", devices(2)...))},
			claims{asking("mine", exactly("gpu", 1))}, "gpu-0", "",
		},
		"all devices of a pool that is being updated, on Kubernetes 1.34": {
			view.Cluster{Version: "v1.34.3", Slices: incomplete(onNode("node-a", devices(2)...))}, claims{asking("mine", all())},
			"", "is currently being updated",
		},
		"the first alternative": {
			view.Cluster{Slices: four}, claims{asking("mine", firstAvailable(2, 1))}, "gpu/of-2=gpu-0 gpu/of-2=gpu-1", "",
		},
		"the second alternative": {
			view.Cluster{Slices: four, Claims: claims{held("other", "node-a", "gpu-0", "gpu-1", "gpu-2")}},
			claims{asking("mine", firstAvailable(2, 1))}, "gpu/of-1=gpu-3", "",
		},
		"no alternative": {view.Cluster{Slices: four}, claims{asking("mine", firstAvailable(6, 5))}, "", ""},
		"devices with the same value of an attribute": {
			view.Cluster{Slices: four},
			claims{constrained(sameValue("gpu.example.com/numa"), exactly("gpu", 2))},
			"gpu-0 gpu-2", "",
		},
		"more devices with the same value than there are": {
			view.Cluster{Slices: four},
			claims{constrained(sameValue("gpu.example.com/numa"), exactly("gpu", 3))},
			"", "",
		},
		"the same value of an attribute that no device has": {
			view.Cluster{Slices: four},
			claims{constrained(sameValue("gpu.example.com/root"), exactly("gpu", 1))},
			"", "",
		},
		"devices with different values": {
			view.Cluster{Slices: four, Claims: claims{held("other", "node-a", "gpu-0")}},
			claims{constrained(distinctValues("gpu.example.com/numa"), exactly("gpu", 2))},
			"gpu-1 gpu-2", "",
		},
		"admin access to a device that is taken": {
			view.Cluster{Slices: four, Claims: claims{held("other", "node-a", "gpu-0")}}, claims{asking("mine", looking())},
			"gpu-0 (admin)", "",
		},
		"a device that somebody looks at": {
			view.Cluster{Slices: four, Claims: claims{func() *resourceapi.ResourceClaim {
				c := held("other", "node-a", "gpu-0")
				c.Status.Allocation.Devices.Results[0].AdminAccess = new(true)
				return c
			}()}},
			claims{asking("mine", exactly("gpu", 1))}, "gpu-0", "",
		},
		"a share as large as the policy says": {
			view.Cluster{Slices: slices{onNode("node-a", shareable(devices(1)[0]))}}, claims{asking("mine", exactly("gpu", 1))},
			"gpu-0 (20Gi)", "",
		},
		"a share, rounded up": {
			view.Cluster{Slices: slices{onNode("node-a", shareable(devices(1)[0]))}},
			claims{asking("mine", wantsMemory("35Gi"))},
			"gpu-0 (40Gi)", "",
		},
		"the last share": {
			view.Cluster{
				Slices: slices{onNode("node-a", shareable(devices(1)[0]))},
				Claims: claims{holdsShare("a", "40Gi"), holdsShare("b", "20Gi")},
			},
			claims{asking("mine", exactly("gpu", 1))}, "gpu-0 (20Gi)", "",
		},
		"a share that is too large": {
			view.Cluster{
				Slices: slices{onNode("node-a", shareable(devices(1)[0]))},
				Claims: claims{holdsShare("a", "40Gi"), holdsShare("b", "20Gi")},
			},
			claims{asking("mine", wantsMemory("30Gi"))}, "", "",
		},
		"two shares of one device": {
			view.Cluster{Slices: slices{onNode("node-a", shareable(devices(1)[0]))}},
			claims{asking("a", wantsMemory("40Gi")), asking("b", wantsMemory("40Gi"))}, "gpu-0 (40Gi) | gpu-0 (40Gi)", "",
		},
		"a part of a device": {
			view.Cluster{Slices: partitionable()}, claims{asking("mine", exactly("gpu", 2))}, "half-0 half-1", "",
		},
		"a part of a device that has one left": {
			view.Cluster{Slices: partitionable(), Claims: claims{held("other", "node-a", "half-0")}},
			claims{asking("mine", exactly("gpu", 1))}, "half-1", "",
		},
		"parts of a device that is taken as a whole": {
			view.Cluster{Slices: partitionable(), Claims: claims{held("other", "node-a", "whole")}},
			claims{asking("mine", exactly("gpu", 1))}, "", "",
		},
		"a tainted device": {
			view.Cluster{Slices: slices{onNode("node-a", tainted(resourceapi.DeviceTaintEffectNoSchedule, devices(1)...)...)}},
			claims{asking("mine", exactly("gpu", 1))}, "", "",
		},
		"a device whose taint only informs": {
			view.Cluster{Slices: slices{onNode("node-a", tainted(resourceapi.DeviceTaintEffectNone, devices(1)...)...)}},
			claims{asking("mine", exactly("gpu", 1))}, "gpu-0", "",
		},
		"a tainted device that is tolerated": {
			view.Cluster{Slices: slices{onNode("node-a", tainted(resourceapi.DeviceTaintEffectNoExecute, devices(1)...)...)}},
			claims{asking("mine", tolerating())}, "gpu-0", "",
		},
		"a device that a rule taints": {
			view.Cluster{Slices: four, TaintRules: []*resourceapi.DeviceTaintRule{rule(new("gpu-0"))}},
			claims{asking("mine", exactly("gpu", 1))}, "gpu-1", "",
		},
		"devices that a rule taints, all of them": {
			view.Cluster{Slices: four, TaintRules: []*resourceapi.DeviceTaintRule{rule(nil)}},
			claims{asking("mine", exactly("gpu", 1))}, "", "",
		},
		"a device that is attached first": {
			view.Cluster{Slices: slices{onNode("node-a", binding(devices(1)[0]))}}, claims{asking("mine", exactly("gpu", 1))},
			"gpu-0 (waits)", "",
		},
		"a device of all nodes": {
			view.Cluster{Slices: slices{func() *resourceapi.ResourceSlice {
				s := onNode("fabric", devices(1)...)
				s.Spec.NodeName, s.Spec.AllNodes = nil, new(true)
				return s
			}()}},
			claims{asking("mine", exactly("gpu", 1))}, "gpu-0", "",
		},
		"a device of nodes in another zone": {
			view.Cluster{Slices: slices{func() *resourceapi.ResourceSlice {
				s := onNode("fabric", devices(1)...)
				s.Spec.NodeName, s.Spec.NodeSelector = nil, inZone("b")
				return s
			}()}},
			claims{asking("mine", exactly("gpu", 1))}, "", "",
		},
		"devices that say each which node has them": {
			view.Cluster{Slices: slices{func() *resourceapi.ResourceSlice {
				s := onNode("fabric", devices(2)...)
				s.Spec.NodeName, s.Spec.PerDeviceNodeSelection = nil, new(true)
				s.Spec.Devices[0].NodeSelector = inZone("b")
				s.Spec.Devices[1].NodeSelector = inZone("a")
				return s
			}()}},
			claims{asking("mine", exactly("gpu", 1))}, "gpu-1", "",
		},
		"nothing of an old generation": {
			view.Cluster{Slices: slices{onNode("node-a", devices(2)...), func() *resourceapi.ResourceSlice {
				s := onNode("node-a", devices(1)...)
				s.Name, s.Spec.Pool.Generation = "newer", 2
				return s
			}()}},
			claims{asking("mine", exactly("gpu", 2))}, "", "",
		},
		"a pool with two devices of one name": {
			view.Cluster{Slices: slices{onNode("node-a", append(devices(1), devices(1)...)...)}},
			claims{asking("mine", exactly("gpu", 1))}, "", "invalid resource pools were encountered",
		},
		"a pool with two devices of one name, on Kubernetes 1.34": {
			view.Cluster{Version: "v1.34.3", Slices: slices{onNode("node-a", append(devices(1), devices(1)...)...)}},
			claims{asking("mine", exactly("gpu", 1))}, "",
			`resource pool gpu.example.com/node-a is invalid: the pool has two devices "gpu-0"`,
		},
		"counters beside their devices, on Kubernetes 1.34": {
			view.Cluster{Version: "v1.34.3", Slices: slices{func() *resourceapi.ResourceSlice {
				parts := partitionable()
				parts[1].Spec.SharedCounters, parts[1].Spec.Pool.ResourceSliceCount = parts[0].Spec.SharedCounters, 1
				return parts[1]
			}()}, Claims: claims{held("other", "node-a", "half-0")}},
			claims{asking("mine", exactly("gpu", 1))}, "half-1", "",
		},
	} {
		t.Run(title, func(t *testing.T) {
			c.cluster.Classes = []*resourceapi.DeviceClass{gpuClass()}
			a, err := allocate.New(&c.cluster, allocate.Options{})
			if err != nil {
				t.Fatal(err)
			}
			allocations, err := a.OnNode(t.Context(), node("node-a", "zone", "a"), c.claims)
			if g := got(allocations); g != c.want {
				t.Errorf("got %q, want %q", g, c.want)
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("error: %v, want %q", err, c.err)
			}
		})
	}
}

func inZone(zone string) *corev1.NodeSelector {
	return &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{
			Key: "zone", Operator: corev1.NodeSelectorOpIn, Values: []string{zone},
		}},
	}}}
}

// What fails on one node only is told from what makes the scheduler give up.
func TestErrorsSayWhomTheyConcern(t *testing.T) {
	double := &view.Cluster{
		Slices:  []*resourceapi.ResourceSlice{onNode("node-a", append(devices(1), devices(1)...)...)},
		Classes: []*resourceapi.DeviceClass{gpuClass()},
	}
	a, err := allocate.New(double, allocate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.OnNode(t.Context(), node("node-a"), []*resourceapi.ResourceClaim{asking("mine", exactly("gpu", 1))})
	if no := new(allocate.NodeError); !errors.As(err, &no) || no.Node != "node-a" {
		t.Errorf("a pool that is not valid: %v, want a *NodeError", err)
	}
	single := *double
	single.Slices = []*resourceapi.ResourceSlice{onNode("node-a", devices(1)...)}
	if a, err = allocate.New(&single, allocate.Options{}); err != nil {
		t.Fatal(err)
	}
	_, err = a.OnNode(t.Context(), node("node-a"), []*resourceapi.ResourceClaim{asking("mine", selecting("device.x"))})
	if failed := new(allocate.AttemptError); !errors.As(err, &failed) {
		t.Errorf("a selector that cannot be compiled: %v, want an *AttemptError", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = a.OnNode(ctx, node("node-a"), []*resourceapi.ResourceClaim{asking("mine", exactly("gpu", 1))})
	if !errors.Is(err, context.Canceled) || errors.As(err, new(*allocate.AttemptError)) {
		t.Errorf("a call that was given up: %v, want the cause alone", err)
	}
}

func TestWhatWasTakenIsGone(t *testing.T) {
	for title, slices := range map[string][]*resourceapi.ResourceSlice{
		"whole devices": {onNode("node-a", devices(1)...)},
		"shares":        {onNode("node-a", shareable(devices(1)[0]))},
		"parts":         partitionable(),
	} {
		t.Run(title, func(t *testing.T) {
			a, err := allocate.New(&view.Cluster{
				Slices: slices, Classes: []*resourceapi.DeviceClass{gpuClass()},
			}, allocate.Options{})
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]int{"whole devices": 1, "shares": 4, "parts": 2}[title]
			n := 0
			for ; n < 10; n++ {
				claims := []*resourceapi.ResourceClaim{asking("mine", exactly("gpu", 1))}
				allocations, err := a.OnNode(t.Context(), node("node-a"), claims)
				if err != nil {
					t.Fatal(err)
				}
				if allocations == nil {
					break
				}
				if err := a.Take(allocations...); err != nil {
					t.Fatal(err)
				}
			}
			if n != want {
				t.Errorf("%d claims got something, want %d", n, want)
			}
		})
	}
}

func TestFeaturesFollowVersionAndObjects(t *testing.T) {
	has := func(c *view.Cluster) []string {
		f := allocate.FeaturesOf(c)
		names := f.Set().UnsortedList()
		if f.ExtendedResources {
			names = append(names, "DRAExtendedResource")
		}
		slices.Sort(names)
		return names
	}
	old := []string{"DRAAdminAccess", "DRAPrioritizedList"}
	in136 := append(slices.Clone(old), "DRAConsumableCapacity",
		"DRADeviceBindingConditions+DRAResourceClaimDeviceStatus", "DRADeviceTaints", "DRAExtendedResource",
		"DRAPartitionableDevices")
	in137 := append(slices.Clone(in136), "DRAFractionalCapacityRange")
	withSlices := func(s ...*resourceapi.ResourceSlice) *view.Cluster {
		return &view.Cluster{Version: "v1.34.3", Slices: s}
	}
	named := class("gpu", "true")
	named.Spec.ExtendedResourceName = new("example.com/gpu")
	listed := devices(1)
	listed[0].Attributes["links"] = resourceapi.DeviceAttribute{StringValues: []string{"a"}}
	for title, c := range map[string]struct {
		cluster *view.Cluster
		want    []string
	}{
		"1.34":                        {&view.Cluster{Version: "v1.34.3"}, old},
		"1.35":                        {&view.Cluster{Version: "v1.35.0+k3s1"}, old},
		"1.36":                        {&view.Cluster{Version: "v1.36.2-gke.100"}, in136},
		"1.37":                        {&view.Cluster{Version: "v1.37.2"}, in137},
		"a version that is not known": {&view.Cluster{}, in137},
		"1.34 with taints": {
			withSlices(onNode("a", tainted(resourceapi.DeviceTaintEffectNoSchedule, devices(1)...)...)),
			append(slices.Clone(old), "DRADeviceTaints"),
		},
		"1.34 with taint rules": {
			&view.Cluster{Version: "v1.34.3", TaintRules: []*resourceapi.DeviceTaintRule{rule(nil)}},
			append(slices.Clone(old), "DRADeviceTaints"),
		},
		"1.34 with shares": {
			withSlices(onNode("a", shareable(devices(1)[0]))), append(slices.Clone(old), "DRAConsumableCapacity"),
		},
		"1.34 with counters": {withSlices(partitionable()...), append(slices.Clone(old), "DRAPartitionableDevices")},
		"1.34 with binding conditions": {
			withSlices(onNode("a", binding(devices(1)[0]))),
			append(slices.Clone(old), "DRADeviceBindingConditions+DRAResourceClaimDeviceStatus"),
		},
		"1.34 with lists": {withSlices(onNode("a", listed...)), append(slices.Clone(old), "DRAListTypeAttributes")},
		"1.34 with an extended resource": {
			&view.Cluster{Version: "v1.34.3", Classes: []*resourceapi.DeviceClass{named}},
			append(slices.Clone(old), "DRAExtendedResource"),
		},
		"1.34 with a claim that wants capacity": {
			&view.Cluster{Version: "v1.34.3", Claims: []*resourceapi.ResourceClaim{asking("a", wantsMemory("1Gi"))}},
			append(slices.Clone(old), "DRAConsumableCapacity"),
		},
		"1.34 with a claim that has a share": {
			&view.Cluster{Version: "v1.34.3", Claims: []*resourceapi.ResourceClaim{holdsShare("a", "1Gi")}},
			append(slices.Clone(old), "DRAConsumableCapacity"),
		},
		"1.34 with a claim that tolerates": {
			&view.Cluster{Version: "v1.34.3", Claims: []*resourceapi.ResourceClaim{asking("a", tolerating())}},
			append(slices.Clone(old), "DRADeviceTaints"),
		},
	} {
		t.Run(title, func(t *testing.T) {
			slices.Sort(c.want)
			if got := has(c.cluster); !slices.Equal(got, c.want) {
				t.Errorf("features:\n%v\nwant\n%v", got, c.want)
			}
		})
	}
}
