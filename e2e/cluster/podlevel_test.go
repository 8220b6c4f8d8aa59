package cluster

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/e2e-framework/pkg/types"
)

// podLevelResources is about a pod whose containers share one limit, and that has a device.
func podLevelResources() types.Feature {
	s := newScene("e2e-pod-level", 1)
	memory := resource.MustParse("96Mi")
	return features.New("pod-level resources beside a claim").Setup(s.begin).
		Assess("the container has its device, and the pod its limit", assess(func(t *testing.T) {
			s.create(t, newTemplate("one", 1))
			pod := newPod("pod", "one")
			pod.Spec.Resources = &corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")},
				Limits:   corev1.ResourceList{corev1.ResourceMemory: memory},
			}
			s.createPod(t, pod)
			pod = s.running(t, "pod")
			s.expectOnlyClaim(t, pod, mainContainer)
			if limit := node(pod.Spec.NodeName).memoryLimit(t, pod); limit != fmt.Sprint(memory.Value()) {
				t.Errorf("the control group of the pod is limited to %s bytes, expected %d", limit, memory.Value())
			}
		})).
		Assess("all of it goes with the pod", assess(func(t *testing.T) {
			s.deletePod(t, "pod")
			s.noClaims(t)
		})).Feature()
}

// memoryLimit returns the limit of a pod's control group, version 1 or 2.
func (n node) memoryLimit(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	// The kubelet names it by the UID, with systemd's names in place of its dashes, and the containers' are below it.
	const find = `find /sys/fs/cgroup/ '(' -name memory.max -o -name memory.limit_in_bytes ')' |
		grep -E "pod$1|pod$(echo "$1" | tr - _)" | awk '{print length, $0}' | sort -n | head -n1 | cut -d' ' -f2- | xargs cat`
	return strings.TrimSpace(n.mustRun(t, "sh", "-c", find, "sh", string(pod.UID)))
}
