package cluster

import (
	"testing"

	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/e2e-framework/pkg/types"
)

const extendedExample = "15-extended-resource"

// extendedResource is about a pod that names no claim, only limits.
func extendedResource() types.Feature {
	s := newScene("dragoman-15", 1)
	return features.New(extendedExample).Setup(s.applied(extendedExample)).
		Assess("the container with the limit has one device, by a claim of the scheduler", assess(func(t *testing.T) {
			pod := s.running(t, "pod0")
			claim := s.claimOfLimits(t, pod)
			seen := s.look(t, "pod0", "ctr0")
			seen.expect(t, claim, allocated(t, claim)...)
			if len(seen.devices()) != 1 {
				t.Errorf("it has devices %v", seen.devices())
			}
			s.expectLog(t, "pod0", "ctr0", seen)
			expectFiles(t, node(pod.Spec.NodeName), claim)
		})).
		Assess("the one without has none", assess(func(t *testing.T) {
			if seen := s.look(t, "pod0", "without"); len(seen.devices())+len(seen.nodes)+len(seen.files) > 0 {
				t.Errorf("it has %+v", seen)
			}
			s.logs(t, s.namespace, "pod0", "without", "no device")
		})).
		Assess("the claim goes with the pod", assess(func(t *testing.T) {
			s.deletePod(t, "pod0")
			s.noClaims(t)
		})).Feature()
}

// extendedResourceLacking is the same pod where no class can have a name for limits: it waits for such a resource.
func extendedResourceLacking() types.Feature {
	s := newScene("dragoman-15", 1)
	return features.New("no extended resources").Setup(s.applied(extendedExample)).
		Assess("the pod waits", assess(func(t *testing.T) {
			s.expectPending(t, "pod0", extendedResourceName)
		})).Feature()
}
