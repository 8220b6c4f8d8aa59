package allocate

import (
	"fmt"

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
		return no("does not match the pod's node selector or affinity")
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
