// Package v1alpha1 is what a user may write into the opaque configuration of a ResourceClaim, ResourceClaimTemplate or
// DeviceClass for this driver: API group gpu.resource.example.com, version v1alpha1, kind GpuConfig. It is compatible
// with the upstream example driver's gpu profile.
//
// [Decode] is the one validator: the driver, the webhook and kubectl-dra all call it, so that what one of them accepts
// no other refuses.
//
// +kubebuilder:object:generate=true
package v1alpha1
