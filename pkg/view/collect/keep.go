package collect

import (
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"example.com/dragoman/pkg/view"
)

// lastApplied is a second copy of what kubectl apply was given.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// plainMeta drops of an object's metadata what is about writing it.
func plainMeta(m *metav1.ObjectMeta) {
	m.ManagedFields = nil
	delete(m.Annotations, lastApplied)
}

func keepSlice(s *resourceapi.ResourceSlice) (*resourceapi.ResourceSlice, error) {
	kept := *s
	plainMeta(&kept.ObjectMeta)
	return &kept, nil
}

func keepClass(c *resourceapi.DeviceClass) (*resourceapi.DeviceClass, error) {
	kept := *c
	plainMeta(&kept.ObjectMeta)
	return &kept, nil
}

func keepClaim(c *resourceapi.ResourceClaim) (*resourceapi.ResourceClaim, error) {
	kept := *c
	plainMeta(&kept.ObjectMeta)
	return &kept, nil
}

func keepTemplate(t *resourceapi.ResourceClaimTemplate) (*resourceapi.ResourceClaimTemplate, error) {
	kept := *t
	plainMeta(&kept.ObjectMeta)
	return &kept, nil
}

func keepNamespace(n *corev1.Namespace) (*corev1.Namespace, error) {
	kept := *n
	plainMeta(&kept.ObjectMeta)
	return &kept, nil
}

// keepNode drops the images of a node, which are most of it, its volumes and its annotations.
func keepNode(n *corev1.Node) (*corev1.Node, error) {
	kept := *n
	kept.ManagedFields, kept.Annotations = nil, nil
	kept.Status.Images, kept.Status.VolumesAttached, kept.Status.VolumesInUse = nil, nil, nil
	return &kept, nil
}

// keepPod returns nil for a pod that has nothing to do with devices.
func keepPod(p *corev1.Pod, want Want) *corev1.Pod {
	uses := want.Pods && (want.Namespace == "" || p.Namespace == want.Namespace) && usesDevices(p)
	switch {
	case want.DriverPods && RegistersPlugins(p), uses && want.WholePods:
		kept := *p
		plainMeta(&kept.ObjectMeta)
		return &kept
	case uses:
		return slimPod(p)
	}
	return nil
}

// slimPod keeps who a pod is, what it asks for, where it may run, and how it is.
func slimPod(p *corev1.Pod) *corev1.Pod {
	kept := &corev1.Pod{ObjectMeta: p.ObjectMeta}
	kept.ManagedFields, kept.Annotations = nil, nil
	kept.Spec = corev1.PodSpec{
		NodeName: p.Spec.NodeName, SchedulerName: p.Spec.SchedulerName, SchedulingGates: p.Spec.SchedulingGates,
		SchedulingGroup: p.Spec.SchedulingGroup, ResourceClaims: p.Spec.ResourceClaims, Resources: p.Spec.Resources,
		NodeSelector: p.Spec.NodeSelector, Affinity: p.Spec.Affinity, Tolerations: p.Spec.Tolerations,
		PriorityClassName: p.Spec.PriorityClassName, Priority: p.Spec.Priority, Overhead: p.Spec.Overhead,
		Containers: slimContainers(p.Spec.Containers), InitContainers: slimContainers(p.Spec.InitContainers),
	}
	s := &p.Status
	kept.Status = corev1.PodStatus{
		Phase: s.Phase, Conditions: s.Conditions, Message: s.Message, Reason: s.Reason,
		NominatedNodeName: s.NominatedNodeName, StartTime: s.StartTime,
		ResourceClaimStatuses: s.ResourceClaimStatuses, ExtendedResourceClaimStatus: s.ExtendedResourceClaimStatus,
		ContainerStatuses: slimStatuses(s.ContainerStatuses), InitContainerStatuses: slimStatuses(s.InitContainerStatuses),
	}
	return kept
}

func slimContainers(containers []corev1.Container) []corev1.Container {
	if containers == nil {
		return nil
	}
	kept := make([]corev1.Container, len(containers))
	for i, c := range containers {
		kept[i] = corev1.Container{Name: c.Name, Resources: c.Resources, RestartPolicy: c.RestartPolicy}
	}
	return kept
}

func slimStatuses(statuses []corev1.ContainerStatus) []corev1.ContainerStatus {
	if statuses == nil {
		return nil
	}
	kept := make([]corev1.ContainerStatus, len(statuses))
	for i, s := range statuses {
		kept[i] = corev1.ContainerStatus{
			Name: s.Name, State: s.State, Ready: s.Ready, Started: s.Started, RestartCount: s.RestartCount,
			AllocatedResourcesStatus: s.AllocatedResourcesStatus,
		}
	}
	return kept
}

// usesDevices says whether a pod has claims, or asks for something that may become one: any extended resource can be
// that of a DeviceClass.
func usesDevices(p *corev1.Pod) bool {
	return len(p.Spec.ResourceClaims) > 0 || p.Status.ExtendedResourceClaimStatus != nil ||
		slices.ContainsFunc(p.Spec.Containers, asksExtended) || slices.ContainsFunc(p.Spec.InitContainers, asksExtended)
}

func asksExtended(c corev1.Container) bool {
	for _, list := range []corev1.ResourceList{c.Resources.Requests, c.Resources.Limits} {
		for name := range list {
			if view.MayBeDevices(name) {
				return true
			}
		}
	}
	return false
}

// RegistersPlugins says whether a pod can register a plugin with the kubelet, as drivers of devices and of volumes do:
// it has the directory of the kubelet's registration sockets.
func RegistersPlugins(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool {
		return v.HostPath != nil && path.Base(v.HostPath.Path) == "plugins_registry"
	})
}
