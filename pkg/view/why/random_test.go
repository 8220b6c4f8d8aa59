package why

import (
	"context"
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

const driver = "gpu.example.com"

// madeUp makes small clusters up in which everything happens that a funnel knows.
type madeUp struct{ *rand.Rand }

func (r madeUp) often(percent int) bool { return r.IntN(100) < percent }

func (r madeUp) device(name string, partitions bool) resourceapi.Device {
	d := resourceapi.Device{
		Name: name,
		Attributes: map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{
			"model": {StringValue: new([]string{"A", "B"}[r.IntN(2)])},
			"numa":  {IntValue: new(int64(r.IntN(2)))},
		},
		Capacity: map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{
			"memory": {Value: *resource.NewQuantity(int64(10*(1+r.IntN(8))), resource.DecimalSI)},
		},
	}
	if r.often(20) {
		delete(d.Attributes, "numa")
	}
	if r.often(20) {
		d.Taints = []resourceapi.DeviceTaint{{
			Key: "sick", Effect: []resourceapi.DeviceTaintEffect{"NoSchedule", "NoExecute", "None"}[r.IntN(3)],
		}}
	}
	if r.often(30) {
		d.AllowMultipleAllocations = new(true)
		policy := &resourceapi.CapacityRequestPolicy{Default: resource.NewQuantity(10, resource.DecimalSI)}
		if r.often(50) {
			policy.ValidRange = &resourceapi.CapacityRequestPolicyRange{
				Min: resource.NewQuantity(10, resource.DecimalSI), Step: resource.NewQuantity(10, resource.DecimalSI),
				Max: resource.NewQuantity(60, resource.DecimalSI),
			}
		} else {
			for _, v := range []string{"10", "30", "50"} {
				policy.ValidValues = append(policy.ValidValues, resource.MustParse(v))
			}
		}
		d.Capacity["memory"] = resourceapi.DeviceCapacity{Value: d.Capacity["memory"].Value, RequestPolicy: policy}
	}
	if partitions {
		takes := resource.NewQuantity(int64(1+r.IntN(4)), resource.DecimalSI)
		slices := map[string]resourceapi.Counter{"slices": {Value: *takes}}
		d.ConsumesCounters = []resourceapi.DeviceCounterConsumption{{CounterSet: "set", Counters: slices}}
	}
	return d
}

func (r madeUp) slices(node string) []*resourceapi.ResourceSlice {
	slice := func(name string, count int64) *resourceapi.ResourceSlice {
		s := &resourceapi.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: node + name}}
		s.Spec = resourceapi.ResourceSliceSpec{
			Driver: driver, NodeName: new(node),
			Pool: resourceapi.ResourcePool{Name: node, Generation: 1, ResourceSliceCount: count},
		}
		return s
	}
	partitions := r.often(30)
	var all []*resourceapi.ResourceSlice
	count := int64(1)
	if partitions {
		count++
	}
	if r.often(10) {
		count++ // never complete
	}
	if partitions {
		counters := slice("-counters", count)
		counters.Spec.SharedCounters = []resourceapi.CounterSet{{Name: "set", Counters: map[string]resourceapi.Counter{
			"slices": {Value: resource.MustParse("6")},
		}}}
		all = append(all, counters)
	}
	devices := slice("-devices", count)
	for i := range 1 + r.IntN(5) {
		devices.Spec.Devices = append(devices.Spec.Devices, r.device(fmt.Sprintf("gpu-%d", i), partitions))
	}
	return append(all, devices)
}

func (r madeUp) request(name string) resourceapi.DeviceRequest {
	e := &resourceapi.ExactDeviceRequest{
		DeviceClassName: "gpu", AllocationMode: resourceapi.DeviceAllocationModeExactCount, Count: int64(1 + r.IntN(2)),
	}
	if r.often(15) {
		e.AllocationMode, e.Count = resourceapi.DeviceAllocationModeAll, 0
	}
	if r.often(40) {
		e.Selectors = []resourceapi.DeviceSelector{{CEL: &resourceapi.CELDeviceSelector{
			Expression: []string{
				`device.attributes["gpu.example.com"].model == "A"`,
				`device.attributes["gpu.example.com"].?numa.orValue(7) == 1`,
				`device.capacity["gpu.example.com"].memory.compareTo(quantity("40")) >= 0`,
			}[r.IntN(3)],
		}}}
	}
	if r.often(30) {
		e.Capacity = &resourceapi.CapacityRequirements{Requests: map[resourceapi.QualifiedName]resource.Quantity{
			"memory": *resource.NewQuantity(int64(5*(1+r.IntN(14))), resource.DecimalSI),
		}}
	}
	if r.often(20) {
		e.Tolerations = []resourceapi.DeviceToleration{{Operator: resourceapi.DeviceTolerationOpExists}}
	}
	if r.often(10) {
		e.AdminAccess = new(true)
	}
	return resourceapi.DeviceRequest{Name: name, Exactly: e}
}

func (r madeUp) claim(name string, requests int) *resourceapi.ResourceClaim {
	c := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)}}
	for i := range requests {
		c.Spec.Devices.Requests = append(c.Spec.Devices.Requests, r.request(fmt.Sprintf("r%d", i)))
	}
	if requests > 1 && r.often(30) {
		c.Spec.Devices.Constraints = []resourceapi.DeviceConstraint{{
			MatchAttribute: ptr.To(resourceapi.FullyQualifiedName(driver + "/numa")),
		}}
	}
	return c
}

// cluster has claims that were given devices by the allocator, one after the other, as a scheduler does.
func (r madeUp) cluster(ctx context.Context, t *testing.T) *view.Cluster {
	t.Helper()
	c := &view.Cluster{Classes: []*resourceapi.DeviceClass{{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}}}}
	for i := range 1 + r.IntN(3) {
		name := fmt.Sprintf("node-%d", i)
		c.Nodes = append(c.Nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
		c.Slices = append(c.Slices, r.slices(name)...)
	}
	for i := range r.IntN(6) {
		claim := r.claim(fmt.Sprintf("held-%d", i), 1)
		allocator, err := allocate.New(c, allocate.Options{})
		if err != nil {
			t.Fatal(err)
		}
		node := c.Nodes[r.IntN(len(c.Nodes))]
		results, err := allocator.OnNode(ctx, node, []*resourceapi.ResourceClaim{claim})
		if err == nil && len(results) == 1 {
			claim.Status.Allocation = &results[0]
			c.Claims = append(c.Claims, claim)
		}
	}
	return c
}

// TestTheFunnelNeverContradictsTheAllocator compares what is explained with what is decided, node by node: where the
// allocator says yes, the funnel has enough left for each request. For one device of one request, without constraints,
// it is also the other way round.
func TestTheFunnelNeverContradictsTheAllocator(t *testing.T) {
	const seed, cases = 7, 1500
	r := madeUp{rand.New(rand.NewPCG(seed, seed))} //nolint:gosec // the same cases each time
	yes, no := 0, 0
	for i := range cases {
		c := r.cluster(t.Context(), t)
		claim := r.claim("wanted", 1+i%2)
		c.Claims = append(c.Claims, claim)
		e := examine(c, "ResourceClaim", types.NamespacedName{Namespace: "default", Name: "wanted"})
		claims := []*resourceapi.ResourceClaim{claim}
		judges := e.funnels(t.Context(), claims, e.nodes)
		for _, node := range e.nodes {
			v, err := situation{cluster: c, claims: claims, nodes: []*corev1.Node{node}}.ask(t.Context(), false)
			if err != nil {
				t.Fatal(err)
			}
			if v.Failed != nil {
				continue
			}
			enough := true
			for _, j := range judges {
				enough = enough && j.enough[node.Name]
			}
			if v.Can() {
				yes++
			} else {
				no++
			}
			// All of several devices may take counters from each other.
			alone := len(judges) == 1 && judges[0].need.count == 1 &&
				(!judges[0].need.all || len(c.Slices) == len(c.Nodes))
			if v.Can() && !enough || alone && enough && !v.Can() {
				t.Errorf("case %d, %s: the allocator says %t, the funnel %t: %+v", i, node.Name, v.Can(), enough,
					e.answer.Requests)
			}
		}
	}
	t.Logf("seed %d: %d times yes, %d times no", seed, yes, no)
	if yes < cases/5 || no < cases/5 {
		t.Errorf("the cases are all alike: %d times yes, %d times no", yes, no)
	}
}

// TestAnAnswerAgreesWithASimulation compares the state with what allocate.Simulate says, and has each remedy said only
// where there is no yes.
func TestAnAnswerAgreesWithASimulation(t *testing.T) {
	const seed, cases = 11, 300
	r := madeUp{rand.New(rand.NewPCG(seed, seed))} //nolint:gosec // the same cases each time
	yes := 0
	for i := range cases {
		c := r.cluster(t.Context(), t)
		claim := r.claim("wanted", 1+i%3)
		c.Claims = append(c.Claims, claim)
		simulated, err := allocate.Simulate(t.Context(), c, allocate.Options{}, allocate.Question{
			Claims: []*resourceapi.ResourceClaim{claim},
		})
		if err != nil {
			t.Fatal(err)
		}
		a, err := Claim(t.Context(), c, types.NamespacedName{Namespace: "default", Name: "wanted"})
		if err != nil {
			t.Fatal(err)
		}
		if (a.State == Possible) != simulated.Possible() {
			t.Errorf("case %d: is %s (%s), and a simulation says %t", i, a.State, a.Summary, simulated.Possible())
		}
		if a.State == Possible {
			yes++
			if len(a.Next) > 0 {
				t.Errorf("case %d: can be had, and yet: %v", i, a.Next)
			}
		}
	}
	if yes < cases/5 || yes > cases*4/5 {
		t.Errorf("the cases are all alike: %d of %d times yes", yes, cases)
	}
}

func TestAThousandNodesAreAFewGroups(t *testing.T) {
	r := madeUp{rand.New(rand.NewPCG(3, 3))} //nolint:gosec // the same cases each time
	c := &view.Cluster{Classes: []*resourceapi.DeviceClass{{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}}}}
	for i := range 1000 {
		name := fmt.Sprintf("node-%03d", i)
		c.Nodes = append(c.Nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
		c.Slices = append(c.Slices, r.slices(name)...)
	}
	claim := r.claim("wanted", 1)
	claim.Spec.Devices.Requests[0] = resourceapi.DeviceRequest{Name: "gpu", Exactly: &resourceapi.ExactDeviceRequest{
		DeviceClassName: "gpu", AllocationMode: resourceapi.DeviceAllocationModeExactCount, Count: 6,
	}}
	c.Claims = append(c.Claims, claim)
	a, err := Claim(t.Context(), c, types.NamespacedName{Namespace: "default", Name: "wanted"})
	if err != nil {
		t.Fatal(err)
	}
	nodes := 0
	for _, n := range a.Requests[0].Nodes {
		nodes += len(n.Nodes)
	}
	if len(a.Requests[0].Nodes) > mostGroups || nodes != 1000 {
		t.Errorf("%d nodes in %d groups", nodes, len(a.Requests[0].Nodes))
	}
}

func TestARefusedAnswerIsAnError(t *testing.T) {
	var missing *NotFoundError
	if _, err := Claim(t.Context(), &view.Cluster{}, types.NamespacedName{Name: "x"}); !errors.As(err, &missing) {
		t.Errorf("error %v", err)
	}
}
