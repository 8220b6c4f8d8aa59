package view

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// DeviceID names one device of a cluster.
type DeviceID struct {
	Driver, Pool, Device string
}

// String returns driver/pool/device, as Kubernetes writes it.
func (id DeviceID) String() string { return id.Driver + "/" + id.Pool + "/" + id.Device }

// Compare orders by driver, pool and device.
func (id DeviceID) Compare(other DeviceID) int {
	return cmp.Or(strings.Compare(id.Driver, other.Driver), strings.Compare(id.Pool, other.Pool),
		strings.Compare(id.Device, other.Device))
}

// Use is one result of a claim's allocation: a device, or a share of one, that the claim holds.
type Use struct {
	Claim    types.NamespacedName
	ClaimUID types.UID
	// Request is the name of the claim's request; of an alternative, request/subrequest.
	Request string
	// AdminAccess marks who only looks at the device: the scheduler does not count it as in use.
	AdminAccess bool
	// ShareID is set if the claim holds a share of a device that several claims may have.
	ShareID *types.UID
	// Consumed is how much of the device's capacity a share takes. Nobody changes it.
	Consumed map[resourceapi.QualifiedName]resource.Quantity
	// Pods are those that the claim is reserved for, by name. None: nobody uses the claim now, but it holds the device.
	Pods []types.NamespacedName
	// Others are what else the claim is reserved for, in the claim's order.
	Others []resourceapi.ResourceClaimConsumerReference
	// Node is the node that the claim is allocated on; empty if its devices can be used on several.
	Node string
	// Status is what the driver says of the device in the claim's status; nil if it says nothing.
	Status *resourceapi.AllocatedDeviceStatus
}

// Shared says that the claim holds a share, and not the device.
func (u Use) Shared() bool { return u.ShareID != nil && !u.AdminAccess }

// Allocations is who holds which device. It is made once for a cluster, and can be read from several goroutines.
type Allocations struct {
	uses map[DeviceID][]Use
}

// NewAllocations reads the allocations of all claims that c has seen.
func NewAllocations(c *Cluster) *Allocations {
	a := &Allocations{uses: make(map[DeviceID][]Use, len(c.Claims))}
	for _, claim := range c.Claims {
		if claim.Status.Allocation != nil {
			a.add(claim)
		}
	}
	for _, uses := range a.uses {
		slices.SortFunc(uses, compareUses)
	}
	return a
}

func (a *Allocations) add(claim *resourceapi.ResourceClaim) {
	pods, others := consumers(claim)
	node := allocatedNode(claim.Status.Allocation.NodeSelector)
	for _, r := range claim.Status.Allocation.Devices.Results {
		id := DeviceID{Driver: r.Driver, Pool: r.Pool, Device: r.Device}
		a.uses[id] = append(a.uses[id], Use{
			Claim:       types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name},
			ClaimUID:    claim.UID,
			Request:     r.Request,
			AdminAccess: ptr.Deref(r.AdminAccess, false),
			ShareID:     r.ShareID,
			Consumed:    r.ConsumedCapacity,
			Pods:        pods,
			Others:      others,
			Node:        node,
			Status:      statusOf(claim, r),
		})
	}
}

// consumers takes reservedFor apart.
func consumers(
	claim *resourceapi.ResourceClaim,
) (pods []types.NamespacedName, others []resourceapi.ResourceClaimConsumerReference) {
	for _, consumer := range claim.Status.ReservedFor {
		if consumer.APIGroup == "" && consumer.Resource == "pods" {
			pods = append(pods, types.NamespacedName{Namespace: claim.Namespace, Name: consumer.Name})
		} else {
			others = append(others, consumer)
		}
	}
	slices.SortFunc(pods, func(a, b types.NamespacedName) int { return strings.Compare(a.Name, b.Name) })
	return pods, others
}

// allocatedNode returns the node that the scheduler wrote into the allocation of devices of one node.
func allocatedNode(selector *corev1.NodeSelector) string {
	if selector == nil || len(selector.NodeSelectorTerms) != 1 {
		return ""
	}
	for _, field := range selector.NodeSelectorTerms[0].MatchFields {
		if field.Key == metav1.ObjectNameField && field.Operator == corev1.NodeSelectorOpIn && len(field.Values) == 1 {
			return field.Values[0]
		}
	}
	return ""
}

func statusOf(
	claim *resourceapi.ResourceClaim, r resourceapi.DeviceRequestAllocationResult,
) *resourceapi.AllocatedDeviceStatus {
	for i := range claim.Status.Devices {
		s := &claim.Status.Devices[i]
		if s.Driver == r.Driver && s.Pool == r.Pool && s.Device == r.Device &&
			ptr.Deref(s.ShareID, "") == string(ptr.Deref(r.ShareID, "")) {
			return s
		}
	}
	return nil
}

// compareUses puts who holds a device before who only looks at it.
func compareUses(a, b Use) int {
	if a.AdminAccess != b.AdminAccess {
		if a.AdminAccess {
			return 1
		}
		return -1
	}
	return cmp.Or(strings.Compare(a.Claim.Namespace, b.Claim.Namespace), strings.Compare(a.Claim.Name, b.Claim.Name),
		strings.Compare(a.Request, b.Request),
		strings.Compare(string(ptr.Deref(a.ShareID, "")), string(ptr.Deref(b.ShareID, ""))))
}

// Of returns who has the device: by namespace, claim and request, those with admin access last. Nobody changes it.
func (a *Allocations) Of(id DeviceID) []Use { return a.uses[id] }

// Held says that the scheduler counts the device as allocated, as a whole or in shares. Admin access does not count.
func (a *Allocations) Held(id DeviceID) bool {
	return slices.ContainsFunc(a.uses[id], func(u Use) bool { return !u.AdminAccess })
}

// Devices returns all devices that a claim has, with or without admin access, sorted; whether or not a slice has them.
func (a *Allocations) Devices() []DeviceID {
	all := make([]DeviceID, 0, len(a.uses))
	for id := range a.uses {
		all = append(all, id)
	}
	slices.SortFunc(all, DeviceID.Compare)
	return all
}
