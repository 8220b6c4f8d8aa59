package cluster

import (
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/e2e-framework/pkg/types"
)

// groupOfPods is about a claim that belongs to a PodGroup and not to pods.
func groupOfPods() types.Feature {
	const folder, group = "19-group-of-pods", "trainers"
	s := newScene("dragoman-19", 1)
	var claim *resourceapi.ResourceClaim
	return features.New(folder).Setup(s.applied(folder)).
		Assess("all pods of the group have its device", assess(func(t *testing.T) {
			_, claim = s.expectOnlyClaim(t, s.running(t, "trainer0"), "ctr0")
			_, same := s.expectOnlyClaim(t, s.running(t, "trainer1"), "ctr0")
			if claim.UID != same.UID {
				t.Errorf("they have the claims %s and %s", claim.Name, same.Name)
			}
		})).
		Assess("the claim is reserved for the group", assess(func(t *testing.T) {
			reserved := claim.Status.ReservedFor
			if len(reserved) != 1 || reserved[0].Resource != "podgroups" || reserved[0].Name != group {
				t.Errorf("it is reserved for %s", asYAML(reserved))
			}
		})).
		Assess("when one pod goes, the other keeps the device", assess(func(t *testing.T) {
			s.deletePod(t, "trainer0")
			s.expectOnlyClaim(t, s.running(t, "trainer1"), "ctr0")
			s.notRestarted(t, "trainer1")
		})).
		Assess("when the last pod goes, the node has nothing, the group still has the claim", assess(func(t *testing.T) {
			pod := s.running(t, "trainer1")
			s.deletePod(t, "trainer1")
			expectNoFiles(t, node(pod.Spec.NodeName), claim)
			now, err := client.ResourceV1().ResourceClaims(s.namespace).Get(t.Context(), claim.Name, metav1.GetOptions{})
			if err != nil || now.Status.Allocation == nil || len(now.Status.ReservedFor) != 1 {
				t.Errorf("asked for the claim, the API server says %s (%v)", asYAML(now.Status), err)
			}
		})).
		Assess("when the group goes, the claim does", assess(func(t *testing.T) {
			groups := client.SchedulingV1beta1().PodGroups(s.namespace)
			if err := groups.Delete(t.Context(), group, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			s.noClaims(t)
		})).Feature()
}

// noGroupsOfPods is about clusters that have no such groups: their API server says so.
func noGroupsOfPods() types.Feature {
	return features.New("no groups of pods").
		Assess("the API server does not know them", assess(func(t *testing.T) {
			_, err := client.SchedulingV1beta1().PodGroups("default").List(t.Context(), metav1.ListOptions{})
			if !apierrors.IsNotFound(err) {
				t.Errorf("asked for PodGroups, it says: %v", err)
			}
		})).Feature()
}
