package allocate_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"example.com/dragoman/pkg/view/allocate"
)

// A node that is made up has the labels rack and size, and nobody knows which others.
func TestAPodMayFitANodeOfWhichLittleIsKnown(t *testing.T) {
	known := node("a node with rack=1,size=4", "rack", "1", "size", "4")
	required := func(terms ...corev1.NodeSelectorTerm) corev1.PodSpec {
		return corev1.PodSpec{Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: nodesWith(terms...),
		}}}
	}
	for name, c := range map[string]struct {
		spec corev1.PodSpec
		fits bool
	}{
		"that asks for nothing":       {corev1.PodSpec{}, true},
		"that asks for the label":     {corev1.PodSpec{NodeSelector: map[string]string{"rack": "1"}}, true},
		"that asks for another value": {corev1.PodSpec{NodeSelector: map[string]string{"rack": "2"}}, false},
		"that asks for a label nobody knows": {
			corev1.PodSpec{NodeSelector: map[string]string{"zone": "b"}}, true,
		},
		"that has an affinity to the label":     {required(withLabel("rack", corev1.NodeSelectorOpIn, "1", "2")), true},
		"that has an affinity to another value": {required(withLabel("rack", corev1.NodeSelectorOpIn, "2")), false},
		"that has an affinity to one of two values": {
			required(withLabel("rack", corev1.NodeSelectorOpIn, "2"), withLabel("size", corev1.NodeSelectorOpIn, "4")), true,
		},
		"that has an affinity to what nobody knows": {required(withLabel("zone", corev1.NodeSelectorOpIn, "b")), true},
		"that is for another node":                  {corev1.PodSpec{NodeName: "node-b"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := pod("pod")
			p.Spec = c.spec
			if err := allocate.MayFit(known, p); (err == nil) != c.fits {
				t.Errorf("fits: %v, want %t", err, c.fits)
			}
		})
	}
}
