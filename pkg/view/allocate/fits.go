package allocate

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// Fits says whether the pod may run on the node, as far as that has nothing to do with devices: the node's name, its
// labels, its taints, and whether it takes pods at all. Processors, memory, ports, volumes and other pods are not
// judged. The error is a *NodeError.
func Fits(node *corev1.Node, pod *corev1.Pod) error {
	no := func(format string, args ...any) error {
		return &NodeError{Node: node.Name, Why: fmt.Sprintf(format, args...)}
	}
	if pod.Spec.NodeName != "" && pod.Spec.NodeName != node.Name {
		return no("the pod is for node %s", pod.Spec.NodeName)
	}
	matches, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node)
	switch {
	case err != nil:
		return no("read the pod's node affinity: %v", err)
	case !matches:
		for _, key := range slices.Sorted(maps.Keys(pod.Spec.NodeSelector)) {
			if value, has := node.Labels[key]; !has || value != pod.Spec.NodeSelector[key] {
				return no("lacks the label %s=%s, which the pod selects", key, pod.Spec.NodeSelector[key])
			}
		}
		return no("does not match the pod's node affinity")
	}
	unschedulable := &corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	if node.Spec.Unschedulable &&
		!corev1helpers.TolerationsTolerateTaint(klog.Logger{}, pod.Spec.Tolerations, unschedulable, true) {
		return no("is cordoned (unschedulable)")
	}
	keeps := func(t *corev1.Taint) bool {
		return t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute
	}
	taint, untolerated := corev1helpers.FindMatchingUntoleratedTaint(
		klog.Logger{}, node.Spec.Taints, pod.Spec.Tolerations, keeps, true)
	if untolerated {
		return no("has taint %s, which the pod does not tolerate", taint.ToString())
	}
	return nil
}

// MayFit says whether the pod may run on a node that is made up, see NodesOf: what the pod asks of labels that are not
// known is not judged, nor are taints. The error is a *NodeError.
func MayFit(node *corev1.Node, pod *corev1.Pod) error {
	asked := &corev1.Pod{Spec: corev1.PodSpec{
		NodeName: pod.Spec.NodeName, NodeSelector: make(map[string]string), Affinity: knownAffinity(node, pod.Spec.Affinity),
	}}
	for key, value := range pod.Spec.NodeSelector {
		if _, known := node.Labels[key]; known {
			asked.Spec.NodeSelector[key] = value
		}
	}
	return Fits(node, asked)
}

// knownAffinity is what of an affinity to nodes can be judged by the labels that are known; nil if nothing can.
func knownAffinity(node *corev1.Node, affinity *corev1.Affinity) *corev1.Affinity {
	if affinity == nil || affinity.NodeAffinity == nil ||
		affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	required := affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.DeepCopy()
	for i := range required.NodeSelectorTerms {
		term := &required.NodeSelectorTerms[i]
		term.MatchExpressions = slices.DeleteFunc(term.MatchExpressions, func(x corev1.NodeSelectorRequirement) bool {
			_, known := node.Labels[x.Key]
			return !known
		})
		if len(term.MatchExpressions)+len(term.MatchFields) == 0 {
			return nil // this term may be met
		}
	}
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: required}}
}
