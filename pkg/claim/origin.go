package claim

import (
	"bytes"
	"slices"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
)

// origin is where a user finds a configuration.
type origin struct {
	// source names the object if it is not the claim.
	source string
	// path leads to the configuration in that object.
	path *field.Path
}

// originOf finds out where the entry of status.allocation.devices.config was copied from. If that cannot be told, it
// is the entry itself.
func originOf(c *resourceapi.ResourceClaim, devices []Device, index int) origin {
	configs := c.Status.Allocation.Devices.Config
	switch configs[index].Source {
	case resourceapi.AllocationConfigSourceClaim:
		if i := specIndex(c.Spec.Devices.Config, configs[:index+1]); i >= 0 {
			return origin{path: field.NewPath("spec", "devices", "config").Index(i)}
		}
	case resourceapi.AllocationConfigSourceClass:
		if class := classOf(c, devices, index); class != "" {
			at := 0 // The configurations of a class are copied all and in order.
			for i := range index {
				if configs[i].Source == resourceapi.AllocationConfigSourceClass && classOf(c, devices, i) == class {
					at++
				}
			}
			return origin{source: `DeviceClass "` + class + `"`, path: field.NewPath("spec", "config").Index(at)}
		}
	}
	return origin{path: field.NewPath("status", "allocation", "devices", "config").Index(index)}
}

// specIndex returns the entry of spec.devices.config from which the last one of copied is, -1 if there is none. The
// scheduler copies them in order; it leaves out those for requests that were not chosen, clears the requests of those
// that apply to all, and until Kubernetes 1.34 repeats those that name several requests.
func specIndex(spec []resourceapi.DeviceClaimConfiguration, copied []resourceapi.DeviceAllocationConfiguration) int {
	next, last := 0, -1
	for _, c := range copied {
		if c.Source != resourceapi.AllocationConfigSourceClaim {
			continue
		}
		last = -1
		for i := next; i < len(spec) && last < 0; i++ {
			if sameOpaque(spec[i].Opaque, c.Opaque) &&
				(len(c.Requests) == 0 || slices.Equal(spec[i].Requests, c.Requests)) {
				next, last = i, i
			}
		}
	}
	return last
}

func sameOpaque(a, b *resourceapi.OpaqueDeviceConfiguration) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Driver == b.Driver && bytes.Equal(a.Parameters.Raw, b.Parameters.Raw)
}

// classOf returns the DeviceClass of an entry of status.allocation.devices.config that is from a class, or "" if it
// cannot be told.
func classOf(c *resourceapi.ResourceClaim, devices []Device, index int) string {
	requests := c.Status.Allocation.Devices.Config[index].Requests
	if len(requests) == 0 { // It applies to all, so any will do.
		for _, d := range devices {
			requests = append(requests, d.Result.Request)
		}
	}
	class := ""
	for _, request := range requests {
		found := classOfRequest(c.Spec.Devices.Requests, request)
		if found == "" || class != "" && class != found {
			return ""
		}
		class = found
	}
	return class
}

func classOfRequest(requests []resourceapi.DeviceRequest, ref string) string {
	for _, request := range requests {
		if request.Name != resourceclaim.BaseRequestRef(ref) {
			continue
		}
		if request.Exactly != nil {
			return request.Exactly.DeviceClassName
		}
		for _, sub := range request.FirstAvailable {
			if resourceclaim.CreateSubRequestRef(request.Name, sub.Name) == ref {
				return sub.DeviceClassName
			}
		}
	}
	return ""
}
