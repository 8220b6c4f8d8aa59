package view

import (
	"math"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
)

// Shares is what claims have taken of a device that several may have (KEP-5075), and what is left.
type Shares struct {
	// Percent is how much is taken of the capacity that is scarcest: 1 to 99, or 100 if no claim can have a share any
	// more. -1 if the device has no capacity to share, and so no end.
	Percent int
	// Left is what no claim has of each capacity, never below zero.
	Left map[resourceapi.QualifiedName]resource.Quantity
}

// Full says that no claim can have a share any more.
func (s Shares) Full() bool { return s.Percent >= 100 }

// SharesOf adds up the shares of the uses. The second result is false if the device is for one claim at a time.
func SharesOf(device *resourceapi.Device, uses []Use) (Shares, bool) {
	if !ptr.Deref(device.AllowMultipleAllocations, false) {
		return Shares{}, false
	}
	shares := Shares{Percent: -1, Left: make(map[resourceapi.QualifiedName]resource.Quantity, len(device.Capacity))}
	taken := false
	for name, capacity := range device.Capacity {
		left := capacity.Value.DeepCopy()
		for _, use := range uses {
			if consumed, ok := use.Consumed[name]; ok && use.Shared() {
				left.Sub(consumed)
				taken = taken || consumed.Sign() > 0
			}
		}
		shares.Percent = max(shares.Percent, percentTaken(capacity, left))
		if left.Sign() < 0 {
			left = resource.Quantity{Format: left.Format}
		}
		shares.Left[name] = left
	}
	if taken {
		shares.Percent = max(shares.Percent, 1)
	}
	return shares, true
}

// percentTaken is 100 only if nobody can have any of what is left.
func percentTaken(capacity resourceapi.DeviceCapacity, left resource.Quantity) int {
	if least, open := leastRequest(capacity.RequestPolicy); left.Cmp(least) < 0 || open && left.Sign() <= 0 {
		return 100
	}
	total := capacity.Value.AsApproximateFloat64()
	if total <= 0 {
		return 0
	}
	taken := (total - left.AsApproximateFloat64()) / total
	return min(99, max(0, int(math.Round(100*taken))))
}

// leastRequest is the smallest amount that a claim can have; open says that it is anything above zero.
func leastRequest(policy *resourceapi.CapacityRequestPolicy) (least resource.Quantity, open bool) {
	switch {
	case policy == nil:
		return resource.Quantity{}, true
	case len(policy.ValidValues) > 0:
		return policy.ValidValues[0], false
	case policy.ValidRange != nil && policy.ValidRange.Min != nil:
		return *policy.ValidRange.Min, false
	}
	return resource.Quantity{}, true
}
