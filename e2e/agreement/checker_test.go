package agreement

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/view"
)

// bench is a machine with one pool of each kind, a claim and what it got: all is well.
type bench struct {
	cluster    *view.Cluster
	node       *corev1.Node
	claim      *resourceapi.ResourceClaim
	allocation *resourceapi.AllocationResult
}

func newBench() *bench {
	const driver = "driver.example.com"
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}}
	slice := func(pool string, devices ...resourceapi.Device) *resourceapi.ResourceSlice {
		return &resourceapi.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: pool}, Spec: resourceapi.ResourceSliceSpec{
			Driver: driver, NodeName: &node.Name, Devices: devices,
			Pool: resourceapi.ResourcePool{Name: pool, Generation: 2, ResourceSliceCount: 1},
		}}
	}
	gpu := func(name, of string) resourceapi.Device {
		return resourceapi.Device{Name: name, Attributes: map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{
			model: {StringValue: &of}, numa: {IntValue: new(int64(1))},
		}}
	}
	part := func(name, memory string) resourceapi.Device {
		return resourceapi.Device{Name: name, ConsumesCounters: []resourceapi.DeviceCounterConsumption{{
			CounterSet: "set", Counters: map[string]resourceapi.Counter{"memory": {Value: quantity(memory)}},
		}}}
	}
	counters := slice("parts")
	counters.Name = "counters"
	counters.Spec.SharedCounters = []resourceapi.CounterSet{{
		Name: "set", Counters: map[string]resourceapi.Counter{"memory": {Value: quantity("40Gi")}},
	}}
	cut := slice("parts", part("half", "20Gi"), part("other-half", "20Gi"), part("whole", "40Gi"))
	counters.Spec.Pool.ResourceSliceCount, cut.Spec.Pool.ResourceSliceCount = 2, 2
	b := &bench{node: node, cluster: &view.Cluster{
		Classes: []*resourceapi.DeviceClass{{ObjectMeta: metav1.ObjectMeta{Name: "class"}}},
		Slices: []*resourceapi.ResourceSlice{
			slice("whole", gpu("gpu-0", "A"), gpu("gpu-1", "A"), gpu("gpu-2", "B")), counters, cut,
			slice("shared", resourceapi.Device{Name: "shared", AllowMultipleAllocations: new(true),
				Capacity: map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{memory: {Value: quantity("32Gi"),
					RequestPolicy: &resourceapi.CapacityRequestPolicy{
						Default: new(quantity("8Gi")), ValidValues: sizes("4Gi", "8Gi", "16Gi"),
					}}},
			}),
		},
	}}
	b.cluster.Classes[0].Spec.Selectors = []resourceapi.DeviceSelector{cel(`device.driver == "driver.example.com"`)}
	b.claim = &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: "claim"}}
	exactly := func(count int64, selectors ...resourceapi.DeviceSelector) *resourceapi.ExactDeviceRequest {
		return &resourceapi.ExactDeviceRequest{DeviceClassName: "class", Count: count, Selectors: selectors,
			AllocationMode: resourceapi.DeviceAllocationModeExactCount}
	}
	share := exactly(1, cel(`device.allowMultipleAllocations`))
	share.Capacity = &resourceapi.CapacityRequirements{
		Requests: map[resourceapi.QualifiedName]resource.Quantity{memory: quantity("5Gi")},
	}
	b.claim.Spec.Devices = resourceapi.DeviceClaim{
		Requests: []resourceapi.DeviceRequest{
			{Name: "gpus", Exactly: exactly(2, cel(`"model" in device.attributes["driver.example.com"]`))},
			{Name: "part", FirstAvailable: []resourceapi.DeviceSubRequest{
				{Name: "big", DeviceClassName: "class", Count: 1}, {Name: "small", DeviceClassName: "class", Count: 1},
			}},
			{Name: "share", Exactly: share},
		},
		Constraints: []resourceapi.DeviceConstraint{
			{Requests: []string{"gpus"}, MatchAttribute: new(resourceapi.FullyQualifiedName(driver + "/model"))},
		},
	}
	result := func(request, pool, device string) resourceapi.DeviceRequestAllocationResult {
		return resourceapi.DeviceRequestAllocationResult{Request: request, Driver: driver, Pool: pool, Device: device}
	}
	b.allocation = &resourceapi.AllocationResult{NodeSelector: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{
			Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"node"},
		}}}},
	}}
	shared := result("share", "shared", "shared")
	shared.ShareID = new(types.UID("a-share"))
	shared.ConsumedCapacity = map[resourceapi.QualifiedName]resource.Quantity{memory: quantity("8Gi")}
	b.allocation.Devices.Results = []resourceapi.DeviceRequestAllocationResult{
		result("gpus", "whole", "gpu-0"), result("gpus", "whole", "gpu-1"), result("part/small", "parts", "half"), shared,
	}
	return b
}

// have gives a device to somebody else.
func (b *bench) have(result resourceapi.DeviceRequestAllocationResult) {
	other := &resourceapi.ResourceClaim{}
	other.Status.Allocation = &resourceapi.AllocationResult{Devices: resourceapi.DeviceAllocationResult{
		Results: []resourceapi.DeviceRequestAllocationResult{result},
	}}
	b.cluster.Claims = append(b.cluster.Claims, other)
}

func (b *bench) check() error {
	return (&checker{cluster: b.cluster, node: b.node}).valid(
		[]*resourceapi.ResourceClaim{b.claim}, []resourceapi.AllocationResult{*b.allocation})
}

func TestTheCheckerTakesWhatIsRight(t *testing.T) {
	for name, change := range map[string]func(b *bench, r results){
		"as it is": func(*bench, results) {},
		"somebody else looks at the same device": func(b *bench, r results) {
			r[0].AdminAccess = new(true)
			b.have(r[0])
			r[0].AdminAccess = nil
		},
		"somebody has another half": func(b *bench, r results) {
			half := r[2]
			half.Device = "other-half"
			b.have(half)
		},
		"somebody has another share": func(b *bench, r results) { b.have(r[3]) },
		"a taint is tolerated": func(b *bench, _ results) {
			b.cluster.Slices[0].Spec.Devices[0].Taints = []resourceapi.DeviceTaint{{
				Key: sick, Effect: resourceapi.DeviceTaintEffectNoSchedule,
			}}
			b.claim.Spec.Devices.Requests[0].Exactly.Tolerations = []resourceapi.DeviceToleration{{
				Key: sick, Operator: resourceapi.DeviceTolerationOpExists,
			}}
		},
		"a taint only informs": func(b *bench, _ results) {
			b.cluster.Slices[0].Spec.Devices[0].Taints = []resourceapi.DeviceTaint{{
				Key: sick, Effect: resourceapi.DeviceTaintEffectNone,
			}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench()
			change(b, b.allocation.Devices.Results)
			if err := b.check(); err != nil {
				t.Error(err)
			}
		})
	}
}

// results are what the claim of a bench got: two GPUs, half of one and a share of one.
type results = []resourceapi.DeviceRequestAllocationResult

func TestTheCheckerFindsWhatIsWrong(t *testing.T) {
	for name, wrong := range map[string]struct {
		change func(b *bench, r results)
		says   string
	}{
		"a device of another node": {func(b *bench, _ results) {
			b.cluster.Slices[0].Spec.NodeName = new("other")
		}, "not to be had on node node"},
		"a device that is not there": {func(_ *bench, r results) { r[0].Device = "gpu-9" }, "not to be had"},
		"a device of an earlier generation": {func(b *bench, _ results) {
			newer := b.cluster.Slices[0].DeepCopy()
			newer.Spec.Pool.Generation, newer.Spec.Devices = 3, nil
			b.cluster.Slices = append(b.cluster.Slices, newer)
		}, "not to be had"},
		"a device of a pool of which a part is missing": {func(b *bench, _ results) {
			b.cluster.Slices[0].Spec.Pool.ResourceSliceCount = 2
		}, "not to be had"},
		"a device of a pool with two of a name": {func(b *bench, _ results) {
			b.cluster.Slices[0].Spec.Devices[2].Name = "gpu-1"
		}, "not to be had"},
		"a device twice":          {func(_ *bench, r results) { r[1] = r[0] }, "several owners"},
		"a device of another":     {func(b *bench, r results) { b.have(r[0]) }, "several owners"},
		"a class that is missing": {func(b *bench, _ results) { b.cluster.Classes = nil }, "there is no class"},
		"a device that the selectors exclude": {func(b *bench, _ results) {
			b.cluster.Classes[0].Spec.Selectors[0] = cel("false")
		}, "does not match the selectors"},
		"a device on which a selector fails": {func(b *bench, _ results) {
			b.cluster.Classes[0].Spec.Selectors[0] = cel(`device.attributes["driver.example.com"].none`)
		}, "no such key"},
		"a tainted device": {func(b *bench, _ results) {
			b.cluster.Slices[0].Spec.Devices[0].Taints = []resourceapi.DeviceTaint{{
				Key: sick, Value: "very", Effect: resourceapi.DeviceTaintEffectNoExecute,
			}}
		}, "has the taint example.com/sick=very:NoExecute"},
		"a device that a rule taints": {func(b *bench, _ results) {
			rule := &resourceapi.DeviceTaintRule{Spec: resourceapi.DeviceTaintRuleSpec{
				DeviceSelector: &resourceapi.DeviceTaintSelector{Pool: new("whole")},
				Taint:          resourceapi.DeviceTaint{Key: sick, Effect: resourceapi.DeviceTaintEffectNoSchedule},
			}}
			b.cluster.TaintRules = append(b.cluster.TaintRules, rule)
		}, "has the taint"},
		"too few devices": {func(b *bench, r results) {
			b.allocation.Devices.Results = append(r[:1:1], r[2:]...)
		}, "got 1 devices, not 2"},
		"a request without a device": {func(b *bench, r results) {
			b.allocation.Devices.Results = r[:3]
		}, "request share got no device"},
		"a device that nobody asked for": {func(b *bench, r results) {
			more := r[1]
			more.Request, more.Device = "else", "gpu-2"
			b.allocation.Devices.Results = append(r, more)
		}, "has 5 devices, of which 4 are for its requests"},
		"an alternative that does not exist": {func(_ *bench, r results) {
			r[2].Request = "part/middle"
		}, "which is not asked for"},
		"not all, where all are wanted": {func(b *bench, r results) {
			b.claim.Spec.Devices.Requests[0].Exactly.AllocationMode = resourceapi.DeviceAllocationModeAll
		}, "wants all, and has not got driver.example.com/whole/gpu-2"},
		"admin access that nobody asked for": {func(_ *bench, r results) {
			r[0].AdminAccess = new(true)
		}, "admin access is true"},
		"devices that do not match": {func(_ *bench, r results) { r[1].Device = "gpu-2" }, "do not match in"},
		"devices without the attribute": {func(b *bench, _ results) {
			b.claim.Spec.Devices.Constraints[0].MatchAttribute = new(resourceapi.FullyQualifiedName("a.example.com/b"))
		}, "has no attribute a.example.com/b"},
		"devices that are not distinct": {func(b *bench, _ results) {
			b.claim.Spec.Devices.Constraints[0] = resourceapi.DeviceConstraint{Requests: []string{"gpus"},
				DistinctAttribute: new(resourceapi.FullyQualifiedName(numa))}
		}, "not distinct in example.com/numa: int 1, int 1"},
		"more parts than there are": {func(b *bench, r results) {
			whole := r[2]
			whole.Device = "whole"
			b.have(whole)
		}, "counter memory of set in pool driver.example.com/parts is at -20Gi"},
		"a share of more than is left": {func(b *bench, r results) {
			b.have(r[3])
			b.have(r[3])
			b.have(r[3])
			b.have(r[3])
		}, "of the 32Gi memory of device driver.example.com/shared/shared, 40Gi were given"},
		"a share that is not rounded": {func(_ *bench, r results) {
			r[3].ConsumedCapacity[memory] = quantity("5Gi")
		}, "has 5Gi of memory, not 8Gi"},
		"a share of more than anybody gets": {func(b *bench, _ results) {
			b.claim.Spec.Devices.Requests[2].Exactly.Capacity.Requests[memory] = quantity("17Gi")
		}, "17Gi is more than any valid value"},
		"a capacity that the device does not have": {func(b *bench, _ results) {
			b.claim.Spec.Devices.Requests[2].Exactly.Capacity.Requests["other"] = quantity("1")
		}, "there is no capacity other"},
		"a share without an ID": {func(_ *bench, r results) { r[3].ShareID = nil }, "share without an ID"},
		"a share of what is not for sharing": {func(_ *bench, r results) {
			r[0].ShareID = new(types.UID("a-share"))
		}, "is not for sharing"},
		"an allocation for another node": {func(b *bench, _ results) {
			b.allocation.NodeSelector.NodeSelectorTerms[0].MatchFields[0].Values[0] = "other"
		}, "is not for node node"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench()
			wrong.change(b, b.allocation.Devices.Results)
			if err := b.check(); err == nil || !strings.Contains(err.Error(), wrong.says) {
				t.Errorf("it says %v, expected %q", err, wrong.says)
			}
		})
	}
}

func TestTheCheckerFindsWhoLooksTwice(t *testing.T) {
	b := newBench()
	b.claim.Spec.Devices.Requests = b.claim.Spec.Devices.Requests[:1]
	b.claim.Spec.Devices.Requests[0].Exactly.AdminAccess = new(true)
	r := b.allocation.Devices.Results[:2]
	b.allocation.Devices.Results = r
	r[0].AdminAccess, r[1].AdminAccess = new(true), new(true)
	b.have(resourceapi.DeviceRequestAllocationResult{Driver: r[0].Driver, Pool: r[0].Pool, Device: r[0].Device})
	if err := b.check(); err != nil {
		t.Errorf("looking at what somebody uses: %v", err)
	}
	r[1].Device = r[0].Device
	if err := b.check(); err == nil || !strings.Contains(err.Error(), "looks twice") {
		t.Errorf("it says %v of looking twice", err)
	}
}
