package allocate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/view"
)

// ExtendedClaim returns the claim that the scheduler makes for a pod whose containers ask for devices as they ask for
// processors: limits of the extended resource that a DeviceClass names, or deviceclass.resource.kubernetes.io/ and the
// name of one (KEP-5004). It is nil if there are no such limits, or if the node has a device plugin for all of them.
//
// With a nil node no node is looked at. The *NodeError says that the node lacks a resource that no class stands for.
func ExtendedClaim(c *view.Cluster, pod *corev1.Pod, node *corev1.Node) (*resourceapi.ResourceClaim, error) {
	wanted := extendedResources(pod)
	if len(wanted) == 0 {
		return nil, nil
	}
	byResource := classesByResource(c.Classes)
	claim := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{
		Namespace:    pod.Namespace,
		Name:         pod.Name + "-extended-resources",
		UID:          types.UID(pod.Namespace + "/" + pod.Name + "/extended-resources"),
		Annotations:  map[string]string{resourceapi.ExtendedResourceClaimAnnotation: "true"},
		GenerateName: pod.Name + "-extended-resources-",
	}}
	for _, name := range wanted {
		class := byResource[name]
		if node != nil {
			if plugged, known := node.Status.Allocatable[name]; known && (class == nil || !plugged.IsZero()) {
				continue // of the device plugin
			}
		}
		switch {
		case class != nil && class.Name == implicitClass(name) && isOlder(c.Version, 35):
			// Kubernetes 1.34 binds such a pod, and gives it nothing.
		case class != nil:
			claim.Spec.Devices.Requests = append(claim.Spec.Devices.Requests, requestsFor(pod, name, class.Name)...)
		case node != nil:
			return nil, &NodeError{Node: node.Name, Why: fmt.Sprintf(
				"has no %s, and no DeviceClass stands for it", name)}
		}
	}
	if len(claim.Spec.Devices.Requests) == 0 {
		return nil, nil
	}
	slices.SortFunc(claim.Spec.Devices.Requests, func(a, b resourceapi.DeviceRequest) int {
		return strings.Compare(a.Name, b.Name)
	})
	return claim, nil
}

// implicitClass is the name of the class in a resource that each class has; "" for other resources.
func implicitClass(name corev1.ResourceName) string {
	class, is := strings.CutPrefix(string(name), resourceapi.ResourceDeviceClassPrefix)
	if !is {
		return ""
	}
	return class
}

// existingExtendedClaim finds the claim that a scheduler has made for the pod's extended resources before.
func existingExtendedClaim(c *view.Cluster, pod *corev1.Pod) *resourceapi.ResourceClaim {
	for _, claim := range c.Claims {
		if claim.Namespace == pod.Namespace && claim.Annotations[resourceapi.ExtendedResourceClaimAnnotation] == "true" &&
			pod.UID != "" && metav1.IsControlledBy(claim, pod) {
			return claim
		}
	}
	return nil
}

// extendedResources returns the names of what a pod asks for that could be devices, sorted.
func extendedResources(pod *corev1.Pod) []corev1.ResourceName {
	names := make(map[corev1.ResourceName]bool)
	for _, container := range containers(pod) {
		for name, q := range requests(container) {
			if view.MayBeDevices(name) && !q.IsZero() {
				names[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// classesByResource returns which class stands for which resource. Of several, the newest does, then the first by name
// (k8s.io/dynamic-resource-allocation/deviceclass/extendedresourcecache).
func classesByResource(all []*resourceapi.DeviceClass) map[corev1.ResourceName]*resourceapi.DeviceClass {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b *resourceapi.DeviceClass) int {
		return cmp.Or(-a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	by := make(map[corev1.ResourceName]*resourceapi.DeviceClass)
	for _, class := range all {
		by[corev1.ResourceName(resourceapi.ResourceDeviceClassPrefix+class.Name)] = class
		if class.Spec.ExtendedResourceName == nil {
			continue
		}
		if name := corev1.ResourceName(*class.Spec.ExtendedResourceName); by[name] == nil {
			by[name] = class
		}
	}
	return by
}

// containers returns the init containers and then the others: the number of one is part of its requests' names.
func containers(pod *corev1.Pod) []corev1.Container {
	return append(slices.Clone(pod.Spec.InitContainers), pod.Spec.Containers...)
}

// requests returns what a container requests. As in the API server, who says only limits requests them.
func requests(container corev1.Container) corev1.ResourceList {
	all := maps.Clone(container.Resources.Requests)
	if all == nil {
		all = corev1.ResourceList{}
	}
	for name, q := range container.Resources.Limits {
		if _, said := all[name]; !said {
			all[name] = q
		}
	}
	return all
}

// requestsFor returns the requests for one resource. Init containers that end before the others start use the devices
// of those that come after them, and one more request together for what is missing then.
func requestsFor(pod *corev1.Pod, resource corev1.ResourceName, class string) []resourceapi.DeviceRequest {
	all := containers(pod)
	wanted := func(container corev1.Container) int64 {
		q := requests(container)[resource]
		n, whole := q.AsInt64()
		if !whole {
			return 0
		}
		return n
	}
	ends := func(i int) bool {
		policy := all[i].RestartPolicy
		return i < len(pod.Spec.InitContainers) && (policy == nil || *policy != corev1.ContainerRestartPolicyAlways)
	}
	var lasting []resourceapi.DeviceRequest
	var most *resourceapi.DeviceRequest
	var later int64 // what the lasting containers from here on have
	for i, container := range slices.Backward(all) {
		n := wanted(container)
		switch {
		case n <= 0:
		case !ends(i):
			later += n
			lasting = append(lasting, extendedRequest(i, requests(container), resource, class, n))
		case n > later:
			// Of several that miss as much, the first.
			if missing := n - later; most == nil || missing >= most.Exactly.Count {
				r := extendedRequest(i, requests(container), resource, class, missing)
				most = &r
			}
		}
	}
	if most != nil {
		lasting = append(lasting, *most)
	}
	return lasting
}

func extendedRequest(
	container int, of corev1.ResourceList, resource corev1.ResourceName, class string, n int64,
) resourceapi.DeviceRequest {
	place := slices.Index(slices.Sorted(maps.Keys(of)), resource)
	return resourceapi.DeviceRequest{
		Name: fmt.Sprintf("container-%d-request-%d", container, place),
		Exactly: &resourceapi.ExactDeviceRequest{
			DeviceClassName: class, AllocationMode: resourceapi.DeviceAllocationModeExactCount, Count: n,
		},
	}
}
