package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
	resourceapply "k8s.io/client-go/applyconfigurations/resource/v1"
	"k8s.io/client-go/kubernetes"

	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/sanity/apiserver"
	"example.com/dragoman/pkg/status"
)

// both are the oldest and the newest API server, with what it takes to have shares.
func both() map[string]string {
	return map[string]string{apiserver.DefaultVersion: "DRAConsumableCapacity=true", newestVersion: ""}
}

// statusRig is a writer with the rights that the chart gives it, and what is recorded on its node.
type statusRig struct {
	admin  *kubernetes.Clientset
	writer *status.Writer

	mu       sync.Mutex
	recorded map[types.UID][]status.Device
	events   []status.Event
}

func newStatusRig(t *testing.T, admin, driver *kubernetes.Clientset) *statusRig {
	t.Helper()
	return newStatusRigOn(t, admin, driver, nodeA)
}

func newStatusRigOn(t *testing.T, admin, driver *kubernetes.Clientset, node string) *statusRig {
	t.Helper()
	r := &statusRig{admin: admin, recorded: map[types.UID][]status.Device{}}
	r.writer = status.New(status.Options{Client: driver, DriverName: chartDriver, NodeName: node,
		Recorded: func(c device.Claim) ([]status.Device, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.recorded[c.UID], nil
		},
		Observe: func(e status.Event) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.events = append(r.events, e)
		}})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- r.writer.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return r
}

// set says what is set up for a claim, and tells the writer.
func (r *statusRig) set(c *resourceapi.ResourceClaim, devices ...status.Device) {
	r.mu.Lock()
	r.recorded[c.UID] = devices
	r.mu.Unlock()
	r.writer.Changed(device.Claim{Namespace: c.Namespace, Name: c.Name, UID: c.UID}, nil)
}

// results waits for so many events, and returns what came of each attempt.
func (r *statusRig) results(t *testing.T, n int) (results []status.Result) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d attempts", n), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		results = nil
		for _, e := range r.events {
			results = append(results, e.Result)
		}
		return len(results) >= n
	})
	return results
}

// conditions are those of a device of the claim, as "type=status reason".
func (r *statusRig) conditions(t *testing.T, c *resourceapi.ResourceClaim, name string) (all []string) {
	t.Helper()
	entry := entryOf(r.get(t, c), name)
	if entry == nil {
		return nil
	}
	for _, c := range entry.Conditions {
		all = append(all, fmt.Sprintf("%s=%s %s", c.Type, c.Status, c.Reason))
	}
	slices.Sort(all)
	return all
}

func (r *statusRig) get(t *testing.T, c *resourceapi.ResourceClaim) *resourceapi.ResourceClaim {
	t.Helper()
	found, err := r.admin.ResourceV1().ResourceClaims(c.Namespace).Get(t.Context(), c.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func entryOf(c *resourceapi.ResourceClaim, name string) *resourceapi.AllocatedDeviceStatus {
	for i := range c.Status.Devices {
		if c.Status.Devices[i].Device == name {
			return &c.Status.Devices[i]
		}
	}
	return nil
}

func ready(name string) status.Device {
	return status.Device{Pool: nodeA, Device: name, CDIDeviceIDs: []string{"k8s.gpu.example.com/gpu=1-" + name},
		Health: &device.Health{}}
}

func TestTheStatusOfAClaimShowsItsDevicesBesideWhatOthersSay(t *testing.T) {
	for version, gates := range both() {
		t.Run(version, func(t *testing.T) {
			admin, driver := installed(t, version, gates)
			claim := allocated(t, admin, "train", result(chartDriver, "gpu-0"), result("other.example.com", "nic-0"))
			others := []*resourceapply.AllocatedDeviceStatusApplyConfiguration{
				entry(chartDriver, "gpu-0", "gpu.example.com/attached"), entry("other.example.com", "nic-0", "Ready")}
			say(t, admin, claim, others...)

			r := newStatusRig(t, admin, driver)
			one := ready("gpu-0")
			one.Data = json.RawMessage(`{"profile":"1g.10gb","sm":16}`)
			one.Network = &resourceapi.NetworkDeviceData{InterfaceName: "net0", IPs: []string{"10.1.0.7/24"}}
			r.set(claim, one)
			want := []string{"Healthy=True Healthy", "Ready=True Prepared", "gpu.example.com/attached=True Said"}
			eventually(t, "the device is shown", func() bool { return slices.Equal(r.conditions(t, claim, "gpu-0"), want) })
			shown := entryOf(r.get(t, claim), "gpu-0")
			if !reflect.DeepEqual(one.Network, shown.NetworkData) || string(shown.Data.Raw) != string(one.Data) {
				t.Errorf("network data %+v and data %s, expected %+v and %s",
					shown.NetworkData, shown.Data.Raw, one.Network, one.Data)
			}
			was := meta.FindStatusCondition(shown.Conditions, status.Ready).LastTransitionTime
			before := r.get(t, claim).ResourceVersion
			r.set(claim, one)
			r.writer.Compare(device.Claim{Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID}, nil)
			one.Health = &device.Health{Unhealthy: true, Reason: "fan broken"}
			r.set(claim, one)
			want[0] = "Healthy=False Unhealthy"
			eventually(t, "it falls ill", func() bool { return slices.Equal(r.conditions(t, claim, "gpu-0"), want) })
			shown = entryOf(r.get(t, claim), "gpu-0")
			now := meta.FindStatusCondition(shown.Conditions, status.Ready).LastTransitionTime
			if !now.Equal(&was) {
				t.Errorf("the time of Ready went from %v to %v, though nothing happened to it", was, now)
			}
			if after := r.get(t, claim).ResourceVersion; after == before {
				t.Error("the claim was not written, the test looked at something else")
			}

			r.set(claim)
			eventually(t, "what we wrote is away", func() bool {
				return slices.Equal(r.conditions(t, claim, "gpu-0"), []string{"gpu.example.com/attached=True Said"})
			})
			left := entryOf(r.get(t, claim), "gpu-0")
			if left.Data != nil || left.NetworkData != nil {
				t.Errorf("left is %+v, expected only what the other manager said", left)
			}
			if got := r.conditions(t, claim, "nic-0"); !slices.Equal(got, []string{"Ready=True Said"}) {
				t.Errorf("the device of the other driver has %v, expected that it was not touched", got)
			}
		})
	}
}

func TestSharesOfADeviceHaveAnEntryEach(t *testing.T) {
	for version, gates := range both() {
		t.Run(version, func(t *testing.T) {
			admin, driver := installed(t, version, gates)
			const a, b = types.UID("0d5c1b3e-55b5-4b0b-9f53-7c5a9d2c0a01"), types.UID("0d5c1b3e-55b5-4b0b-9f53-7c5a9d2c0a02")
			first, second := result(chartDriver, "gpu-4"), result(chartDriver, "gpu-4")
			first.ShareID, second.ShareID = new(a), new(b)
			admins := result(chartDriver, "gpu-0")
			claim := allocated(t, admin, "shares", first, second, admins)
			r := newStatusRig(t, admin, driver)
			one, two := ready("gpu-4"), ready("gpu-4")
			one.ShareID, two.ShareID = new(a), new(b)
			two.Health = nil
			r.set(claim, one, two, ready("gpu-0"), ready("not-allocated"))
			eventually(t, "three entries", func() bool { return len(r.get(t, claim).Status.Devices) == 3 })
			for _, e := range r.get(t, claim).Status.Devices {
				want := metav1.ConditionTrue
				if e.ShareID != nil && *e.ShareID == string(b) {
					want = metav1.ConditionUnknown
				}
				if !meta.IsStatusConditionPresentAndEqual(e.Conditions, status.Healthy, want) {
					t.Errorf("%s %v: %+v, expected %s", e.Device, e.ShareID, e.Conditions, want)
				}
			}
			r.set(claim, two)
			eventually(t, "one entry", func() bool {
				now := r.get(t, claim).Status.Devices
				return len(now) == 1 && *now[0].ShareID == string(b)
			})
		})
	}
}

func TestAnotherClaimOfTheNameIsLeftAlone(t *testing.T) {
	for version, gates := range both() {
		t.Run(version, func(t *testing.T) {
			admin, driver := installed(t, version, gates)
			now, free := allocated(t, admin, "train", result(chartDriver, "gpu-0")), unallocated(t, admin, "free")
			r := newStatusRig(t, admin, driver)
			before := now.DeepCopy()
			before.UID = "7c5a9d2c-55b5-4b0b-9f53-0d5c1b3e0a01"
			gone := before.DeepCopy()
			gone.Name = "gone"
			for _, c := range []*resourceapi.ResourceClaim{before, gone, free} {
				r.set(c, ready("gpu-0"))
			}
			for _, c := range []*resourceapi.ResourceClaim{before, gone} { // now without looking first
				seen := c.DeepCopy()
				r.writer.Changed(device.Claim{Namespace: c.Namespace, Name: c.Name, UID: c.UID}, seen)
				r.set(c)
			}
			last := allocated(t, admin, "last", result(chartDriver, "gpu-1"))
			r.set(last, ready("gpu-1"))
			eventually(t, "the last one is written", func() bool { return entryOf(r.get(t, last), "gpu-1") != nil })
			if got := r.results(t, 1); !slices.Equal(got, []status.Result{status.Wrote}) {
				t.Errorf("the attempts came to %v, expected that of the last claim alone", got)
			}
			if got := r.get(t, now).Status.Devices; len(got) != 0 {
				t.Errorf("the other claim of the name shows %+v", got)
			}
		})
	}
}

// TestAClaimThatMovedIsForItsNodeToShow: it outlives its pod, and the next one is on another node. What the first node
// still writes of it, late, removes nothing there, and keeps nothing else of that node from being written.
func TestAClaimThatMovedIsForItsNodeToShow(t *testing.T) {
	for version, gates := range both() {
		t.Run(version, func(t *testing.T) {
			server := startVersion(t, version, gates)
			admin := install(t, server)
			a := newStatusRigOn(t, admin, onNode(t, server, nodeA), nodeA)
			b := newStatusRigOn(t, admin, onNode(t, server, "node-b"), "node-b")
			claim := allocated(t, admin, "train", result(chartDriver, "gpu-0"))
			withoutPolicy(t, admin, withToken(t, server, nil), claim)
			a.set(claim, ready("gpu-0"))
			a.results(t, 1)

			moved := moveTo(t, admin, a.get(t, claim), "node-b")
			there := ready("gpu-0")
			there.Pool = "node-b"
			b.set(moved, there)
			b.results(t, 1)
			before := b.get(t, moved)
			a.writer.Compare(device.Claim{Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID}, nil)
			for _, name := range []string{"compared", "taken-back"} { // claims are written one after the other
				other := allocated(t, admin, name, result(chartDriver, "gpu-1"))
				a.set(other, ready("gpu-1"))
				eventually(t, name+" is shown", func() bool { return entryOf(a.get(t, other), "gpu-1") != nil })
				if name == "compared" {
					a.set(claim)
				}
			}
			wrote := slices.Repeat([]status.Result{status.Wrote}, 4)
			if got := a.results(t, 4); !slices.Equal(got, wrote) {
				t.Errorf("the attempts of the first node came to %v, expected %v", got, wrote)
			}
			if got := b.get(t, moved).Status.Devices; !reflect.DeepEqual(got, before.Status.Devices) || len(got) != 1 {
				t.Errorf("the claim shows %+v, expected what the second node wrote: %+v", got, before.Status.Devices)
			}
			b.set(moved)
			eventually(t, "the second node removes it", func() bool { return len(b.get(t, moved).Status.Devices) == 0 })
		})
	}
}

// withoutPolicy removes the policy, so that nothing but the rights keeps a writer from the entries of others.
func withoutPolicy(t *testing.T, admin, unbound *kubernetes.Clientset, c *resourceapi.ResourceClaim) {
	t.Helper()
	refused := func() bool {
		return strings.Contains(errorText(update(t, unbound, c, func(*resourceapi.ResourceClaim) {})), statusPolicy)
	}
	eventually(t, "the policy is in force", refused) // or it could come into force after it was removed
	bindings := admin.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	if err := bindings.Delete(t.Context(), "dragoman-gpu.example.com-status", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the policy is away", func() bool { return !refused() })
}

// moveTo deallocates a claim and allocates the same devices of another node.
func moveTo(
	t *testing.T, admin *kubernetes.Clientset, c *resourceapi.ResourceClaim, node string,
) *resourceapi.ResourceClaim {
	t.Helper()
	claims := admin.ResourceV1().ResourceClaims(c.Namespace)
	then := c.Status.DeepCopy()
	then.Devices = nil
	then.Allocation.NodeSelector.NodeSelectorTerms[0].MatchFields[0].Values[0] = node
	for i := range then.Allocation.Devices.Results {
		then.Allocation.Devices.Results[i].Pool = node
	}
	for _, next := range []resourceapi.ResourceClaimStatus{{}, *then} {
		c.Status = next
		is, err := claims.UpdateStatus(t.Context(), c, metav1.UpdateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c = is
	}
	return c
}

func TestAWriterRestsWhereStatusIsDropped(t *testing.T) {
	admin, driver := installed(t, apiserver.DefaultVersion, "DRAResourceClaimDeviceStatus=false")
	claim := allocated(t, admin, "train", result(chartDriver, "gpu-0"))
	r := newStatusRig(t, admin, driver)
	r.set(claim, ready("gpu-0"))
	got := r.results(t, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if first := r.events[0]; !slices.Equal(got, []status.Result{status.Dropped}) || !first.News ||
		!strings.Contains(first.Err.Error(), "feature gate DRAResourceClaimDeviceStatus") {
		t.Errorf("the attempts came to %v (%v), expected that it is dropped, and which gate is needed", got, first.Err)
	}
}

func TestAWriterRestsWhereARightIsMissing(t *testing.T) {
	const toStatus = `cannot patch resource "resourceclaims/status"`
	for name, tc := range map[string]struct {
		version string
		without string // resource of the rule that is missing
		want    string
	}{
		"to the status":                         {apiserver.DefaultVersion, "resourceclaims/status", toStatus},
		"to the status, newest":                 {newestVersion, "resourceclaims/status", toStatus},
		"to the entries of the driver (1.36 +)": {newestVersion, "resourceclaims/driver", `associated-node:patch`},
	} {
		t.Run(name, func(t *testing.T) {
			admin, driver := installed(t, tc.version, "")
			role := theRole(t, admin)
			role.Rules = slices.DeleteFunc(role.Rules, func(r rbacv1.PolicyRule) bool {
				return slices.Contains(r.Resources, tc.without)
			})
			if _, err := admin.RbacV1().ClusterRoles().Update(t.Context(), role, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			claim := allocated(t, admin, "train", result(chartDriver, "gpu-0"))
			eventually(t, "the right is away", func() bool {
				return strings.Contains(fmt.Sprint(patchOwn(t, driver, claim)), tc.want)
			})
			r := newStatusRig(t, admin, driver)
			r.set(claim, ready("gpu-0"))
			got := r.results(t, 1)
			r.mu.Lock()
			defer r.mu.Unlock()
			if first := r.events[0]; !slices.Equal(got, []status.Result{status.Forbidden}) || !first.News ||
				!strings.Contains(first.Err.Error(), tc.want) {
				t.Errorf("the attempts came to %v (%v), expected forbidden and %s", got, first.Err, tc.want)
			}
		})
	}
}

// patchOwn tries to show gpu-0 as ready, without storing it.
func patchOwn(t *testing.T, as *kubernetes.Clientset, c *resourceapi.ResourceClaim) error {
	_, err := as.ResourceV1().ResourceClaims(c.Namespace).ApplyStatus(t.Context(),
		resourceapply.ResourceClaim(c.Name, c.Namespace).WithStatus(resourceapply.ResourceClaimStatus().
			WithDevices(entry(chartDriver, "gpu-0", "Ready"))),
		metav1.ApplyOptions{FieldManager: "test", Force: true, DryRun: []string{metav1.DryRunAll}})
	return err
}

// entry says that a condition of a device is true.
func entry(driver, name, condition string) *resourceapply.AllocatedDeviceStatusApplyConfiguration {
	return resourceapply.AllocatedDeviceStatus().WithDriver(driver).WithPool(nodeA).WithDevice(name).WithConditions(
		metaapply.Condition().WithType(condition).WithStatus(metav1.ConditionTrue).WithReason("Said").WithMessage("").
			WithLastTransitionTime(metav1.NewTime(time.Unix(1_700_000_000, 0))))
}

// say has another manager say something in the status of a claim.
func say(t *testing.T, as *kubernetes.Clientset, c *resourceapi.ResourceClaim,
	entries ...*resourceapply.AllocatedDeviceStatusApplyConfiguration,
) {
	t.Helper()
	_, err := as.ResourceV1().ResourceClaims(c.Namespace).ApplyStatus(t.Context(),
		resourceapply.ResourceClaim(c.Name, c.Namespace).WithStatus(
			resourceapply.ResourceClaimStatus().WithDevices(entries...)),
		metav1.ApplyOptions{FieldManager: "another", Force: true})
	if err != nil {
		t.Fatal(err)
	}
}

func unallocated(t *testing.T, admin *kubernetes.Clientset, name string) *resourceapi.ResourceClaim {
	t.Helper()
	claim := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: name}}
	claim.Spec.Devices.Requests = []resourceapi.DeviceRequest{{Name: "gpu", Exactly: &resourceapi.ExactDeviceRequest{
		DeviceClassName: "gpu.example.com", AllocationMode: resourceapi.DeviceAllocationModeExactCount, Count: 1}}}
	claims := admin.ResourceV1().ResourceClaims(corev1.NamespaceDefault)
	made, err := claims.Create(t.Context(), claim, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// allocated is a claim that has the devices on the driver's node, as the scheduler writes it.
func allocated(
	t *testing.T, admin *kubernetes.Clientset, name string, results ...resourceapi.DeviceRequestAllocationResult,
) *resourceapi.ResourceClaim {
	t.Helper()
	return allocatedLike(t, admin, name, resourceapi.ResourceClaimStatus{
		Allocation: &resourceapi.AllocationResult{
			Devices: resourceapi.DeviceAllocationResult{Results: results},
			NodeSelector: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchFields: []corev1.NodeSelectorRequirement{{
					Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{nodeA}}}}}},
		},
		ReservedFor: []resourceapi.ResourceClaimConsumerReference{
			{Resource: "pods", Name: "train", UID: "1"},
			{APIGroup: "scheduling.k8s.io", Resource: "podgroups", Name: "all", UID: "2"}},
	})
}

// allocatedLike is a claim with the allocation, reservations and entries of another one.
func allocatedLike(
	t *testing.T, admin *kubernetes.Clientset, name string, like resourceapi.ResourceClaimStatus,
) *resourceapi.ResourceClaim {
	t.Helper()
	claim := unallocated(t, admin, name)
	claim.Status = like
	is, err := admin.ResourceV1().ResourceClaims(claim.Namespace).UpdateStatus(t.Context(), claim, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return is
}

func result(driver, name string) resourceapi.DeviceRequestAllocationResult {
	return resourceapi.DeviceRequestAllocationResult{Request: "gpu", Driver: driver, Pool: nodeA, Device: name}
}
