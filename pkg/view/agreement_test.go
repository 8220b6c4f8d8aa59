package view_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
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

// TestADeviceIsAvailableIfTheAllocatorOfTheSchedulerGivesItAway asks, for each device of many random clusters, for that
// device alone: with the least capacity that one can ask for, and without tolerations.
func TestADeviceIsAvailableIfTheAllocatorOfTheSchedulerGivesItAway(t *testing.T) {
	seen := make(map[view.State]int)
	for seed := range uint64(120) {
		c := randomCluster(rand.New(rand.NewPCG(seed, 7)))
		listing, err := view.Devices(c, view.DeviceOptions{})
		if err != nil {
			t.Fatal(err)
		}
		allocator, err := allocate.New(c, allocate.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range listing.Devices {
			r := &listing.Devices[i]
			if r.State == view.NotPublished {
				continue
			}
			seen[r.State]++
			given := false
			for _, node := range c.Nodes {
				given = given || gives(t, allocator, node, claimFor(r))
			}
			if given != r.Available() {
				t.Errorf("seed %d: %s is %s (%v, %s, %v), available: %t; the allocator gives it away: %t", seed, r.ID(), r.State,
					ptr.Deref(r.SharedPercent, -1), r.Reason, r.BlockedBy, r.Available(), given)
			}
		}
	}
	for _, state := range []view.State{
		view.Free, view.InUse, view.Shared, view.Blocked, view.Tainted, view.PoolIncomplete, view.PoolInvalid,
	} {
		if seen[state] < 20 {
			t.Errorf("only %d devices were %s", seen[state], state)
		}
	}
}

func gives(t *testing.T, a *allocate.Allocator, node *corev1.Node, claim *resourceapi.ResourceClaim) bool {
	t.Helper()
	results, err := a.OnNode(t.Context(), node, []*resourceapi.ResourceClaim{claim})
	var unusable *allocate.NodeError // an invalid pool, from which nothing could be had
	if err != nil && !errors.As(err, &unusable) {
		t.Fatalf("%s on %s: %v", claim.Name, node.Name, err)
	}
	return len(results) > 0
}

// claimFor asks for one device, by its id.
func claimFor(r *view.Row) *resourceapi.ResourceClaim {
	expression := fmt.Sprintf(`device.attributes["d"].?id.orValue(-1) == %d`, *r.Attributes["id"].IntValue)
	request := &resourceapi.ExactDeviceRequest{
		DeviceClassName: "all", AllocationMode: resourceapi.DeviceAllocationModeExactCount, Count: 1,
		Selectors: []resourceapi.DeviceSelector{{CEL: &resourceapi.CELDeviceSelector{Expression: expression}}},
	}
	if r.Left != nil {
		request.Capacity = &resourceapi.CapacityRequirements{Requests: make(map[resourceapi.QualifiedName]resource.Quantity)}
		for name := range r.Capacity {
			least := resource.MustParse("1")
			if policy := r.Capacity[name].RequestPolicy; policy != nil && policy.ValidRange != nil {
				least = *policy.ValidRange.Min
			} else if policy != nil && len(policy.ValidValues) > 0 {
				least = policy.ValidValues[0]
			}
			request.Capacity.Requests[name] = least
		}
	}
	return &resourceapi.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "for-" + r.Device, UID: "new"},
		Spec: resourceapi.ResourceClaimSpec{Devices: resourceapi.DeviceClaim{
			Requests: []resourceapi.DeviceRequest{{Name: "one", Exactly: request}},
		}},
	}
}

// randomCluster has three nodes with whole devices, parts and shares, and a pool for all nodes; some of it is broken.
func randomCluster(random *rand.Rand) *view.Cluster {
	g := &clusterMaker{random: random, cluster: &view.Cluster{
		Classes: []*resourceapi.DeviceClass{{ObjectMeta: metav1.ObjectMeta{Name: "all"}}},
	}}
	for n := range 3 {
		name := fmt.Sprintf("node-%d", n)
		g.cluster.Nodes = append(g.cluster.Nodes,
			&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"rack": fmt.Sprint(n % 2)}}})
		g.pool(name, func(s *resourceapi.ResourceSliceSpec) { s.NodeName = new(name) })
	}
	g.pool("network", func(s *resourceapi.ResourceSliceSpec) {
		if g.one(2) {
			s.AllNodes = new(true)
			return
		}
		s.NodeSelector = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "rack", Operator: "In", Values: []string{"1"}}},
		}}}
	})
	if g.one(3) {
		g.cluster.TaintRules = append(g.cluster.TaintRules, &resourceapi.DeviceTaintRule{
			ObjectMeta: metav1.ObjectMeta{Name: "rule"}, Spec: resourceapi.DeviceTaintRuleSpec{
				DeviceSelector: &resourceapi.DeviceTaintSelector{Pool: new("node-1")}, Taint: g.taint(),
			},
		})
	}
	for i := range 8 + random.IntN(8) {
		g.claim(i)
	}
	return g.cluster
}

type clusterMaker struct {
	random  *rand.Rand
	cluster *view.Cluster
	ids     int64
	devices []resourceapi.DeviceRequestAllocationResult
}

func (g *clusterMaker) one(of int) bool { return g.random.IntN(of) == 0 }

func (g *clusterMaker) taint() resourceapi.DeviceTaint {
	effects := []resourceapi.DeviceTaintEffect{"None", "NoSchedule", "NoExecute"}
	return resourceapi.DeviceTaint{Key: "k", Effect: effects[g.random.IntN(len(effects))]}
}

// pool makes a slice of counter sets and one of devices, and now and then breaks them.
func (g *clusterMaker) pool(name string, place func(*resourceapi.ResourceSliceSpec)) {
	counters := &resourceapi.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: name + "-0"}}
	devices := &resourceapi.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: name + "-1"}}
	for _, s := range []*resourceapi.ResourceSlice{counters, devices} {
		s.Spec.Driver = "d"
		s.Spec.Pool = resourceapi.ResourcePool{Name: name, Generation: 2, ResourceSliceCount: 2}
		place(&s.Spec)
	}
	grouped := g.one(5)
	for i := range 2 {
		set := fmt.Sprintf("set-%d", i)
		counters.Spec.SharedCounters = append(counters.Spec.SharedCounters,
			resourceapi.CounterSet{Name: set, Counters: map[string]resourceapi.Counter{
				"memory": amount(4), "engines": amount(3),
			}})
		for _, part := range []struct {
			name            string
			memory, engines int64
		}{{"whole", 4, 3}, {"half-a", 2, 1}, {"half-b", 2, 1}, {"odd", 1, 2}, {"none", 0, 0}} {
			consumption := resourceapi.DeviceCounterConsumption{CounterSet: set, Counters: map[string]resourceapi.Counter{
				"memory": amount(part.memory), "engines": amount(part.engines),
			}}
			if grouped && !g.one(3) {
				consumption.CompatibilityGroups = [][]string{{"x"}, {"w"}, {"x", "w"}}[g.random.IntN(3)]
			}
			d := g.device(fmt.Sprintf("%s-%d", part.name, i))
			d.ConsumesCounters = []resourceapi.DeviceCounterConsumption{consumption}
			devices.Spec.Devices = append(devices.Spec.Devices, d)
		}
	}
	for i := range 2 {
		devices.Spec.Devices = append(devices.Spec.Devices, g.device(fmt.Sprintf("plain-%d", i)))
	}
	switch {
	case g.one(10):
		devices.Spec.Pool.ResourceSliceCount, counters.Spec.Pool.ResourceSliceCount = 3, 3
	case g.one(10):
		devices.Spec.Devices[3].Name = "plain-0"
	case g.one(15):
		devices.Spec.Devices[0].ConsumesCounters[0].CounterSet = "gone"
	}
	for i := range devices.Spec.Devices {
		g.devices = append(g.devices, resourceapi.DeviceRequestAllocationResult{
			Request: "r", Driver: "d", Pool: name, Device: devices.Spec.Devices[i].Name,
		})
	}
	g.cluster.Slices = append(g.cluster.Slices, counters, devices)
	if g.one(3) {
		stale := devices.DeepCopy()
		stale.Name += "-old"
		stale.Spec.Pool.Generation = 1
		stale.Spec.Devices = stale.Spec.Devices[:3]
		g.cluster.Slices = append(g.cluster.Slices, stale)
	}
}

func amount(n int64) resourceapi.Counter {
	return resourceapi.Counter{Value: *resource.NewQuantity(n, resource.DecimalSI)}
}

// device makes one with an id of its own; a third of them are for several claims.
func (g *clusterMaker) device(name string) resourceapi.Device {
	g.ids++
	d := resourceapi.Device{Name: name, Attributes: map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{
		"id": {IntValue: new(g.ids)},
	}}
	if g.one(6) {
		d.Taints = append(d.Taints, g.taint())
	}
	if !g.one(3) {
		return d
	}
	d.AllowMultipleAllocations = new(true)
	d.Capacity = make(map[resourceapi.QualifiedName]resourceapi.DeviceCapacity)
	for _, name := range []resourceapi.QualifiedName{"memory", "compute"}[:g.random.IntN(3)] {
		c := resourceapi.DeviceCapacity{Value: resource.MustParse("10")}
		switch g.random.IntN(3) {
		case 0:
			least := resource.MustParse([]string{"0", "2"}[g.random.IntN(2)])
			c.RequestPolicy = &resourceapi.CapacityRequestPolicy{
				Default: new(resource.MustParse("5")), ValidRange: &resourceapi.CapacityRequestPolicyRange{Min: &least},
			}
		case 1:
			c.RequestPolicy = &resourceapi.CapacityRequestPolicy{
				Default:     new(resource.MustParse("5")),
				ValidValues: []resource.Quantity{resource.MustParse("3"), resource.MustParse("5")},
			}
		}
		d.Capacity[name] = c
	}
	return d
}

// claim makes one that has some devices. Nothing keeps two claims from having the same device, as after a bug.
func (g *clusterMaker) claim(i int) {
	c := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: fmt.Sprintf("claim-%d", i), UID: types.UID(fmt.Sprintf("uid-%d", i)),
	}}
	c.Status.Allocation = &resourceapi.AllocationResult{}
	for range 1 + g.random.IntN(2) {
		r := g.devices[g.random.IntN(len(g.devices))]
		if g.one(6) {
			r.AdminAccess = new(true)
		}
		for _, s := range g.cluster.Slices {
			for _, d := range s.Spec.Devices {
				if s.Spec.Pool.Name != r.Pool || d.Name != r.Device || d.AllowMultipleAllocations == nil || g.one(10) {
					continue
				}
				r.ShareID = new(types.UID(fmt.Sprintf("share-%d-%d", i, len(c.Status.Allocation.Devices.Results))))
				r.ConsumedCapacity = make(map[resourceapi.QualifiedName]resource.Quantity)
				for name := range d.Capacity {
					r.ConsumedCapacity[name] = *resource.NewQuantity(int64(g.random.IntN(12)), resource.DecimalSI)
				}
			}
		}
		c.Status.Allocation.Devices.Results = append(c.Status.Allocation.Devices.Results, r)
	}
	g.cluster.Claims = append(g.cluster.Claims, c)
}
