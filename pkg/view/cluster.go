// Package view says who has what of a cluster's devices. It knows no driver: what it says follows from ResourceSlices,
// ResourceClaims and pods, as the scheduler reads them.
//
// It is pure: a Cluster goes in, made by looking at an API server or from files, and what people want to know comes
// out, in the same order for the same cluster.
//
// The room has more than 500 lines: devices, their users, shares, counters, taints and places have a file each, and all
// answer from the same index of who has what.
package view

import (
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
)

// Cluster is what one look at a cluster has seen, or what files say of one.
//
// The objects are shared: nobody changes them. A list that is empty because the user may not read it, or because the
// server does not serve it, has an entry in Unseen; without one, empty means that there are none.
type Cluster struct {
	// Version is what the API server calls itself, for example "v1.34.3". Empty if unknown.
	Version string

	Nodes      []*corev1.Node
	Namespaces []*corev1.Namespace
	Pods       []*corev1.Pod
	Slices     []*resourceapi.ResourceSlice
	Classes    []*resourceapi.DeviceClass
	Claims     []*resourceapi.ResourceClaim
	Templates  []*resourceapi.ResourceClaimTemplate
	// TaintRules are read in whatever version the server has them (v1alpha3 in 1.34).
	TaintRules []*resourceapi.DeviceTaintRule
	// Events are those about the pods and claims that were asked for, oldest first.
	Events []*corev1.Event

	Unseen []Unseen
}

// Unseen is something that a look at a cluster could not see.
type Unseen struct {
	// Resource is the plural name, for example "resourceclaims" or "devicetaintrules".
	Resource string
	// Namespace is empty for what has none, and for all namespaces.
	Namespace string
	// Why is the API server's own sentence.
	Why string
	// Forbidden says that the user's rights do not allow it; otherwise the server does not serve it, or did not answer.
	Forbidden bool
	// Right is the right that would have allowed it, as "kubectl auth can-i" takes it, for example
	// "list resourceclaims.resource.k8s.io". Empty unless Forbidden.
	Right string
	// NotServed says that this API server has no such kind, so that nothing of it can be there either.
	NotServed bool
	// Only is the namespace that was seen where all were wanted; empty if nothing was.
	Only string
}
