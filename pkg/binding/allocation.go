package binding

import (
	"fmt"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// deviceKey tells the results of one driver in a claim apart.
type deviceKey struct{ pool, device, share string }

func keyOf(r resourceapi.DeviceRequestAllocationResult) deviceKey {
	return deviceKey{r.Pool, r.Device, string(ptr.Deref(r.ShareID, ""))}
}

// conditional returns the results of the driver for which the scheduler waits with binding.
func conditional(c *resourceapi.ResourceClaim, driverName string) []resourceapi.DeviceRequestAllocationResult {
	if c.Status.Allocation == nil {
		return nil
	}
	var results []resourceapi.DeviceRequestAllocationResult
	for _, r := range c.Status.Allocation.Devices.Results {
		if r.Driver == driverName && len(r.BindingConditions) > 0 {
			results = append(results, r)
		}
	}
	return results
}

// allocationOf identifies an allocation of a claim as far as this room is concerned, "" if it is none. Two with the
// same devices in the same second are told apart by the event between them.
func allocationOf(c *resourceapi.ResourceClaim, driverName string) string {
	results := conditional(c, driverName)
	if len(results) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d", c.UID, ptr.Deref(c.Status.Allocation.AllocationTimestamp, metav1.Time{}).Unix())
	for _, r := range results {
		fmt.Fprintf(&b, " %s/%s/%s", r.Pool, r.Device, ptr.Deref(r.ShareID, ""))
	}
	return b.String()
}

// conditionsOf returns those conditions in the status of the device of r that the scheduler waits for.
func conditionsOf(c *resourceapi.ResourceClaim, r resourceapi.DeviceRequestAllocationResult) []metav1.Condition {
	var found []metav1.Condition
	for _, status := range c.Status.Devices {
		if status.Driver != r.Driver || status.Pool != r.Pool || status.Device != r.Device ||
			ptr.Deref(status.ShareID, "") != string(ptr.Deref(r.ShareID, "")) {
			continue
		}
		for _, types := range [][]string{r.BindingConditions, r.BindingFailureConditions} {
			for _, t := range types {
				if condition := meta.FindStatusCondition(status.Conditions, t); condition != nil {
					found = append(found, *condition)
				}
			}
		}
	}
	return found
}

// failed says whether one of the conditions says that the device will not be ready.
func failed(conditions []metav1.Condition, r resourceapi.DeviceRequestAllocationResult) bool {
	for _, t := range r.BindingFailureConditions {
		if meta.IsStatusConditionTrue(conditions, t) {
			return true
		}
	}
	return false
}

// attached says whether all conditions say that the device is ready.
func attached(conditions []metav1.Condition, r resourceapi.DeviceRequestAllocationResult) bool {
	for _, t := range r.BindingConditions {
		if !meta.IsStatusConditionTrue(conditions, t) {
			return false
		}
	}
	return true
}

// trimmed returns a transformation that leaves of claims what this room reads: the claims of a cluster are many, and
// most are of no concern here.
func trimmed(driverName string) func(any) (any, error) {
	return func(object any) (any, error) {
		c, ok := object.(*resourceapi.ResourceClaim)
		if !ok {
			return object, nil
		}
		kept := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{
			Namespace: c.Namespace, Name: c.Name, UID: c.UID, ResourceVersion: c.ResourceVersion,
		}}
		results := conditional(c, driverName)
		if len(results) == 0 {
			return kept, nil
		}
		kept.Status.Allocation = &resourceapi.AllocationResult{
			Devices:             resourceapi.DeviceAllocationResult{Results: results},
			AllocationTimestamp: c.Status.Allocation.AllocationTimestamp,
		}
		for _, d := range c.Status.Devices {
			if d.Driver == driverName {
				kept.Status.Devices = append(kept.Status.Devices, resourceapi.AllocatedDeviceStatus{
					Driver: d.Driver, Pool: d.Pool, Device: d.Device, ShareID: d.ShareID, Conditions: d.Conditions,
				})
			}
		}
		return kept, nil
	}
}
