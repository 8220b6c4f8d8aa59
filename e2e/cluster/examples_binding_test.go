package cluster

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/e2e-framework/pkg/types"
)

const (
	bindingExample = "16-attached-before-binding"
	fabricClass    = "fabric-gpu.example.com"
	attached       = driverName + "/attached"
	attachFailed   = driverName + "/attach-failed"
)

// bindingConditions is about devices that are attached to the node before a pod is bound to it.
func bindingConditions() types.Feature {
	s := newScene("dragoman-16", 1)
	return features.New(bindingExample).
		Setup(s.appliedWithClasses(bindingExample, fabricClass, "broken-"+fabricClass)).
		Assess("the pod is bound when its device is attached", assess(func(t *testing.T) {
			pod := s.running(t, "pod0")
			_, claim := s.expectOnlyClaim(t, pod, "ctr0")
			result := forRequest(t, claim, "gpu")
			if len(result.BindingConditions) != 1 || result.BindingConditions[0] != attached {
				t.Errorf("the device has the binding conditions %v", result.BindingConditions)
			}
			condition := apimeta.FindStatusCondition(statusOf(t, claim, result).Conditions, attached)
			if condition == nil {
				t.Fatalf("the status of the claim is %s", asYAML(claim.Status.Devices))
			}
			bound := boundAt(t, pod)
			if condition.Status != "True" || condition.LastTransitionTime.After(bound.Add(time.Second)) {
				t.Errorf("the pod was bound at %v; the condition is %s", bound, asYAML(condition))
			}
			t.Logf("bound %v after the claim was allocated", bound.Sub(claim.Status.Allocation.AllocationTimestamp.Time))
			s.event(t, "pod0", "BindingConditionsPending")
		})).
		Assess("one that cannot be attached keeps its pod unbound, and says why", assess(func(t *testing.T) {
			s.mustApply(t, bindingExample, "fails")
			s.expectPending(t, "fails", "binding failed")
			pod := s.podNow(t, "fails")
			if pod.Spec.NodeName != "" || pod.Status.Phase != corev1.PodPending {
				t.Errorf("it is %s on node %q", pod.Status.Phase, pod.Spec.NodeName)
			}
			s.expectClaimEvent(t, "fails")
		})).
		Assess("and holds up nobody else", assess(func(t *testing.T) {
			s.create(t, ofClass("another", driverName, ""))
			s.createPod(t, newPod("another", "another"))
			s.expectOnlyClaim(t, s.running(t, "another"), mainContainer)
			s.notRestarted(t, "pod0")
		})).
		Assess("a pod that has gone leaves its device to the next one, which is attached anew", assess(func(t *testing.T) {
			s.deletePod(t, "pod0")
			s.createPod(t, newPod("next", "from-the-fabric"))
			s.expectOnlyClaim(t, s.running(t, "next"), mainContainer)
		})).Feature()
}

// statusOf returns what the status of a claim says of a device.
func statusOf(t *testing.T, claim *resourceapi.ResourceClaim, result result) resourceapi.AllocatedDeviceStatus {
	t.Helper()
	for _, status := range claim.Status.Devices {
		if status.Driver == result.Driver && status.Pool == result.Pool && status.Device == result.Device {
			return status
		}
	}
	t.Fatalf("the status of claim %s says nothing of %s: %s", claim.Name, result.Device, asYAML(claim.Status.Devices))
	return resourceapi.AllocatedDeviceStatus{}
}

// boundAt returns when a pod was bound to its node, to the second.
func boundAt(t *testing.T, pod *corev1.Pod) time.Time {
	t.Helper()
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionTrue {
			return condition.LastTransitionTime.Time
		}
	}
	t.Fatalf("pod %s was not bound: %s", pod.Name, asYAML(pod.Status.Conditions))
	return time.Time{}
}

// expectClaimEvent waits for a warning about the claim of a pod.
func (s *scene) expectClaimEvent(t *testing.T, pod string) {
	t.Helper()
	until(t, "a warning about the claim of pod "+pod, func(ctx context.Context) error {
		about := metav1.ListOptions{FieldSelector: "involvedObject.kind=ResourceClaim,type=" + corev1.EventTypeWarning}
		events, err := client.CoreV1().Events(s.namespace).List(ctx, about)
		if err != nil {
			return err
		}
		for _, event := range events.Items {
			if strings.HasPrefix(event.InvolvedObject.Name, pod+"-") && event.Message != "" {
				t.Logf("%s: %s", event.Reason, event.Message)
				return nil
			}
		}
		return fmt.Errorf("there are %d events of claims", len(events.Items))
	})
}

// bindingConditionsLacking is about such devices where the API server drops the conditions: nobody may get one, since
// pods would start before it is attached.
func bindingConditionsLacking() types.Feature {
	s := newScene("dragoman-16", 1)
	return features.New("no binding conditions").
		Setup(s.appliedWithClasses(bindingExample, fabricClass, "broken-"+fabricClass)).
		Assess("the devices are left out, and the driver says why, once", assess(func(t *testing.T) {
			expectNoType(t, "fabric-gpu")
			expectNoType(t, "broken-fabric-gpu")
			expectOneWarning(t, "DRADeviceBindingConditions")
		})).
		Assess("the pod waits", assess(func(t *testing.T) {
			s.expectPending(t, "pod0", "cannot allocate all claims")
		})).Feature()
}
