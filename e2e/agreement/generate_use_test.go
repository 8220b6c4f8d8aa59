package agreement

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// inUse gives some of the devices to claims of others.
func (g *generator) inUse() {
	for _, p := range g.pools {
		switch p.kind {
		case whole:
			for _, device := range p.devices {
				if g.chance(15) {
					g.busy(p, device, nil)
				}
			}
		case parts:
			// A single one: several may be more than there is.
			if g.chance(50) {
				g.busy(p, one(g, p.devices...), nil)
			}
		case shared:
			for _, device := range p.devices {
				for i := range one(g, 0, 0, 1, 2) {
					g.busy(p, device, &share{number: i, amount: one(g, "4Gi", "8Gi", "16Gi")})
				}
			}
		}
	}
}

// share is a part of a device that somebody has.
type share struct {
	number int
	amount string
}

// busy makes a claim that has the device, or a share of it.
func (g *generator) busy(p *pool, device resourceapi.Device, s *share) {
	claim := &resourceapi.ResourceClaim{
		ObjectMeta: g.spaced(fmt.Sprintf("%s-busy-%d", g.name, len(g.claims))),
		Spec: resourceapi.ResourceClaimSpec{Devices: resourceapi.DeviceClaim{Requests: []resourceapi.DeviceRequest{{
			Name: "request", Exactly: &resourceapi.ExactDeviceRequest{
				DeviceClassName: "somebody-elses", AllocationMode: resourceapi.DeviceAllocationModeExactCount, Count: 1,
			},
		}}}},
	}
	result := resourceapi.DeviceRequestAllocationResult{
		Request: "request", Driver: p.driver, Pool: p.name, Device: device.Name,
	}
	switch {
	case s != nil:
		result.ShareID = new(types.UID(fmt.Sprintf("00000000-0000-0000-0000-%012d", s.number)))
		result.ConsumedCapacity = map[resourceapi.QualifiedName]resource.Quantity{memory: quantity(s.amount)}
	case g.chance(10):
		// Whoever only looks at a device does not use it.
		claim.Spec.Devices.Requests[0].Exactly.AdminAccess = new(true)
		result.AdminAccess = new(true)
	}
	claim.Status.Allocation = &resourceapi.AllocationResult{
		Devices: resourceapi.DeviceAllocationResult{Results: []resourceapi.DeviceRequestAllocationResult{result}},
	}
	reserved(claim, claim.Name+"-pod")
	g.claims = append(g.claims, claim)
}

// sharedClaim makes a claim of the pod one that another pod has got already: it is somewhere, or everywhere.
func (g *generator) sharedClaim(claim *resourceapi.ResourceClaim) {
	request := claim.Spec.Devices.Requests[0]
	result := resourceapi.DeviceRequestAllocationResult{
		Request: request.Name, Driver: g.name + "-elsewhere.example.com", Pool: "pool", Device: "device",
	}
	if request.Exactly == nil {
		result.Request += "/" + request.FirstAvailable[0].Name
	}
	claim.Status.Allocation = &resourceapi.AllocationResult{
		Devices: resourceapi.DeviceAllocationResult{Results: []resourceapi.DeviceRequestAllocationResult{result}},
	}
	// A scheduler without binding conditions sets none; one with them adds it for the next pod, and may not.
	if g.has.old || g.chance(85) {
		claim.Status.Allocation.AllocationTimestamp = &metav1.Time{Time: time.Unix(1_700_000_000, 0)}
	}
	if node := one(g, g.nodes...); g.chance(80) {
		claim.Status.Allocation.NodeSelector = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchFields: []corev1.NodeSelectorRequirement{{
				Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{node.Name},
			}},
		}}}
	}
	reserved(claim, claim.Name+"-pod")
}
