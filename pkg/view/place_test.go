package view

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
)

func TestADeviceCanBeUsedOnTheNodesOfItsPlace(t *testing.T) {
	nodes := cluster(t, `
apiVersion: v1
kind: Node
metadata: {name: node-a, labels: {rack: r1}}
---
apiVersion: v1
kind: Node
metadata: {name: node-b, labels: {rack: r2}}
`).Nodes
	rack := func(op corev1.NodeSelectorOperator, values ...string) *corev1.NodeSelector {
		return &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "rack", Operator: op, Values: values}},
		}}}
	}
	for name, test := range map[string]struct {
		slice   resourceapi.ResourceSliceSpec
		device  resourceapi.Device
		want    string
		wantErr string
	}{
		"a slice of a node":              {slice: resourceapi.ResourceSliceSpec{NodeName: new("node-b")}, want: "node-b"},
		"a slice of a node that is gone": {slice: resourceapi.ResourceSliceSpec{NodeName: new("node-z")}},
		"a slice of all nodes": {
			slice: resourceapi.ResourceSliceSpec{AllNodes: new(true)}, want: "node-a node-b",
		},
		"a slice of some nodes": {
			slice: resourceapi.ResourceSliceSpec{NodeSelector: rack("In", "r1")}, want: "node-a",
		},
		"a slice of no node":     {slice: resourceapi.ResourceSliceSpec{AllNodes: new(false)}},
		"a slice of a later API": {},
		"a device of a node": {
			slice:  resourceapi.ResourceSliceSpec{PerDeviceNodeSelection: new(true)},
			device: resourceapi.Device{NodeName: new("node-a")}, want: "node-a",
		},
		"a device of some nodes": {
			slice:  resourceapi.ResourceSliceSpec{PerDeviceNodeSelection: new(true)},
			device: resourceapi.Device{NodeSelector: rack("NotIn", "r1")}, want: "node-b",
		},
		"what a device says counts only where the slice leaves it to devices": {
			slice:  resourceapi.ResourceSliceSpec{NodeName: new("node-b"), PerDeviceNodeSelection: new(false)},
			device: resourceapi.Device{AllNodes: new(true)}, want: "node-b",
		},
		"a selector that nobody can read": {
			slice: resourceapi.ResourceSliceSpec{NodeSelector: rack("Near", "r1")}, wantErr: `Unsupported value: "Near"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			place := PlaceOf(&resourceapi.ResourceSlice{Spec: test.slice}, &test.device)
			on, err := place.Nodes(nodes)
			if (err != nil) != (test.wantErr != "") || err != nil && !strings.Contains(err.Error(), test.wantErr) {
				t.Fatalf("error %v, want %q", err, test.wantErr)
			}
			if got := strings.Join(namesInOrder(on), " "); got != test.want {
				t.Errorf("nodes %q, want %q", got, test.want)
			}
			for _, node := range nodes {
				has, err := place.Has(node)
				if want := strings.Contains(test.want, node.Name); has != want || (err != nil) != (test.wantErr != "") {
					t.Errorf("has %s: %t, %v; want %t", node.Name, has, err, want)
				}
			}
		})
	}
}
