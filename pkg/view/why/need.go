package why

import (
	"fmt"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/utils/ptr"
)

// need is one request of a claim, or one choice of a prioritized list.
type need struct {
	claim *resourceapi.ResourceClaim
	// request is the index in the claim; choice that in its list, or -1.
	request, choice int
	name            string
	class           string
	selectors       []resourceapi.DeviceSelector
	all             bool
	count           int64
	admin           bool
	tolerations     []resourceapi.DeviceToleration
	capacity        *resourceapi.CapacityRequirements
}

func needsOf(claim *resourceapi.ResourceClaim) []need {
	var needs []need
	for i := range claim.Spec.Devices.Requests {
		r := &claim.Spec.Devices.Requests[i]
		if e := r.Exactly; e != nil {
			needs = append(needs, need{
				claim: claim, request: i, choice: -1, name: r.Name, class: e.DeviceClassName, selectors: e.Selectors,
				all: e.AllocationMode == resourceapi.DeviceAllocationModeAll, count: max(e.Count, 1),
				admin: ptr.Deref(e.AdminAccess, false), tolerations: e.Tolerations, capacity: e.Capacity,
			})
		}
		for j := range r.FirstAvailable {
			s := &r.FirstAvailable[j]
			needs = append(needs, need{
				claim: claim, request: i, choice: j, name: r.Name + "/" + s.Name, class: s.DeviceClassName,
				selectors: s.Selectors, all: s.AllocationMode == resourceapi.DeviceAllocationModeAll,
				count: max(s.Count, 1), tolerations: s.Tolerations, capacity: s.Capacity,
			})
		}
	}
	return needs
}

// wants says in words what is asked for.
func (n *need) wants() string {
	var b strings.Builder
	switch {
	case n.all:
		b.WriteString("all devices")
	case n.count == 1:
		b.WriteString("1 device")
	default:
		fmt.Fprintf(&b, "%d devices", n.count)
	}
	fmt.Fprintf(&b, " of class %s", n.class)
	if n.capacity != nil && len(n.capacity.Requests) > 0 {
		var parts []string
		for _, name := range sortedKeys(n.capacity.Requests) {
			q := n.capacity.Requests[name]
			parts = append(parts, fmt.Sprintf("%s %s", name, q.String()))
		}
		fmt.Fprintf(&b, " with %s", strings.Join(parts, ", "))
		if n.count > 1 || n.all {
			b.WriteString(" each")
		}
	}
	if n.admin {
		b.WriteString(", with admin access")
	}
	return b.String()
}

// needed is how many devices, 0 for all.
func (n *need) needed() int64 {
	if n.all {
		return 0
	}
	return n.count
}
