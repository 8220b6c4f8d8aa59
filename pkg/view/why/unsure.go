package why

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/view/allocate"
)

// unsure says so when a no of nodes that are made up may be the yes of one that could not be seen: who can use some of
// the devices is a matter of labels.
func (e *examination) unsure(
	ctx context.Context, s situation, v allocate.Verdict, fitting []*corev1.Node,
) (bool, error) {
	if !e.madeUp || len(e.Slices) == 0 || v.Failed != nil && e.isNamed(v.Failed.Node) {
		return false, nil
	}
	changed, asks := allocate.WithAnyLabels(e.Cluster)
	if !asks {
		return false, nil
	}
	if v.Failed == nil && !slices.ContainsFunc(s.claims, asksForAll) {
		s.cluster, s.nodes, s.beyond = changed, e.inReachOfNames(fitting), nil
		v, err := s.ask(ctx, true)
		if err != nil || len(v.Yes) == 0 {
			return false, err
		}
	}
	e.labelsUnknown()
	return true, nil
}

// isNamed says that somebody names the node, or that it stands for all: it is not there for its labels only.
func (e *examination) isNamed(node string) bool {
	return slices.ContainsFunc(e.nodes, func(n *corev1.Node) bool {
		_, named := n.Labels[corev1.LabelHostname]
		return n.Name == node && (named || len(n.Labels) == 0)
	})
}

// labelsUnknown says that nodes would have to be seen.
func (e *examination) labelsUnknown() {
	const text = "which nodes can use some of the devices depends on the labels of nodes, %s"
	if slices.ContainsFunc(e.answer.Reasons, func(r Reason) bool { return r.ID == CannotTell && r.Object == "nodes" }) {
		return
	}
	why := "and no nodes were given"
	if e.blind("nodes") {
		why = "and the nodes could not be seen" + e.takes("nodes")
	}
	e.stop(CannotTell, "nodes", text, why)
	if e.blind("nodes") {
		e.advise("have this asked by somebody who may list nodes, or get that right")
	} else {
		e.advise("add the nodes to what is looked at: kubectl get nodes -o yaml")
	}
}

func asksForAll(claim *resourceapi.ResourceClaim) bool {
	return slices.ContainsFunc(needsOf(claim), func(n need) bool { return n.all })
}

// inReachOfNames are those of the nodes that the pod's claims with devices allow, where that can be told by names.
func (e *examination) inReachOfNames(nodes []*corev1.Node) []*corev1.Node {
	for _, claim := range e.given() {
		selector := claim.Status.Allocation.NodeSelector
		if selector == nil || allocate.AsksForLabels(selector) {
			continue
		}
		nodes = slices.DeleteFunc(slices.Clone(nodes), func(n *corev1.Node) bool {
			has, err := selects(selector, n)
			return err != nil || !has
		})
	}
	return nodes
}
