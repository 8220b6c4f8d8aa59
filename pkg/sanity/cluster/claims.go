package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/util/retry"

	"example.com/dragoman/pkg/sanity/kubelet"
)

// Allocation is what a scheduler writes into a claim.
type Allocation struct {
	Results []resourceapi.DeviceRequestAllocationResult
	Configs []resourceapi.DeviceAllocationConfiguration
	// Requests of the claim; by default one "exactly" request for each request name of the results.
	Requests []resourceapi.DeviceRequest
}

// Allocate allocates devices, each for a request of its own: r0, r1 and so on.
func (c *Cluster) Allocate(devices ...Device) Allocation {
	var a Allocation
	for i, device := range devices {
		a.Results = append(a.Results, c.Result(fmt.Sprintf("r%d", i), device))
	}
	return a
}

// Admin allocates devices with admin access: to look at, whoever has them.
func (c *Cluster) Admin(devices ...Device) Allocation {
	a := c.Allocate(devices...)
	for i := range a.Results {
		a.Results[i].AdminAccess = new(true)
	}
	return a
}

// Share allocates one share of a device that several claims may have at once.
func (c *Cluster) Share(device Device) Allocation {
	a := c.Allocate(device)
	a.Results[0].ShareID, a.Results[0].ConsumedCapacity = new(uuid.NewUUID()), consumed(device)
	return a
}

// Result allocates one device for a request, or for a sub-request: "gpu/large".
func (c *Cluster) Result(request string, device Device) resourceapi.DeviceRequestAllocationResult {
	return resourceapi.DeviceRequestAllocationResult{
		Request: request, Driver: c.Driver, Pool: device.Pool, Device: device.Name,
	}
}

// Configured adds a configuration for a driver, written in the claim for the named requests, or for all of them.
func (a Allocation) Configured(driver, parameters string, requests ...string) Allocation {
	a.Configs = append(slices.Clone(a.Configs), resourceapi.DeviceAllocationConfiguration{
		Source: resourceapi.AllocationConfigSourceClaim, Requests: requests,
		DeviceConfiguration: resourceapi.DeviceConfiguration{Opaque: &resourceapi.OpaqueDeviceConfiguration{
			Driver: driver, Parameters: runtime.RawExtension{Raw: []byte(parameters)},
		}},
	})
	return a
}

// Claim makes a claim with an allocation, reserved for a pod on the node. Its name is made of the given one. The pod is
// a real object that never runs: a claim controller takes a reservation back whose pod is not there.
func (c *Cluster) Claim(ctx context.Context, name string, a Allocation) (kubelet.Claim, error) {
	c.mutex.Lock()
	c.names++
	name = fmt.Sprintf("%s-%d", name, c.names)
	c.mutex.Unlock()
	return c.ClaimNamed(ctx, name, a)
}

// ClaimNamed is Claim with exactly this name, for a claim that replaces another one.
func (c *Cluster) ClaimNamed(ctx context.Context, name string, a Allocation) (kubelet.Claim, error) {
	object := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: c.Namespace}}
	object.Spec.Devices.Requests = a.Requests
	if a.Requests == nil {
		object.Spec.Devices.Requests = requestsOf(c.Driver, a.Results)
	}
	for _, config := range a.Configs {
		if config.Source == resourceapi.AllocationConfigSourceClaim {
			object.Spec.Devices.Config = append(object.Spec.Devices.Config, resourceapi.DeviceClaimConfiguration{
				Requests: config.Requests, DeviceConfiguration: config.DeviceConfiguration,
			})
		}
	}
	claims := c.Client.ResourceV1().ResourceClaims(c.Namespace)
	object, err := claims.Create(ctx, object, metav1.CreateOptions{})
	if err != nil {
		return kubelet.Claim{}, fmt.Errorf("make the claim %s: %w", name, err)
	}
	pod, err := c.reserve(ctx, name)
	if err != nil {
		return kubelet.Claim{}, err
	}
	object.Status = resourceapi.ResourceClaimStatus{
		Allocation: &resourceapi.AllocationResult{
			Devices:      resourceapi.DeviceAllocationResult{Results: a.Results, Config: a.Configs},
			NodeSelector: c.nodeSelector(),
		},
		ReservedFor: []resourceapi.ResourceClaimConsumerReference{pod},
	}
	if object, err = claims.UpdateStatus(ctx, object, metav1.UpdateOptions{}); err != nil {
		return kubelet.Claim{}, fmt.Errorf("allocate the claim %s: %w", name, err)
	}
	c.hold(name, a.Results)
	return kubelet.Claim{Namespace: object.Namespace, Name: object.Name, UID: object.UID},
		kept(object.Status.Allocation.Devices.Results, a.Results)
}

// Claims makes a claim for each allocation, many at once; they are in the order of the allocations.
func (c *Cluster) Claims(ctx context.Context, name string, allocations []Allocation) ([]kubelet.Claim, error) {
	claims := make([]kubelet.Claim, len(allocations))
	making, ctx := errgroup.WithContext(ctx)
	making.SetLimit(claimsAtOnce)
	for i, a := range allocations {
		making.Go(func() (err error) {
			claims[i], err = c.Claim(ctx, name, a)
			return err
		})
	}
	return claims, making.Wait()
}

// claimsAtOnce keeps an API server busy and not more.
const claimsAtOnce = 24

// reserve makes the pod that uses a claim, and returns how the claim refers to it.
func (c *Cluster) reserve(ctx context.Context, name string) (resourceapi.ResourceClaimConsumerReference, error) {
	pod := resourceapi.ResourceClaimConsumerReference{Resource: "pods", Name: name, UID: uuid.NewUUID()}
	if c.noPods {
		return pod, nil
	}
	object, err := c.Client.CoreV1().Pods(c.Namespace).Create(ctx, c.pod(name), metav1.CreateOptions{})
	if err != nil {
		return pod, fmt.Errorf("make a pod for the claim %s: %w", name, err)
	}
	pod.UID = object.UID
	return pod, nil
}

// ErrDropped says that the API server did not keep what was written, because a feature of it is off.
var ErrDropped = errors.New("the API server drops it, because the feature is off")

func kept(got, want []resourceapi.DeviceRequestAllocationResult) error {
	for i := range want {
		if want[i].ShareID != nil && (i >= len(got) || got[i].ShareID == nil) {
			return fmt.Errorf("write the share of a device into a claim: %w (DRAConsumableCapacity)", ErrDropped)
		}
		if want[i].AdminAccess != nil && (i >= len(got) || got[i].AdminAccess == nil) {
			return fmt.Errorf("write admin access into a claim: %w (DRAAdminAccess)", ErrDropped)
		}
	}
	return nil
}

func (c *Cluster) hold(name string, results []resourceapi.DeviceRequestAllocationResult) {
	var devices []held
	for _, r := range results {
		if r.Driver == c.Driver && (r.AdminAccess == nil || !*r.AdminAccess) {
			devices = append(devices, held{r.Pool, r.Device})
		}
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.held[name] = devices
}

// Delete deletes a claim and its pod; what is not there is no error. Its devices are free again.
func (c *Cluster) Delete(ctx context.Context, claim kubelet.Claim) error {
	err := c.Abandon(ctx, claim)
	c.mutex.Lock()
	defer c.mutex.Unlock()
	delete(c.held, claim.Name)
	return err
}

// Abandon deletes a claim and its pod, and nobody gets its devices again: the driver may still hold them.
func (c *Cluster) Abandon(ctx context.Context, claim kubelet.Claim) error {
	now := metav1.DeleteOptions{GracePeriodSeconds: new(int64)}
	return errors.Join(
		wrap(gone(c.Client.CoreV1().Pods(claim.Namespace).Delete(ctx, claim.Name, now)), "delete the pod %s", claim.Name),
		wrap(c.deleteClaim(ctx, claim, now), "delete the claim %s", claim.Name))
}

// deleteClaim also takes away the finalizer that a claim controller or the scheduler may have put there: nobody else
// will, since the pod never runs.
func (c *Cluster) deleteClaim(ctx context.Context, claim kubelet.Claim, options metav1.DeleteOptions) error {
	claims := c.Client.ResourceV1().ResourceClaims(claim.Namespace)
	err := claims.Delete(ctx, claim.Name, options)
	if err != nil {
		return gone(err)
	}
	object, err := claims.Get(ctx, claim.Name, metav1.GetOptions{})
	if err != nil || object.UID != claim.UID {
		return gone(err)
	}
	_, err = claims.Patch(ctx, claim.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`),
		metav1.PatchOptions{})
	return gone(err)
}

// Deallocate takes the allocation of a claim back, as a claim controller does when no pod uses it.
func (c *Cluster) Deallocate(ctx context.Context, claim kubelet.Claim) error {
	claims := c.Client.ResourceV1().ResourceClaims(claim.Namespace)
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error { // the driver may be writing what its devices show
		object, err := claims.Get(ctx, claim.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		object.Status = resourceapi.ResourceClaimStatus{}
		_, err = claims.UpdateStatus(ctx, object, metav1.UpdateOptions{})
		return err
	})
	return wrap(err, "deallocate the claim %s", claim.Name)
}

func requestsOf(class string, results []resourceapi.DeviceRequestAllocationResult) []resourceapi.DeviceRequest {
	requests := map[string]resourceapi.DeviceRequest{}
	for _, result := range results {
		requests[result.Request] = resourceapi.DeviceRequest{
			Name:    result.Request,
			Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: class, AdminAccess: result.AdminAccess},
		}
	}
	var sorted []resourceapi.DeviceRequest
	for _, name := range slices.Sorted(maps.Keys(requests)) {
		sorted = append(sorted, requests[name])
	}
	return sorted
}

func (c *Cluster) nodeSelector() *corev1.NodeSelector {
	return &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchFields: []corev1.NodeSelectorRequirement{{
			Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{c.Node},
		}},
	}}}
}

func (c *Cluster) pod(claim string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: claim, Namespace: c.Namespace},
		Spec: corev1.PodSpec{
			NodeName:                     c.Node,
			AutomountServiceAccountToken: new(false),
			Containers:                   []corev1.Container{{Name: "none", Image: "none.invalid/none"}},
			ResourceClaims:               []corev1.PodResourceClaim{{Name: "claim", ResourceClaimName: &claim}},
			Tolerations:                  []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		},
	}
}
