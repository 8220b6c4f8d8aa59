package claim

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestForWhomAClaimIsReservedDoesNotMatter: that may be pods, and since Kubernetes 1.36 groups of pods, by the hundred.
// Whose turn it is the scheduler and the kubelet say.
func TestForWhomAClaimIsReservedDoesNotMatter(t *testing.T) {
	c := &resourceapi.ResourceClaim{}
	c.Namespace, c.Name, c.UID = "team-a", "train", "1"
	c.Status.Allocation = &resourceapi.AllocationResult{}
	c.Status.Allocation.Devices.Results = []resourceapi.DeviceRequestAllocationResult{
		{Request: "gpu", Driver: options().DriverName, Pool: options().PoolName, Device: "gpu-0"}}
	alone, err := Decide(c, options())
	if err != nil || len(alone.Devices) != 1 {
		t.Fatalf("for nobody: %+v, %v", alone, err)
	}
	for i := range resourceapi.ResourceClaimReservedForMaxSize {
		by := resourceapi.ResourceClaimConsumerReference{
			Resource: "pods", Name: fmt.Sprint("pod-", i), UID: types.UID(fmt.Sprint(i))}
		if i%2 == 1 {
			by.APIGroup, by.Resource = "scheduling.k8s.io", "podgroups"
		}
		c.Status.ReservedFor = append(c.Status.ReservedFor, by)
	}
	many, err := Decide(c, options())
	if diff := cmp.Diff(alone, many); diff != "" || err != nil {
		t.Errorf("for many it is another plan (%v):\n%s", err, diff)
	}
}
