package why

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
)

// failedPrepare is the kubelet's event of a pod whose devices cannot be made ready
// (k8s.io/kubernetes/pkg/kubelet/events).
const failedPrepare = "FailedPrepareDynamicResources"

// bound is about a pod that has a node: it got its devices, and the kubelet makes them ready.
func (e *examination) bound(ctx context.Context) {
	e.gotSoFar(ctx)
	node := e.pod.Spec.NodeName
	if e.pod.DeletionTimestamp != nil {
		e.terminating(node)
		return
	}
	if e.pod.Status.Phase == corev1.PodRunning {
		e.say(Running, "runs on node %s", node)
		if len(e.parts) == 0 {
			e.answer.Summary += " and asks for no devices"
		}
		return
	}
	for _, p := range e.parts {
		if p.claim == nil || p.claim.Status.Allocation != nil && resourceclaim.IsReservedForPod(e.pod, p.claim, true) {
			continue
		}
		e.stop(BoundByHand, "ResourceClaim "+key(p.claim),
			"claim %s has no devices for it, because the scheduler was passed over", key(p.claim))
		e.advise("leave spec.nodeName out, and use spec.nodeSelector")
	}
	if len(e.answer.Reasons) == 0 {
		e.kubelet(node)
	}
	e.say(Starting, "starts on node %s%s", node, containersWait(e.pod))
	if len(e.answer.Reasons) > 0 {
		e.say(Waiting, "is on node %s and waits: %s", node, e.answer.Reasons[0].Text)
	}
}

// containersWait says for what the first container waits that is held up by something else than devices.
func containersWait(pod *corev1.Pod) string {
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		w := s.State.Waiting
		if w == nil || w.Reason == "" || w.Reason == "ContainerCreating" || w.Reason == "PodInitializing" {
			continue
		}
		return fmt.Sprintf(", and not for devices it waits: container %s, %s", s.Name, w.Reason)
	}
	return ""
}

func (e *examination) terminating(node string) {
	text := "is being deleted; its devices are given back when its containers have ended"
	e.stop(PodTerminating, "", "%s", text)
	e.say(Waiting, "is on node %s and %s", node, text)
	for _, claim := range e.given() {
		for _, driver := range driversOf(claim) {
			if !e.publishes(driver, node) {
				e.note(DriverNotRegistered, "Node "+node, "driver %s publishes no devices of node %s: %s", driver, node,
					"without it the kubelet cannot give the devices back")
				e.advise("see whether the pod of driver %s runs on node %s", driver, node)
			}
		}
	}
}

// kubelet looks for what the kubelet and the drivers say when devices cannot be made ready.
func (e *examination) kubelet(node string) {
	quotes := firstQuote(e.said("Pod", e.pod.Namespace, e.pod.Name, failedPrepare))
	for _, claim := range e.given() {
		quotes = append(quotes, firstQuote(e.said("ResourceClaim", claim.Namespace, claim.Name))...)
	}
	if len(quotes) == 0 {
		return
	}
	for _, claim := range e.given() {
		for _, driver := range driversOf(claim) {
			if strings.Contains(quotes[0].Text, fmt.Sprintf("DRA driver %s is not registered", driver)) {
				e.stop(DriverNotRegistered, "Node "+node, "driver %s is not registered with the kubelet of node %s", driver, node).
					Quotes = quotes
				e.advise("see whether the pod of driver %s runs: kubectl get pods -A --field-selector spec.nodeName=%s", driver,
					node)
				return
			}
		}
	}
	e.stop(PrepareFailing, "Node "+node, "the devices cannot be made ready on node %s", node).Quotes = quotes
	e.advise("mend what is said above; the kubelet tries again every minute or two")
}

func driversOf(claim *resourceapi.ResourceClaim) []string {
	drivers := make(map[string]bool)
	for _, r := range claim.Status.Allocation.Devices.Results {
		drivers[r.Driver] = true
	}
	return sortedKeys(drivers)
}

// publishes says whether a driver has slices for a node, or for no node in particular.
func (e *examination) publishes(driver, node string) bool {
	if e.blind("resourceslices") {
		return true
	}
	for i := range e.pools {
		if e.pools[i].Driver == driver && (e.pools[i].Node == node || e.pools[i].Node == "") {
			return true
		}
	}
	return false
}
