package view_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"example.com/dragoman/pkg/view"
)

func TestWhichResourcesMayBeDevices(t *testing.T) {
	for name, c := range map[string]struct {
		resource      corev1.ResourceName
		extended, may bool
	}{
		"a vendor's":                          {"gpu.example.com/gpu", true, true},
		"one that a class has by its name":    {"deviceclass.resource.kubernetes.io/gpu.example.com", false, true},
		"processors":                          {"cpu", false, false},
		"huge pages":                          {"hugepages-2Mi", false, false},
		"a native one with its domain":        {"kubernetes.io/batch-cpu", false, false},
		"one of a part of Kubernetes":         {"node.kubernetes.io/gpu", false, false},
		"one whose domain ends like it":       {"mykubernetes.io/gpu", false, false}, // so does the API server
		"a quota":                             {"requests.example.com/gpu", false, false},
		"one with an empty name":              {"example.com/", false, false},
		"one with two slashes":                {"example.com/a/b", false, false},
		"one that is too long as a quota too": {corev1.ResourceName("example.com/" + strings.Repeat("a", 64)), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			if extended := view.IsExtendedResource(c.resource); extended != c.extended {
				t.Errorf("%s is an extended resource: %t", c.resource, extended)
			}
			if may := view.MayBeDevices(c.resource); may != c.may {
				t.Errorf("%s may be devices: %t", c.resource, may)
			}
		})
	}
}
