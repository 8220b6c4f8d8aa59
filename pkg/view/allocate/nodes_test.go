package allocate_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/allocate"
)

func nodesWith(terms ...corev1.NodeSelectorTerm) *corev1.NodeSelector {
	return &corev1.NodeSelector{NodeSelectorTerms: terms}
}

func withLabel(key string, operator corev1.NodeSelectorOperator, values ...string) corev1.NodeSelectorTerm {
	return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{
		{Key: key, Operator: operator, Values: values},
	}}
}

func TestNodesAreMadeUpOfWhatIsKnownOfThem(t *testing.T) {
	forNodes := func(s *corev1.NodeSelector) *resourceapi.ResourceSlice {
		slice := onNode("x", devices(1)...)
		slice.Spec.NodeName, slice.Spec.NodeSelector = nil, s
		return slice
	}
	forAll := forNodes(nil)
	forAll.Spec.AllNodes = new(true)
	perDevice := onNode("x", devices(2)...)
	perDevice.Spec.NodeName, perDevice.Spec.PerDeviceNodeSelection = nil, new(true)
	perDevice.Spec.Devices[0].NodeName = new("node-a")
	perDevice.Spec.Devices[1].NodeSelector = nodesWith(withLabel("rack", corev1.NodeSelectorOpIn, "1"))
	claim := held("held", "node-h", "gpu-0")
	running := pod("pod")
	running.Spec.NodeName = "node-p"
	for name, c := range map[string]struct {
		cluster view.Cluster
		want    []string
	}{
		"nothing":        {view.Cluster{}, []string{"any node"}},
		"nodes that are": {view.Cluster{Nodes: []*corev1.Node{node("b"), node("a")}}, []string{"b", "a"}},
		"names of slices": {
			view.Cluster{Slices: []*resourceapi.ResourceSlice{onNode("b"), onNode("a")}}, []string{"a", "b"},
		},
		"a claim with names": {view.Cluster{Claims: []*resourceapi.ResourceClaim{claim}}, []string{"node-h"}},
		"a pod on a node":    {view.Cluster{Pods: []*corev1.Pod{running}}, []string{"node-p"}},
		"devices of their own places": {
			view.Cluster{Slices: []*resourceapi.ResourceSlice{perDevice}}, []string{"node-a", "a node with rack=1"},
		},
		"all nodes, none of which has a name": {
			view.Cluster{Slices: []*resourceapi.ResourceSlice{forAll}}, []string{"any node"},
		},
		"all nodes, one of which has a name": {
			view.Cluster{Slices: []*resourceapi.ResourceSlice{forAll, onNode("a")}}, []string{"a"},
		},
		"labels, some of them twice": {
			view.Cluster{Slices: []*resourceapi.ResourceSlice{
				forNodes(nodesWith(withLabel("rack", corev1.NodeSelectorOpIn, "1", "2"))),
				forNodes(nodesWith(withLabel("rack", corev1.NodeSelectorOpIn, "1"))),
				forNodes(nodesWith(withLabel("nic", corev1.NodeSelectorOpExists), withLabel("size", corev1.NodeSelectorOpGt, "4"))),
				forNodes(nodesWith(withLabel("size", corev1.NodeSelectorOpLt, "4"))),
			}}, []string{"a node with nic=any", "a node with rack=1", "a node with size=3", "a node with size=5"},
		},
		"labels that are missing": {
			view.Cluster{Slices: []*resourceapi.ResourceSlice{
				forNodes(nodesWith(withLabel("old", corev1.NodeSelectorOpDoesNotExist))),
				forNodes(nodesWith(withLabel("rack", corev1.NodeSelectorOpNotIn, "1"))),
			}}, []string{"any node"},
		},
		"the label that is a name": {
			view.Cluster{Slices: []*resourceapi.ResourceSlice{
				onNode("a"), forNodes(nodesWith(withLabel(corev1.LabelHostname, corev1.NodeSelectorOpIn, "a"))),
			}}, []string{"a"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var names []string
			for _, n := range allocate.NodesOf(&c.cluster) {
				names = append(names, n.Name)
			}
			if !slices.Equal(names, c.want) {
				t.Errorf("%q, want %q", names, c.want)
			}
			for _, s := range c.cluster.Slices {
				if s.Spec.NodeSelector == nil {
					continue
				}
				nodes, err := view.Place{Selector: s.Spec.NodeSelector}.Nodes(allocate.NodesOf(&c.cluster))
				if err != nil || len(nodes) == 0 {
					t.Errorf("selector %v selects none of %q, error %v", s.Spec.NodeSelector, names, err)
				}
			}
		})
	}
}
