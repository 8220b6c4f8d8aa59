package main

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/allocate"
	"example.com/dragoman/pkg/view/why"
)

// why says why the object does not get its devices in the cluster as it is by then.
func (w *wanted) why(ctx context.Context, c *view.Cluster) (*why.Answer, error) {
	var answer why.Answer
	var err error
	if w.question.Pod != nil {
		waiting, key := withPendingPod(c, w.question.Pod)
		answer, err = why.Pod(ctx, waiting, key)
	} else {
		waiting, key := withPendingClaim(c, w.question.Claims[0])
		answer, err = why.Claim(ctx, waiting, key)
		answer.Reasons = slices.DeleteFunc(answer.Reasons, func(r why.Reason) bool { return r.ID == why.ClaimUnused })
	}
	return &answer, err
}

// explain adds to an answer that is not yes what "why" says.
func (w *wanted) explain(ctx context.Context, c *view.Cluster, o *simulatedObject) error {
	answer, err := w.why(ctx, c)
	if err != nil {
		return err
	}
	o.Why, o.CannotTell = answer, answer.State == why.Unknown
	if len(o.Placements) > 0 { // the others of its kind have what it wants, and they are not there
		own := w.namespace + "/" + w.name
		answer.Next = slices.DeleteFunc(answer.Next, func(r why.Remedy) bool {
			return r.Kind == why.WaitFor && strings.Contains(r.Text, own)
		})
	}
	return nil
}

// withPendingPod is the cluster a moment after somebody created the pod: its claims are made, no gate holds it back any
// more, and a scheduler has looked at it. Which one, and whether there is one, nobody asked.
func withPendingPod(c *view.Cluster, pod *corev1.Pod) (*view.Cluster, types.NamespacedName) {
	pod = pod.DeepCopy()
	pod.UID = "simulated"
	pod.Spec.SchedulingGates = nil
	pod.Status.Phase = corev1.PodPending
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse}}
	waiting := *c
	claims, _ := allocate.PodClaims(c, pod) // what is wrong with the others, why finds as well
	waiting.Claims = slices.Clone(c.Claims)
	for _, p := range claims {
		if !p.Made || p.Entry == "" {
			continue
		}
		made := p.Claim.DeepCopy()
		made.OwnerReferences = []metav1.OwnerReference{
			{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID, Controller: new(true)},
		}
		waiting.Claims = append(waiting.Claims, made)
		pod.Status.ResourceClaimStatuses = append(pod.Status.ResourceClaimStatuses,
			corev1.PodResourceClaimStatus{Name: p.Entry, ResourceClaimName: new(made.Name)})
	}
	waiting.Pods = slices.DeleteFunc(slices.Clone(c.Pods), func(o *corev1.Pod) bool {
		return o.Name == pod.Name && o.Namespace == pod.Namespace
	})
	waiting.Pods = append(waiting.Pods, pod)
	return &waiting, types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
}

// withPendingClaim is the cluster with the claim, which it has already if the claim does not come from a template.
func withPendingClaim(c *view.Cluster, claim *resourceapi.ResourceClaim) (*view.Cluster, types.NamespacedName) {
	waiting := *c
	if !slices.Contains(c.Claims, claim) {
		waiting.Claims = append(slices.Clone(c.Claims), claim)
	}
	return &waiting, types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name}
}

// writeWhy writes what "why" would, without its first line.
func (c *simulateCommand) writeWhy(page *screen, a *why.Answer) {
	w := &whyScreen{page}
	rest := *a
	rest.Summary = "" // the verdict stands for it
	rest.Next = slices.DeleteFunc(slices.Clone(a.Next), func(r why.Remedy) bool {
		return r.Kind == why.WaitFor && c.machines != "" // nothing ends there
	})
	w.reasons(rest)
	for _, r := range rest.Requests {
		w.request(r)
	}
	w.notes("Together:", rest.Joint)
	w.unfit(rest)
	w.next(rest)
}
