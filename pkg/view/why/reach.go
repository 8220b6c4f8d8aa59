package why

import (
	"errors"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/allocate"
)

// fitting are the nodes that the pod could run on, whatever devices they have. The others become a part of the answer
// if devices are there that are asked for.
func (e *examination) fitting() []*corev1.Node {
	if e.pod == nil {
		return e.nodes
	}
	fits := allocate.Fits
	if e.madeUp {
		fits = allocate.MayFit
	}
	var nodes []*corev1.Node
	unfit := make(map[string][]string)
	for _, n := range e.nodes {
		if err := fits(n, e.pod); err != nil {
			unfit[unfitWhy(err)] = append(unfit[unfitWhy(err)], n.Name)
			continue
		}
		nodes = append(nodes, n)
	}
	for _, text := range slices.Sorted(maps.Keys(unfit)) {
		e.answer.Unfit = append(e.answer.Unfit, NodeGroup{Nodes: unfit[text], Text: text})
	}
	if len(nodes) > 0 {
		e.answer.Unfit = e.withDevices(e.answer.Unfit)
	}
	if len(nodes) == 0 && len(e.nodes) > 0 {
		e.stop(PodUnfit, "", "none of %s fits the pod, whatever devices it has", view.Count(len(e.nodes), "node"))
	}
	return nodes
}

// withDevices leaves nodes out that have no devices of their own: nobody waits for them.
func (e *examination) withDevices(groups []NodeGroup) []NodeGroup {
	var left []NodeGroup
	for _, g := range groups {
		g.Nodes = slices.DeleteFunc(g.Nodes, func(n string) bool { return len(e.byNode[n]) == 0 })
		if len(g.Nodes) > 0 {
			left = append(left, g)
		}
	}
	return left
}

func unfitWhy(err error) string {
	if node, ok := errors.AsType[*allocate.NodeError](err); ok {
		return node.Why
	}
	return err.Error()
}

// fits are the nodes that could give all that is asked for.
func (e *examination) fits(nodes []string) {
	e.answer.FitCount = len(nodes)
	e.answer.Fits = nodes[:min(len(nodes), mostFits)]
}

func namesOf(nodes []*corev1.Node) []string {
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	return names
}

// whereGiven are those of the nodes on which the devices can be used that the pod's other claims have, and beyond are
// the others.
func (e *examination) whereGiven(nodes []*corev1.Node) (reach, beyond []*corev1.Node) {
	for _, claim := range e.given() {
		selector := claim.Status.Allocation.NodeSelector
		if selector == nil {
			continue
		}
		var left []*corev1.Node
		for _, n := range nodes {
			if has, err := selects(selector, n); err == nil && has {
				left = append(left, n)
			} else {
				beyond = append(beyond, n)
			}
		}
		if len(left) == 0 && e.madeUp && allocate.AsksForLabels(selector) {
			e.labelsUnknown()
		} else if len(left) == 0 && len(nodes) > 0 {
			e.stop(ClaimElsewhere, "ResourceClaim "+key(claim), "claim %s has its devices on %s, where the pod does not fit%s",
				key(claim), placeOf(selector), usedBy(claim))
			e.advise("let the pod run on %s, or use a claim of its own", placeOf(selector))
		}
		nodes = left
	}
	return nodes, beyond
}
