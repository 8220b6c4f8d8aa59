package agreement

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/why"
)

// explain asks kubectl-dra why the pod waits, as if it were made already and nobody had done anything for it.
func explain(ctx context.Context, cluster *view.Cluster, pod *corev1.Pod) (why.Answer, error) {
	made := *cluster
	made.Pods = append(slices.Clone(cluster.Pods), pod)
	return why.Pod(ctx, &made, types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name})
}

// explained says in what the explanation differs from the scheduler's answer, or from the simulation.
func (a *answers) explained() error {
	if itCan(&a.reasons) != a.theirs.fits {
		return fmt.Errorf("kubectl-dra why says %s, on %d nodes: it %s\nkube-scheduler says %v", a.reasons.State,
			a.reasons.FitCount, a.reasons.Summary, a.theirs)
	}
	if !a.theirs.fits || asksForNone(&a.reasons) {
		return nil
	}
	fitting := 0
	for _, n := range a.ours.Nodes {
		if n.Fits {
			fitting++
		}
	}
	if a.reasons.FitCount != fitting {
		return fmt.Errorf("kubectl-dra why says that %d nodes fit, %v among them; simulate says %d", a.reasons.FitCount,
			a.reasons.Fits, fitting)
	}
	return nil
}

// itCan says whether an explanation is that the pod waits only for what the test does for it.
func itCan(a *why.Answer) bool {
	if a.State == why.Possible {
		return true
	}
	toCome := func(r why.Reason) bool {
		return r.ID == why.ClaimNotCreated || r.ID == why.NotAtScheduler || r.ID == why.NoDevicesAskedFor
	}
	return a.State == why.Waiting && (a.FitCount > 0 || asksForNone(a)) &&
		!slices.ContainsFunc(a.Reasons, func(r why.Reason) bool { return !toCome(r) })
}

// asksForNone says that there is nothing to explain of devices: so it is with 1.34 and a resource
// deviceclass.resource.kubernetes.io/<class>, which that scheduler does not know.
func asksForNone(a *why.Answer) bool {
	return slices.ContainsFunc(a.Reasons, func(r why.Reason) bool { return r.ID == why.NoDevicesAskedFor })
}
