package cluster

import (
	"encoding/json"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apitypes "k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/e2e-framework/pkg/types"
)

// statusRights uses tokens as the driver's pods have them: what each may write into the status of a claim that has a
// device of the worker. Nothing is written: the API server decides, and stops there.
func statusRights() types.Feature {
	s := newScene("e2e-status-rights", 1)
	var claim *resourceapi.ResourceClaim
	device := func(t *testing.T) map[string]any {
		result := forRequest(t, claim, "gpus")
		return map[string]any{"devices": []any{map[string]any{
			"driver": result.Driver, "pool": result.Pool, "device": result.Device,
			"data": map[string]any{"looked": "at"},
		}}}
	}
	forbidden := func(t *testing.T, what string, err error) {
		t.Helper()
		if !isForbidden(err) {
			t.Errorf("%s: the API server says %v", what, err)
		}
	}
	return features.New("a driver writes the status of its own node's devices alone").Setup(s.begin).
		Assess("its token may write that of its own node's device", assess(func(t *testing.T) {
			s.create(t, newTemplate("one", 1))
			s.createPod(t, newPod("pod", "one"))
			claim = s.onlyClaim(t, s.running(t, "pod"))
			if err := s.applyStatus(t, claim, worker, true, device(t)); err != nil {
				t.Errorf("the API server says %v", err)
			}
		})).
		Assess("the token of another node may not, and none that is bound to no pod", assess(func(t *testing.T) {
			forbidden(t, "another node", s.applyStatus(t, claim, controlPlane, true, device(t)))
			forbidden(t, "an unbound token", s.applyStatus(t, claim, worker, false, device(t)))
		})).
		Assess("nobody of them may give the device to somebody else", assess(func(t *testing.T) {
			reserved := map[string]any{"reservedFor": []any{map[string]any{
				"resource": "pods", "name": "somebody", "uid": "b4f5b1d2-0000-4000-8000-000000000000",
			}}}
			forbidden(t, "reservedFor", s.applyStatus(t, claim, worker, true, reserved))
		})).Feature()
}

// applyStatus applies a part of a claim's status with the driver's token, bound to its pod on a node or to nothing. It
// changes nothing.
func (s *scene) applyStatus(
	t *testing.T, claim *resourceapi.ResourceClaim, n node, bound bool, status map[string]any,
) error {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"apiVersion": resourceapi.SchemeGroupVersion.String(), "kind": "ResourceClaim",
		"metadata": map[string]any{"name": claim.Name, "namespace": claim.Namespace, "uid": claim.UID},
		"status":   status,
	})
	if err != nil {
		t.Fatal(err)
	}
	options := metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: "e2e", Force: new(true)}
	_, err = driverAs(t, n, bound).ResourceClaims(claim.Namespace).
		Patch(t.Context(), claim.Name, apitypes.ApplyPatchType, body, options, "status")
	return err
}
