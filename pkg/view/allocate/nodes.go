package allocate

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"example.com/dragoman/pkg/view"
)

// anyNode is the node of slices that name none.
const anyNode = "any-node"

// NodesOf returns the cluster's nodes. Where it has none, because they were not seen or are not in the files, they are
// those that slices name, by name and with nothing but a name; or a single one if slices name none.
func NodesOf(c *view.Cluster) []*corev1.Node {
	if len(c.Nodes) > 0 {
		return c.Nodes
	}
	names := make(map[string]bool)
	for _, s := range c.Slices {
		if s.Spec.NodeName != nil {
			names[*s.Spec.NodeName] = true
		}
		for i := range s.Spec.Devices {
			if name := s.Spec.Devices[i].NodeName; name != nil {
				names[*name] = true
			}
		}
	}
	if len(names) == 0 {
		names[anyNode] = true
	}
	nodes := make([]*corev1.Node, 0, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		nodes = append(nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{corev1.LabelHostname: name},
		}})
	}
	return nodes
}
