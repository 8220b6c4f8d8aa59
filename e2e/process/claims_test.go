package process

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"example.com/dragoman/pkg/sanity/kubelet"
)

// allocation is what a scheduler would have written into a claim.
type allocation struct {
	results []resourceapi.DeviceRequestAllocationResult
	configs []resourceapi.DeviceAllocationConfiguration
	// requests of the claim; by default one "exactly" request for each request name of the results.
	requests []resourceapi.DeviceRequest
}

// devices allocates devices of the rig's node, each for a request of its own: r0, r1 and so on.
func (r *rig) devices(names ...string) allocation {
	var a allocation
	for i, name := range names {
		a.results = append(a.results, r.result(fmt.Sprintf("r%d", i), name))
	}
	return a
}

// admin allocates a device with admin access.
func (r *rig) admin(name string) allocation {
	a := r.devices(name)
	a.results[0].AdminAccess = new(true)
	return a
}

func (r *rig) result(request, device string) resourceapi.DeviceRequestAllocationResult {
	return resourceapi.DeviceRequestAllocationResult{
		Request: request, Driver: driverName, Pool: r.node.Name, Device: device,
	}
}

// fromClaim is a GpuConfig for the named requests, as the scheduler copies it from a claim's spec.
func fromClaim(parameters string, requests ...string) resourceapi.DeviceAllocationConfiguration {
	return resourceapi.DeviceAllocationConfiguration{
		Source:   resourceapi.AllocationConfigSourceClaim,
		Requests: requests,
		DeviceConfiguration: resourceapi.DeviceConfiguration{Opaque: &resourceapi.OpaqueDeviceConfiguration{
			Driver: driverName, Parameters: runtime.RawExtension{Raw: []byte(parameters)},
		}},
	}
}

const timeSlicing = `{"apiVersion":"gpu.resource.example.com/v1alpha1","kind":"GpuConfig",` +
	`"sharing":{"strategy":"TimeSlicing","timeSlicingConfig":{"interval":%q}}}`

// claim makes a claim with an allocation, reserved for a pod on the rig's node. There is no such pod, but there is no
// controller either that would look for it.
func (r *rig) claim(name string, a allocation) kubelet.Claim {
	r.t.Helper()
	return r.allocate(metav1.ObjectMeta{GenerateName: name + "-", Namespace: r.server.namespace}, a)
}

// claimNamed is claim with a name that may have been another claim's.
func (r *rig) claimNamed(name string, a allocation) kubelet.Claim {
	r.t.Helper()
	return r.allocate(metav1.ObjectMeta{Name: name, Namespace: r.server.namespace}, a)
}

func (r *rig) allocate(meta metav1.ObjectMeta, a allocation) kubelet.Claim {
	r.t.Helper()
	ctx := r.t.Context()
	object := &resourceapi.ResourceClaim{ObjectMeta: meta}
	object.Spec.Devices.Requests = a.requests
	if a.requests == nil {
		object.Spec.Devices.Requests = requestsOf(a.results)
	}
	for _, config := range a.configs {
		if config.Source == resourceapi.AllocationConfigSourceClaim {
			object.Spec.Devices.Config = append(object.Spec.Devices.Config, resourceapi.DeviceClaimConfiguration{
				Requests: config.Requests, DeviceConfiguration: config.DeviceConfiguration,
			})
		}
	}
	claims := r.server.client.ResourceV1().ResourceClaims(r.server.namespace)
	object, err := claims.Create(ctx, object, metav1.CreateOptions{})
	if err != nil {
		r.t.Fatalf("make a claim: %v", err)
	}
	object.Status = resourceapi.ResourceClaimStatus{
		Allocation: &resourceapi.AllocationResult{
			Devices: resourceapi.DeviceAllocationResult{Results: a.results, Config: a.configs},
			NodeSelector: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchFields: []corev1.NodeSelectorRequirement{{
					Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{r.node.Name},
				}},
			}}},
		},
		ReservedFor: []resourceapi.ResourceClaimConsumerReference{{Resource: "pods", Name: object.Name, UID: object.UID}},
	}
	if object, err = claims.UpdateStatus(ctx, object, metav1.UpdateOptions{}); err != nil {
		r.t.Fatalf("allocate a claim: %v", err)
	}
	return kubelet.Claim{Namespace: object.Namespace, Name: object.Name, UID: object.UID}
}

func requestsOf(results []resourceapi.DeviceRequestAllocationResult) []resourceapi.DeviceRequest {
	requests := map[string]resourceapi.DeviceRequest{}
	for _, result := range results {
		requests[result.Request] = resourceapi.DeviceRequest{
			Name:    result.Request,
			Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: driverName, AdminAccess: result.AdminAccess},
		}
	}
	var sorted []resourceapi.DeviceRequest
	for _, name := range slices.Sorted(maps.Keys(requests)) {
		sorted = append(sorted, requests[name])
	}
	return sorted
}
