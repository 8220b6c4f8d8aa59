package main

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/view"
)

// notJudged says what the files ask for that is decided by others than the scheduler, or that is not simulated.
func (c *simulateCommand) notJudged(files *simulatedFiles, cluster *view.Cluster) {
	asking, grouped, choosy := map[string]bool{}, false, false
	for _, o := range files.order {
		switch o := o.(type) {
		case *resourceapi.ResourceClaim:
			asking[o.Namespace] = asking[o.Namespace] || wantsAdminAccess(&o.Spec)
		case *resourceapi.ResourceClaimTemplate:
			asking[o.Namespace] = asking[o.Namespace] || wantsAdminAccess(&o.Spec.Spec)
		case *corev1.Pod:
			grouped = grouped || o.Spec.SchedulingGroup != nil
			choosy = choosy || choosesNodes(o)
		case *workload:
			grouped = grouped || o.pod.Spec.SchedulingGroup != nil
			choosy = choosy || choosesNodes(o.pod)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(asking)) {
		if asking[name] && !allowsAdminAccess(cluster, name) {
			c.say("Not judged: the API server takes requests for admin access only in namespaces with the label %s=true; "+
				"%q is not known to have it.", resourceapi.DRAAdminNamespaceLabelKey, name)
		}
	}
	if choosy && len(cluster.Nodes) == 0 {
		c.say("Not judged: which nodes pods select by labels. There are no nodes: add them, or give them labels with " +
			"--node-labels.")
	}
	if grouped {
		c.say("Not simulated: claims that the pods of a PodGroup share. Each pod has its own here.")
	}
}

func choosesNodes(pod *corev1.Pod) bool {
	return len(pod.Spec.NodeSelector) > 0 || pod.Spec.Affinity != nil && pod.Spec.Affinity.NodeAffinity != nil
}

func wantsAdminAccess(spec *resourceapi.ResourceClaimSpec) bool {
	return slices.ContainsFunc(spec.Devices.Requests, func(r resourceapi.DeviceRequest) bool {
		return r.Exactly != nil && r.Exactly.AdminAccess != nil && *r.Exactly.AdminAccess
	})
}

func allowsAdminAccess(c *view.Cluster, namespace string) bool {
	return slices.ContainsFunc(c.Namespaces, func(n *corev1.Namespace) bool {
		return n.Name == namespace && n.Labels[resourceapi.DRAAdminNamespaceLabelKey] == "true"
	})
}
