package view

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// nodeSet is which of the seen nodes a selector selects.
type nodeSet map[string]bool

// where returns the place in the words of a listing.
func (l *lister) where(p Place) Where {
	switch {
	case p.Node != "":
		return Where{Node: p.Node}
	case l.cluster.Hides("nodes") || len(l.cluster.Nodes) == 0: // files often have none, and clusters always some
		return Where{AllNodes: p.AllNodes}
	}
	n := len(l.cluster.Nodes)
	if !p.AllNodes {
		n = len(l.selectedNodes(p.Selector))
	}
	return Where{AllNodes: p.AllNodes, NodeCount: &n}
}

// has says whether the node is one that the place's selector selects, or may be, where no nodes were seen.
func (l *lister) has(p Place, node string) bool {
	if p.Selector != nil && len(l.cluster.Nodes) == 0 {
		l.problems = append(l.problems, fmt.Sprintf("devices for nodes with certain labels are listed, because the labels "+
			"of node %s were not seen: it may not be one of them", node))
		return true
	}
	return l.selectedNodes(p.Selector)[node]
}

func (l *lister) selectedNodes(s *corev1.NodeSelector) nodeSet {
	if s == nil {
		return nil
	}
	if set, known := l.nodes[s]; known {
		return set
	}
	set := make(nodeSet)
	nodes, err := Place{Selector: s}.Nodes(l.cluster.Nodes)
	if err != nil {
		l.problems = append(l.problems, "a slice or device with a node selector: "+err.Error())
	}
	for _, n := range nodes {
		set[n.Name] = true
	}
	l.nodes[s] = set
	return set
}

// naturally compares names so that numbers in them count: gpu-2 comes before gpu-10.
func naturally(a, b string) int {
	for a != "" && b != "" {
		x, y := leadingNumber(a), leadingNumber(b)
		if x != "" && y != "" {
			if c := compareNumbers(x, y); c != 0 {
				return c
			}
			a, b = a[len(x):], b[len(y):]
			continue
		}
		if a[0] != b[0] {
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
	return len(a) - len(b)
}

func leadingNumber(s string) string {
	return s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
}

func compareNumbers(a, b string) int {
	x, y := strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if len(x) != len(y) {
		return len(x) - len(y)
	}
	if c := strings.Compare(x, y); c != 0 {
		return c
	}
	return len(a) - len(b)
}
