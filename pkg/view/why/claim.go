package why

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/view"
)

// Claim says why the claim has no devices, or what it got and why. It fails if the cluster has no such claim, with a
// *NotFoundError, or when ctx ends.
//
// A claim gets its devices when a pod that uses it is scheduled, so only nodes that fit such a pod come into question,
// if there is one.
func Claim(ctx context.Context, c *view.Cluster, key types.NamespacedName) (Answer, error) {
	e := examine(c, "ResourceClaim", key)
	claim := e.claim(key.Namespace, key.Name)
	if claim == nil {
		return Answer{}, &NotFoundError{Kind: "claim", Key: key}
	}
	e.parts = []part{{claim: claim, exists: true}}
	users := e.usersOf(claim)
	if len(users) > 0 && claim.Status.Allocation == nil {
		e.pod = users[0]
	}
	if claim.DeletionTimestamp != nil {
		e.stop(ClaimBeingDeleted, "", "it is being deleted%s", holdsBack(claim))
	}
	if claim.Status.Allocation != nil {
		e.gotSoFar(ctx)
		e.allocated(claim)
		return e.answer, nil
	}
	if len(users) == 0 {
		e.note(ClaimUnused, "", "no pod uses it, and a claim gets devices when a pod that uses it is scheduled")
	}
	if e.pod != nil {
		e.gates()
	}
	if err := e.devices(ctx); err != nil {
		return Answer{}, err
	}
	return e.answer, nil
}

// usersOf are the pods that name the claim and have not ended, those without a node first.
func (e *examination) usersOf(claim *resourceapi.ResourceClaim) []*corev1.Pod {
	var waiting, placed []*corev1.Pod
	for _, p := range e.Pods {
		if p.Namespace != claim.Namespace || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed ||
			!uses(p, claim.Name) {
			continue
		}
		if p.Spec.NodeName == "" {
			waiting = append(waiting, p)
		} else {
			placed = append(placed, p)
		}
	}
	return append(waiting, placed...)
}

func uses(p *corev1.Pod, claim string) bool {
	for _, entry := range p.Spec.ResourceClaims {
		if entry.ResourceClaimName != nil && *entry.ResourceClaimName == claim {
			return true
		}
	}
	for _, made := range p.Status.ResourceClaimStatuses {
		if made.ResourceClaimName != nil && *made.ResourceClaimName == claim {
			return true
		}
	}
	return p.Status.ExtendedResourceClaimStatus != nil && p.Status.ExtendedResourceClaimStatus.ResourceClaimName == claim
}

func (e *examination) allocated(claim *resourceapi.ResourceClaim) {
	n := len(claim.Status.Allocation.Devices.Results)
	place := placeOf(claim.Status.Allocation.NodeSelector)
	names := consumersOf(claim)
	switch {
	case len(names) > 0:
		e.say(Running, "has %s on %s, used by %s", view.Count(n, "device"), place, listed(names, mostDetails))
	default:
		e.say(Running, "has %s on %s, and no pod uses it now", view.Count(n, "device"), place)
		e.advise("delete the claim if nobody needs it any more: it keeps its devices from others")
	}
	if claim.DeletionTimestamp != nil {
		e.answer.Summary += "; it is being deleted" + holdsBack(claim)
	}
}
