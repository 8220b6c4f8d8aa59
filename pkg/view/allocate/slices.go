package allocate

import (
	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/view"
)

// tainted returns the slices with the taints that rules add (k8s.io/dynamic-resource-allocation/resourceslice/tracker).
// Slices without such a device are the cluster's own.
func tainted(c *view.Cluster) []*resourceapi.ResourceSlice {
	if len(c.TaintRules) == 0 {
		return c.Slices
	}
	patched := make([]*resourceapi.ResourceSlice, 0, len(c.Slices))
	for _, s := range c.Slices {
		patched = append(patched, taintedSlice(c, s))
	}
	return patched
}

func taintedSlice(c *view.Cluster, s *resourceapi.ResourceSlice) *resourceapi.ResourceSlice {
	copied := s
	for i := range s.Spec.Devices {
		d := &s.Spec.Devices[i]
		taints := c.Taints(s.Spec.Driver, s.Spec.Pool.Name, d)
		if len(taints) == len(d.Taints) {
			continue
		}
		if copied == s {
			copied = s.DeepCopy()
		}
		for _, t := range taints[len(d.Taints):] {
			copied.Spec.Devices[i].Taints = append(copied.Spec.Devices[i].Taints, t.DeviceTaint)
		}
	}
	return copied
}
