package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/e2e-framework/pkg/types"
)

// implicitName is what a DeviceClass is called in the limits of containers without anybody naming it.
const implicitName = corev1.ResourceName(resourceapi.ResourceDeviceClassPrefix + driverName)

// withLimit is a pod that asks for one device as if it were an extended resource.
func withLimit(name string, resourceName corev1.ResourceName) *corev1.Pod {
	pod := newPod(name, "")
	pod.Spec.ResourceClaims = nil
	one := corev1.ResourceList{resourceName: resource.MustParse("1")}
	pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: one, Limits: one}
	return pod
}

// claimOfLimits returns the claim that the scheduler made for a pod with extended resources.
func (s *scene) claimOfLimits(t *testing.T, pod *corev1.Pod) *resourceapi.ResourceClaim {
	t.Helper()
	status := pod.Status.ExtendedResourceClaimStatus
	if status == nil {
		t.Fatalf("the status of pod %s names no claim for its extended resources", pod.Name)
	}
	claims := client.ResourceV1().ResourceClaims(s.namespace)
	claim, err := claims.Get(t.Context(), status.ResourceClaimName, metav1.GetOptions{})
	if err != nil {
		t.Fatalf("get the claim of pod %s's extended resources: %v", pod.Name, err)
	}
	return claim
}

// implicitExtendedResource is about a class that has no name for limits, used by that which it has anyway.
func implicitExtendedResource() types.Feature {
	s := newScene("e2e-implicit-name", 1)
	return features.New("an extended resource by the name of its DeviceClass").Setup(s.begin).
		Assess("a limit of "+string(implicitName)+" is a device, without a claim in the pod", assess(func(t *testing.T) {
			s.createPod(t, withLimit("pod", implicitName))
			pod := s.running(t, "pod")
			claim := s.claimOfLimits(t, pod)
			seen := s.look(t, "pod", mainContainer)
			seen.expect(t, claim, allocated(t, claim)...)
			if len(seen.devices()) != 1 {
				t.Errorf("the container has devices %v", seen.devices())
			}
		})).
		Assess("with the pod goes all of it", assess(func(t *testing.T) {
			s.deletePod(t, "pod")
			s.noClaims(t)
		})).Feature()
}

// noImplicitExtendedResource is about releases that do not know that name: nothing is given, nor left behind.
func noImplicitExtendedResource() types.Feature {
	s := newScene("e2e-implicit-name", 1)
	return features.New("no extended resource by the name of its DeviceClass").Setup(s.begin).
		Assess("the pod has no device", assess(func(t *testing.T) {
			s.createPod(t, withLimit("pod", implicitName))
			if !gateOn("DRAExtendedResource") {
				s.expectPending(t, "pod", string(implicitName))
				return
			}
			s.running(t, "pod") // this release takes the name for one of its own, and asks nobody for it
			if seen := s.look(t, "pod", mainContainer); len(seen.devices()) > 0 {
				t.Errorf("the container has devices %v", seen.devices())
			}
		})).Feature()
}

// expectPending waits until the scheduler says that there is no node for a pod, for a reason that holds the word.
func (s *scene) expectPending(t *testing.T, name, word string) {
	t.Helper()
	until(t, "the scheduler finds no node for pod "+name, func(ctx context.Context) error {
		pod, err := client.CoreV1().Pods(s.namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
				if strings.Contains(condition.Message, word) {
					return nil
				}
				return fmt.Errorf("it says %q, not %q", condition.Message, word)
			}
		}
		return errors.New("it says nothing yet")
	})
}
