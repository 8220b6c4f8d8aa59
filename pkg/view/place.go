package view

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/utils/ptr"
)

// Place says which nodes can use a device: one by name, all of them, or those that a selector selects. The zero Place
// is no node: a slice of a Kubernetes that is newer than this.
type Place struct {
	Node     string
	AllNodes bool
	Selector *corev1.NodeSelector
}

// PlaceOf returns where the device of the slice can be used. Only slices with perDeviceNodeSelection leave that to the
// device.
func PlaceOf(slice *resourceapi.ResourceSlice, device *resourceapi.Device) Place {
	if ptr.Deref(slice.Spec.PerDeviceNodeSelection, false) {
		return Place{
			Node: ptr.Deref(device.NodeName, ""), AllNodes: ptr.Deref(device.AllNodes, false), Selector: device.NodeSelector,
		}
	}
	return Place{
		Node:     ptr.Deref(slice.Spec.NodeName, ""),
		AllNodes: ptr.Deref(slice.Spec.AllNodes, false),
		Selector: slice.Spec.NodeSelector,
	}
}

// Has says whether the node can use the device. The error is that of a selector which cannot be read.
func (p Place) Has(node *corev1.Node) (bool, error) {
	nodes, err := p.Nodes([]*corev1.Node{node})
	return len(nodes) > 0, err
}

// Nodes returns those of the nodes that can use the device, in their order.
func (p Place) Nodes(nodes []*corev1.Node) ([]*corev1.Node, error) {
	has := func(n *corev1.Node) bool { return p.AllNodes || p.Node != "" && n.Name == p.Node }
	if p.Node == "" && !p.AllNodes && p.Selector != nil {
		selector, err := nodeaffinity.NewNodeSelector(p.Selector)
		if err != nil {
			return nil, fmt.Errorf("read the node selector: %w", err)
		}
		has = selector.Match
	}
	return slices.DeleteFunc(slices.Clone(nodes), func(n *corev1.Node) bool { return !has(n) }), nil
}
