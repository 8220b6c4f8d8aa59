package why

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/view"
)

// NotFoundError says that what is asked about is not in the cluster.
type NotFoundError struct {
	Kind string
	Key  types.NamespacedName
}

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("%s %q is not in namespace %q", e.Kind, e.Key.Name, e.Key.Namespace)
}

// examination is one question while it is being answered.
type examination struct {
	*world
	pod    *corev1.Pod // nil for a claim that no pod uses
	parts  []part
	answer Answer
	// blocked says that a reason stands in the way which no devices take away.
	blocked bool
}

// part is one claim of the question.
type part struct {
	// claim exists, or is what a template would make; nil if neither can be known.
	claim *resourceapi.ResourceClaim
	// exists says that the API server has the claim.
	exists bool
}

func examine(c *view.Cluster, kind string, key types.NamespacedName) *examination {
	e := &examination{world: newWorld(c), answer: Answer{Kind: kind, Namespace: key.Namespace, Name: key.Name}}
	e.answer.NotCovered, e.answer.ClaimsUnseen = e.notCovered(), c.Hides("resourceclaims")
	return e
}

// Pod says why the pod waits, or what it got and why. It fails if the cluster has no such pod, with a *NotFoundError,
// or when ctx ends.
func Pod(ctx context.Context, c *view.Cluster, key types.NamespacedName) (Answer, error) {
	e := examine(c, "Pod", key)
	if e.pod = e.world.pod(key); e.pod == nil {
		return Answer{}, &NotFoundError{Kind: "pod", Key: key}
	}
	switch {
	case e.pod.Status.Phase == corev1.PodSucceeded || e.pod.Status.Phase == corev1.PodFailed:
		e.finished()
		return e.answer, nil
	case e.pod.Spec.NodeName != "":
		e.claimsOfPod()
		e.bound(ctx)
		return e.answer, nil
	}
	e.gates()
	e.claimsOfPod()
	if err := e.devices(ctx); err != nil {
		return Answer{}, err
	}
	return e.answer, nil
}

// stop notes a reason that stands in the way whatever devices there are.
func (e *examination) stop(id ReasonID, object, format string, args ...any) *Reason {
	e.blocked = true
	return e.note(id, object, format, args...)
}

// note notes a reason.
func (e *examination) note(id ReasonID, object, format string, args ...any) *Reason {
	e.answer.Reasons = append(e.answer.Reasons, Reason{ID: id, Object: object, Text: fmt.Sprintf(format, args...)})
	return &e.answer.Reasons[len(e.answer.Reasons)-1]
}

// advise proposes what no allocator can try.
func (e *examination) advise(format string, args ...any) {
	r := Remedy{Kind: Do, Text: fmt.Sprintf(format, args...)}
	if !slices.Contains(e.answer.Next, r) {
		e.answer.Next = append(e.answer.Next, r)
	}
}

// say ends the examination.
func (e *examination) say(state State, format string, args ...any) {
	e.answer.State, e.answer.Summary = state, fmt.Sprintf(format, args...)
}

func (e *examination) finished() {
	how := "succeeded"
	if e.pod.Status.Phase == corev1.PodFailed {
		how = "failed"
	}
	e.say(Finished, "has %s and needs no devices any more", how)
	if e.pod.Status.Reason != "" || e.pod.Status.Message != "" {
		e.answer.Summary += fmt.Sprintf(": %s", firstOf(e.pod.Status.Message, e.pod.Status.Reason))
	}
}

func firstOf(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}

// missing are the claims without devices.
func (e *examination) missing() []*resourceapi.ResourceClaim {
	var claims []*resourceapi.ResourceClaim
	for _, p := range e.parts {
		if p.claim != nil && p.claim.Status.Allocation == nil {
			claims = append(claims, p.claim)
		}
	}
	return claims
}

// given are the claims with devices.
func (e *examination) given() []*resourceapi.ResourceClaim {
	var claims []*resourceapi.ResourceClaim
	for _, p := range e.parts {
		if p.claim != nil && p.claim.Status.Allocation != nil {
			claims = append(claims, p.claim)
		}
	}
	return claims
}
