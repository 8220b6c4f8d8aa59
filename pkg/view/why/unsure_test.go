package why

import (
	"fmt"
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/allocate"
)

// onRacks gives the nodes labels, and has some pools, and who has devices of them, select nodes by these.
func (r madeUp) onRacks(c *view.Cluster) {
	for _, n := range c.Nodes {
		n.Labels = map[string]string{"rack": fmt.Sprint(r.IntN(2)), "row": fmt.Sprint(r.IntN(2))}
	}
	places := make(map[string]*corev1.NodeSelector)
	for _, s := range c.Slices {
		pool := s.Spec.Pool.Name
		if _, known := places[pool]; !known {
			places[pool] = nil
			if r.often(60) {
				places[pool] = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
					MatchExpressions: []corev1.NodeSelectorRequirement{{
						Key: []string{"rack", "row"}[r.IntN(2)], Operator: corev1.NodeSelectorOpIn,
						Values: []string{fmt.Sprint(r.IntN(2))},
					}},
				}}}
			}
		}
		if place := places[pool]; place != nil {
			s.Spec.NodeName, s.Spec.NodeSelector = nil, place
		}
	}
	for _, claim := range c.Claims {
		if claim.Status.Allocation != nil && len(claim.Status.Allocation.Devices.Results) > 0 {
			if place := places[claim.Status.Allocation.Devices.Results[0].Pool]; place != nil {
				claim.Status.Allocation.NodeSelector = place
			}
		}
	}
}

// TestANoWithoutNodesIsANoWithThem asks about clusters whose nodes can be seen, and about the same ones without them.
func TestANoWithoutNodesIsANoWithThem(t *testing.T) {
	const seed, cases = 17, 600
	r := madeUp{rand.New(rand.NewPCG(seed, seed))} //nolint:gosec // the same cases each time
	key := types.NamespacedName{Namespace: "default", Name: "wanted"}
	count := make(map[State]int)
	for i := range cases {
		c := r.cluster(t.Context(), t)
		r.onRacks(c)
		claim := r.claim("wanted", 1+i%3)
		c.Claims = append(c.Claims, claim)
		seen, err := Claim(t.Context(), c, key)
		if err != nil {
			t.Fatal(err)
		}
		c.Nodes = nil
		unseen, err := Claim(t.Context(), c, key)
		if err != nil {
			t.Fatal(err)
		}
		count[unseen.State]++
		if seen.State == Possible && unseen.State == Waiting {
			t.Errorf("case %d: %s\nwithout nodes: %s", i, seen.Summary, unseen.Summary)
		}
		simulated, err := allocate.Simulate(t.Context(), c, allocate.Options{}, allocate.Question{
			Claims: []*resourceapi.ResourceClaim{claim},
		})
		if err != nil {
			t.Fatal(err)
		}
		if (unseen.State == Possible) != simulated.Possible() {
			t.Errorf("case %d: without nodes it is %s (%s), and a simulation says %t", i, unseen.State, unseen.Summary,
				simulated.Possible())
		}
	}
	t.Log(count)
	for _, state := range []State{Waiting, Possible, Unknown} {
		if count[state] < cases/20 {
			t.Errorf("the cases are all alike: %v", count)
		}
	}
}

// labelled is a slice with a device for nodes with a label, or for a node by name if there is no value.
func labelled(label, value, device string) *resourceapi.ResourceSlice {
	s := &resourceapi.ResourceSlice{Spec: resourceapi.ResourceSliceSpec{
		Driver: driver, Pool: resourceapi.ResourcePool{Name: device, Generation: 1, ResourceSliceCount: 1},
		Devices: []resourceapi.Device{{Name: device}},
	}}
	s.Name = device
	if value == "" {
		s.Spec.NodeName = &label
		return s
	}
	s.Spec.NodeSelector = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{
			Key: label, Operator: corev1.NodeSelectorOpIn, Values: []string{value},
		}},
	}}}
	return s
}

func asking(name, class string, change ...func(*resourceapi.ExactDeviceRequest)) resourceapi.DeviceRequest {
	e := &resourceapi.ExactDeviceRequest{
		DeviceClassName: class, AllocationMode: resourceapi.DeviceAllocationModeExactCount, Count: 1,
	}
	for _, c := range change {
		c(e)
	}
	return resourceapi.DeviceRequest{Name: name, Exactly: e}
}

func TestWithoutNodesLabelsDecide(t *testing.T) {
	all := func(e *resourceapi.ExactDeviceRequest) {
		e.AllocationMode, e.Count = resourceapi.DeviceAllocationModeAll, 0
	}
	failing := func(e *resourceapi.ExactDeviceRequest) {
		e.Selectors = []resourceapi.DeviceSelector{{CEL: &resourceapi.CELDeviceSelector{
			Expression: `device.attributes["gpu.example.com"].model == "A"`,
		}}}
	}
	held := &resourceapi.ResourceClaim{}
	held.Namespace, held.Name = "default", "held"
	held.Status.Allocation = &resourceapi.AllocationResult{
		Devices: resourceapi.DeviceAllocationResult{Results: []resourceapi.DeviceRequestAllocationResult{
			{Request: "gpu", Driver: driver, Pool: "x2", Device: "x2"},
		}},
	}
	for name, c := range map[string]struct {
		slices   []*resourceapi.ResourceSlice
		requests []resourceapi.DeviceRequest
		want     State
	}{
		"a selector that fails on a node of which the name is known": {
			[]*resourceapi.ResourceSlice{labelled("node-a", "", "x1"), labelled("rack", "1", "x3")},
			[]resourceapi.DeviceRequest{asking("gpu", "x", failing)}, Waiting,
		},
		"a selector that fails only where the labels are known": {
			[]*resourceapi.ResourceSlice{labelled("rack", "1", "x1")},
			[]resourceapi.DeviceRequest{asking("gpu", "x", failing)}, Unknown,
		},
		"all devices, one of which is in use elsewhere perhaps": {
			[]*resourceapi.ResourceSlice{labelled("rack", "1", "x1"), labelled("row", "1", "x2"), labelled("zone", "1", "y1")},
			[]resourceapi.DeviceRequest{asking("all", "x", all), asking("one", "y")}, Unknown,
		},
		"devices that no node can have": {
			[]*resourceapi.ResourceSlice{labelled("rack", "1", "x1"), labelled("row", "1", "x2")},
			[]resourceapi.DeviceRequest{asking("one", "y")}, Waiting,
		},
		"a device of a node and one of a rack": {
			[]*resourceapi.ResourceSlice{labelled("rack", "1", "x1"), labelled("node-a", "", "y1")},
			[]resourceapi.DeviceRequest{asking("all", "x"), asking("one", "y")}, Unknown,
		},
		"two devices of a node": {
			[]*resourceapi.ResourceSlice{labelled("node-a", "", "x1"), labelled("node-a", "", "y1")},
			[]resourceapi.DeviceRequest{asking("all", "x"), asking("one", "y")}, Possible,
		},
	} {
		t.Run(name, func(t *testing.T) {
			claim := &resourceapi.ResourceClaim{}
			claim.Namespace, claim.Name = "default", "wanted"
			claim.Spec.Devices.Requests = c.requests
			cluster := &view.Cluster{Slices: c.slices, Claims: []*resourceapi.ResourceClaim{held, claim}}
			for _, kind := range []string{"x", "y"} {
				class := &resourceapi.DeviceClass{Spec: resourceapi.DeviceClassSpec{Selectors: []resourceapi.DeviceSelector{
					{CEL: &resourceapi.CELDeviceSelector{Expression: fmt.Sprintf(
						`device.attributes["gpu.example.com"].kind == %q`, kind)}},
				}}}
				class.Name = kind
				cluster.Classes = append(cluster.Classes, class)
			}
			for _, s := range cluster.Slices {
				for i := range s.Spec.Devices {
					d := &s.Spec.Devices[i]
					d.Attributes = map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{
						"kind": {StringValue: new(d.Name[:1])},
					}
				}
			}
			a, err := Claim(t.Context(), cluster, types.NamespacedName{Namespace: "default", Name: "wanted"})
			if err != nil || a.State != c.want {
				t.Errorf("is %s: %s (%v), want %s", a.State, a.Summary, err, c.want)
			}
		})
	}
}
