package why

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/view"
)

func selects(s *corev1.NodeSelector, n *corev1.Node) (bool, error) {
	return view.Place{Selector: s}.Has(n)
}

// placeOf says in words where an allocation can be used.
func placeOf(s *corev1.NodeSelector) string {
	if s == nil || len(s.NodeSelectorTerms) == 0 {
		return "any node"
	}
	var parts []string
	for _, term := range s.NodeSelectorTerms {
		for _, f := range term.MatchFields {
			if f.Key == "metadata.name" && f.Operator == corev1.NodeSelectorOpIn {
				return "node " + listed(f.Values, mostDetails)
			}
		}
		for _, x := range term.MatchExpressions {
			parts = append(parts, strings.TrimSpace(fmt.Sprintf("%s %s %s", x.Key, x.Operator, strings.Join(x.Values, ","))))
		}
	}
	return "nodes with " + listed(parts, mostDetails)
}

// usedBy says who uses a claim, or nothing if nobody does.
func usedBy(claim *resourceapi.ResourceClaim) string {
	names := consumersOf(claim)
	if len(names) == 0 {
		return ""
	}
	return " (used by " + listed(names, mostDetails) + ")"
}

// consumersOf are those that a claim is reserved for: pods by namespace and name.
func consumersOf(claim *resourceapi.ResourceClaim) []string {
	var names []string
	for _, r := range claim.Status.ReservedFor {
		name := claim.Namespace + "/" + r.Name
		if r.Resource != "pods" {
			name = r.Resource + " " + name
		}
		names = append(names, name)
	}
	return names
}
