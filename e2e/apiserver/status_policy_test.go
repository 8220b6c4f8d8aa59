package apiserver

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"example.com/dragoman/pkg/sanity/apiserver"
)

const statusPolicy = "ValidatingAdmissionPolicy 'dragoman-gpu.example.com-status'"

// TestTheDriverWritesOfTheStatusOfClaimsOnlyItsEntries: the right to write the status is one to all claims and to all
// that is in it, so a policy bounds it. Since Kubernetes 1.36 the API server does, too.
func TestTheDriverWritesOfTheStatusOfClaimsOnlyItsEntries(t *testing.T) {
	for version, gates := range both() {
		t.Run(version, func(t *testing.T) {
			server := startVersion(t, version, gates)
			admin := install(t, server)
			driver, unbound := onNode(t, server, nodeA), withToken(t, server, nil)
			claim := claimOfEverybody(t, admin)
			eventually(t, "the policy is in force", func() bool {
				nothing := func(*resourceapi.ResourceClaim) {}
				return strings.Contains(errorText(update(t, unbound, claim, nothing)), statusPolicy)
			})
			for name, tc := range map[string]struct {
				as     *kubernetes.Clientset
				change func(*resourceapi.ResourceClaim)
				want   string // in the error; empty for none
			}{
				"its own entry is for it to write":  {driver, ownEntry, ""},
				"its own entry is for it to remove": {driver, func(c *resourceapi.ResourceClaim) { remove(c, "gpu-0") }, ""},
				"nothing changed is allowed":        {driver, func(*resourceapi.ResourceClaim) {}, ""},
				"the order of entries does not matter": {driver, func(c *resourceapi.ResourceClaim) {
					d := c.Status.Devices
					d[0], d[len(d)-1] = d[len(d)-1], d[0]
				}, ""},
				"not the allocation": {driver, func(c *resourceapi.ResourceClaim) {
					c.Status.Allocation, c.Status.Devices, c.Status.ReservedFor = nil, nil, nil
				}, "may write status.devices of claims only, neither"},
				"not for whom it is reserved": {driver, func(c *resourceapi.ResourceClaim) {
					c.Status.ReservedFor = c.Status.ReservedFor[:1]
				}, "may write status.devices of claims only, neither"},
				"not the entry of another driver": {driver, func(c *resourceapi.ResourceClaim) {
					entryOf(c, "nic-0").Conditions[0].Reason = "Forged"
				}, "on that node only"},
				"not the data of another driver": {driver, func(c *resourceapi.ResourceClaim) {
					entryOf(c, "nic-0").Data = &runtime.RawExtension{Raw: []byte(`{"mtu":1}`)}
				}, "on that node only"},
				"not away with the entry of another driver": {driver,
					func(c *resourceapi.ResourceClaim) { remove(c, "nic-0") }, "on that node only"},
				"not a new entry for another driver": {driver, func(c *resourceapi.ResourceClaim) {
					e := *entryOf(c, "nic-0").DeepCopy()
					e.Device = "nic-1"
					c.Status.Devices = append(c.Status.Devices, e)
				}, "on that node only"},
				"not the entry of the same driver on another node": {driver, func(c *resourceapi.ResourceClaim) {
					entryOf(c, "gpu-9").Conditions[0].Reason = "Forged"
				}, "on that node only"},
				"none with a token that is bound to no node": {unbound, ownEntry, "is not bound to a node"},
			} {
				t.Run(name, func(t *testing.T) {
					switch said := errorText(update(t, tc.as, claim, tc.change)); {
					case tc.want == "" && said != "":
						t.Errorf("refused: %s", said)
					case strings.Contains(said, "changing status.") && version != apiserver.DefaultVersion:
						// The API server asks for rights before it asks policies.
					case tc.want != "" && (!strings.Contains(said, statusPolicy) || !strings.Contains(said, tc.want)):
						t.Errorf("the API server says %q, expected a refusal by the %s with %q", said, statusPolicy, tc.want)
					}
				})
			}
		})
	}
}

// TestTheAPIServerAloneBoundsTheDriverToo: without the policy, the rights of Kubernetes 1.36 and later are enough.
func TestTheAPIServerAloneBoundsTheDriverToo(t *testing.T) {
	server := startVersion(t, newestVersion, "")
	admin := install(t, server)
	driver := onNode(t, server, nodeA)
	claim := claimOfEverybody(t, admin)
	forged := func(c *resourceapi.ResourceClaim) { entryOf(c, "nic-0").Conditions[0].Reason = "Forged" }
	withoutPolicy(t, admin, withToken(t, server, nil), claim)
	if err := update(t, driver, claim, ownEntry); err != nil {
		t.Errorf("its own entry: %v", err)
	}
	if said := errorText(update(t, driver, claim, forged)); !strings.Contains(said, "associated-node:patch") {
		t.Errorf("the entry of another driver: %q, expected that the right is missing", said)
	}
	away := claim.DeepCopy()
	away.Status.Allocation.NodeSelector.NodeSelectorTerms[0].MatchFields[0].Values[0] = "node-b"
	away = allocatedLike(t, admin, "elsewhere", away.Status)
	if said := errorText(update(t, driver, away, ownEntry)); !strings.Contains(said, "arbitrary-node:patch") {
		t.Errorf("a claim for another node: %q, expected that it takes the right to all nodes", said)
	}
}

// TestTheDriverMayPatchTheStatusOfClaimsAndNoMore: it applies, which is to patch.
func TestTheDriverMayPatchTheStatusOfClaimsAndNoMore(t *testing.T) {
	admin, driver := installed(t, newestVersion, "")
	claim := allocated(t, admin, "train", result(chartDriver, "gpu-0"))
	claims := driver.ResourceV1().ResourceClaims(claim.Namespace)
	eventually(t, "the right to patch is there", func() bool { return patchOwn(t, driver, claim) == nil })
	_, err := claims.UpdateStatus(t.Context(), claim, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}})
	if said := errorText(err); !strings.Contains(said, `cannot update resource "resourceclaims/status"`) {
		t.Errorf("an update: %q, expected that the right is missing", said)
	}
	for _, rule := range theRole(t, admin).Rules {
		if slices.Contains(rule.Resources, "resourceclaims/driver") && !slices.Equal(rule.Verbs,
			[]string{resourceapi.VerbPrefixAssociatedNode + "patch"}) {
			t.Errorf("the role has %q on %q", rule.Verbs, rule.Resources)
		}
	}
}

// claimOfEverybody is a claim with devices of this driver here and elsewhere, and of another one; all have an entry.
func claimOfEverybody(t *testing.T, admin *kubernetes.Clientset) *resourceapi.ResourceClaim {
	t.Helper()
	elsewhere := result(chartDriver, "gpu-9")
	elsewhere.Pool = "node-b"
	claim := allocated(t, admin, "everybody", result(chartDriver, "gpu-0"), result("other.example.com", "nic-0"),
		result("other.example.com", "nic-1"), elsewhere)
	there := entry(chartDriver, "gpu-9", "Ready").WithPool("node-b")
	say(t, admin, claim, entry(chartDriver, "gpu-0", "Ready"), entry("other.example.com", "nic-0", "Ready"), there)
	found, err := admin.ResourceV1().ResourceClaims(claim.Namespace).Get(t.Context(), claim.Name, metav1.GetOptions{})
	if err != nil || len(found.Status.Devices) != 3 {
		t.Fatalf("three entries were expected: %v, %+v", err, found.Status.Devices)
	}
	return found
}

func ownEntry(c *resourceapi.ResourceClaim) {
	if entryOf(c, "gpu-0") == nil {
		c.Status.Devices = append(c.Status.Devices, resourceapi.AllocatedDeviceStatus{
			Driver: chartDriver, Pool: nodeA, Device: "gpu-0"})
	}
	entryOf(c, "gpu-0").Data = &runtime.RawExtension{Raw: []byte(`{"profile":"1g.10gb"}`)}
}

func remove(c *resourceapi.ResourceClaim, name string) {
	kept := c.Status.Devices[:0]
	for _, d := range c.Status.Devices {
		if d.Device != name {
			kept = append(kept, d)
		}
	}
	c.Status.Devices = kept
}

// update asks for a change of the status without storing it, by a patch, for which the driver has the right.
func update(
	t *testing.T, as *kubernetes.Clientset, c *resourceapi.ResourceClaim, change func(*resourceapi.ResourceClaim),
) error {
	t.Helper()
	c = c.DeepCopy()
	change(c)
	patch, err := json.Marshal([]map[string]any{{"op": "replace", "path": "/status", "value": c.Status}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = as.ResourceV1().ResourceClaims(c.Namespace).Patch(t.Context(), c.Name, types.JSONPatchType, patch,
		metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}, "status")
	return err
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestTheLargestClaimIsJudgedToo: what a policy may compute is bounded, and a claim too large for it could not be
// written any more.
func TestTheLargestClaimIsJudgedToo(t *testing.T) {
	for version, gates := range both() {
		t.Run(version, func(t *testing.T) {
			admin, driver := installed(t, version, gates)
			const most = resourceapi.AllocationResultsMaxSize
			results := []resourceapi.DeviceRequestAllocationResult{result(chartDriver, "gpu-0")}
			for i := range most - 1 {
				results = append(results, result("other.example.com", fmt.Sprintf("nic-%d", i)))
			}
			claim := allocated(t, admin, "largest", results...)
			for i := range most - 1 {
				e := resourceapi.AllocatedDeviceStatus{Driver: "other.example.com", Pool: nodeA, Device: fmt.Sprintf("nic-%d", i),
					Data: &runtime.RawExtension{Raw: []byte(`{"a":"` + strings.Repeat("x", 10<<10-8) + `"}`)}}
				for c := range resourceapi.AllocatedDeviceStatusMaxConditions {
					e.Conditions = append(e.Conditions, metav1.Condition{Type: fmt.Sprintf("example.com/c%d", c), Status: "True",
						Reason: "Said", Message: strings.Repeat("x", 2000), LastTransitionTime: metav1.Unix(1_700_000_000, 0)})
				}
				claim.Status.Devices = append(claim.Status.Devices, e)
			}
			claims := admin.ResourceV1().ResourceClaims(claim.Namespace)
			claim, err := claims.UpdateStatus(t.Context(), claim, metav1.UpdateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			ownAndReversed := func(c *resourceapi.ResourceClaim) {
				ownEntry(c)
				slices.Reverse(c.Status.Devices)
			}
			if err := update(t, driver, claim, ownAndReversed); err != nil {
				t.Errorf("its own entry: %v", err)
			}
		})
	}
}
