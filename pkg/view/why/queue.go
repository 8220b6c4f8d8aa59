package why

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
)

// gates notes what keeps the pod from the scheduler.
func (e *examination) gates() {
	if e.pod.DeletionTimestamp != nil {
		e.stop(PodTerminating, "", "the pod is being deleted")
		return
	}
	if len(e.pod.Spec.SchedulingGates) == 0 {
		return
	}
	var names []string
	for _, g := range e.pod.Spec.SchedulingGates {
		names = append(names, g.Name)
	}
	e.stop(SchedulingGated, "", "the scheduler may not look at the pod before its scheduling gates are taken away: %s",
		listed(names, len(names)))
	e.advise("see who sets gate %s: a queue, or an operator, takes it away when it is the pod's turn", names[0])
}

// scheduler notes when no scheduler has answered, though there is nothing that it waits for.
func (e *examination) scheduler() {
	if e.pod == nil || e.blocked || condition(e.pod, corev1.PodScheduled) != nil || slices.ContainsFunc(e.given(),
		func(c *resourceapi.ResourceClaim) bool { return resourceclaim.IsReservedForPod(e.pod, c, true) }) {
		return
	}
	if name := e.pod.Spec.SchedulerName; name != "" && name != corev1.DefaultSchedulerName {
		e.stop(SchedulerUnknown, "", "no scheduler has answered, and the pod is for scheduler %q", name)
		e.advise("see whether scheduler %q runs, or leave spec.schedulerName out", name)
		return
	}
	e.stop(NotAtScheduler, "", "no scheduler has answered yet")
	e.advise("if this lasts, see whether kube-scheduler runs: kubectl get pods -n kube-system -l component=kube-scheduler")
}

// schedulerSays is the scheduler's last answer, if it was no.
func (e *examination) schedulerSays() (Quote, bool) {
	if e.pod == nil {
		return Quote{}, false
	}
	c := condition(e.pod, corev1.PodScheduled)
	if c == nil || c.Status == corev1.ConditionTrue || c.Message == "" {
		return Quote{}, false
	}
	return Quote{From: "scheduler", Reason: c.Reason, Text: oneLine(c.Message), Last: c.LastTransitionTime.Time}, true
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
