package status

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
	resourceapply "k8s.io/client-go/applyconfigurations/resource/v1"
	"k8s.io/utils/ptr"

	"example.com/dragoman/pkg/device"
)

// The types of the conditions that this package writes, and their reasons.
const (
	Ready   = "Ready"   // the device is set up for the claim
	Healthy = "Healthy" // it can be used

	reasonPrepared  = "Prepared"
	reasonHealthy   = "Healthy"
	reasonUnhealthy = "Unhealthy"
	reasonGone      = "Gone"
)

const (
	// maxMessage is how many bytes of a reason are shown; the API takes 32 KiB, people a few lines.
	maxMessage = 1024
	// goneMessage is what is said of a device that the node has not any more.
	goneMessage = "the driver does not see the device on the node any more"
)

// Device is a device that is set up for a claim.
type Device struct {
	Pool, Device string
	ShareID      *types.UID
	// CDIDeviceIDs are what containers get it by.
	CDIDeviceIDs []string
	// Health is how it was seen last; nil if the node does not have it.
	Health *device.Health
	// Network and Data are shown as they are. They are what the API accepts, or nil.
	Network *resourceapi.NetworkDeviceData
	Data    json.RawMessage
}

// key is what the API tells entries apart by.
type key struct{ driver, pool, device, share string }

func keyOf(e resourceapi.AllocatedDeviceStatus) key {
	return key{e.Driver, e.Pool, e.Device, ptr.Deref(e.ShareID, "")}
}

// entries are what the status of a claim is to show. Of what it shows now, times of transitions are kept, and no
// condition is added for which others left no room. A device that is not allocated to the claim has no entry, because
// the API would refuse all; nor has one of another node, which is for the driver there to show.
func (w *Writer) entries(
	devices []Device, now resourceapi.ResourceClaimStatus, at metav1.Time,
) []resourceapi.AllocatedDeviceStatus {
	var all []resourceapi.AllocatedDeviceStatus
	known := make(map[key]bool, len(devices))
	for _, d := range devices {
		e := resourceapi.AllocatedDeviceStatus{Driver: w.o.DriverName, Pool: d.Pool, Device: d.Device,
			ShareID: (*string)(d.ShareID), NetworkData: d.Network}
		if e.Pool != w.o.NodeName || known[keyOf(e)] || !isAllocated(e, now.Allocation) {
			continue
		}
		known[keyOf(e)] = true
		if len(d.Data) > 0 {
			e.Data = &runtime.RawExtension{Raw: d.Data}
		}
		shown := find(now.Devices, keyOf(e))
		for _, c := range []metav1.Condition{w.ready(d), healthy(d)} {
			e.Conditions = withCondition(e.Conditions, c, shown.Conditions, at)
		}
		all = append(all, e)
	}
	return all
}

func isAllocated(e resourceapi.AllocatedDeviceStatus, allocation *resourceapi.AllocationResult) bool {
	if allocation == nil {
		return false
	}
	for _, r := range allocation.Devices.Results {
		if (key{r.Driver, r.Pool, r.Device, string(ptr.Deref(r.ShareID, ""))}) == keyOf(e) {
			return true
		}
	}
	return false
}

func find(in []resourceapi.AllocatedDeviceStatus, k key) resourceapi.AllocatedDeviceStatus {
	for _, e := range in {
		if keyOf(e) == k {
			return e
		}
	}
	return resourceapi.AllocatedDeviceStatus{}
}

func (w *Writer) ready(d Device) metav1.Condition {
	return metav1.Condition{Type: Ready, Status: metav1.ConditionTrue, Reason: reasonPrepared,
		Message: fmt.Sprintf("set up on node %s as %s", w.o.NodeName, strings.Join(d.CDIDeviceIDs, ", "))}
}

func healthy(d Device) metav1.Condition {
	c := metav1.Condition{Type: Healthy, Status: metav1.ConditionTrue, Reason: reasonHealthy}
	switch {
	case d.Health == nil:
		c.Status, c.Reason, c.Message = metav1.ConditionUnknown, reasonGone, goneMessage
	case d.Health.Unhealthy:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, reasonUnhealthy, beginning(d.Health.Reason)
	}
	return c
}

// beginning returns what is shown of a text, in valid UTF-8, which the API insists on.
func beginning(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxMessage)], "")
}

// withCondition adds c to ours, with the time at which it became what it is, unless ours and those of others would
// then be more than the API takes.
func withCondition(ours []metav1.Condition, c metav1.Condition, shown []metav1.Condition, at metav1.Time,
) []metav1.Condition {
	c.LastTransitionTime = at
	others := 0
	for _, s := range shown {
		switch {
		case s.Type == c.Type && s.Status == c.Status:
			c.LastTransitionTime = s.LastTransitionTime
		case s.Type != Ready && s.Type != Healthy:
			others++
		}
	}
	if others+len(ours) >= resourceapi.AllocatedDeviceStatusMaxConditions {
		return ours
	}
	return append(ours, c)
}

// areShown says whether the status shows the entries already, and no other device of this driver on this node as ready.
func (w *Writer) areShown(entries []resourceapi.AllocatedDeviceStatus, now resourceapi.ResourceClaimStatus) bool {
	wanted := make(map[key]bool, len(entries))
	for _, e := range entries {
		wanted[keyOf(e)] = true
		if !isShown(e, find(now.Devices, keyOf(e))) {
			return false
		}
	}
	for _, e := range now.Devices {
		ours := e.Driver == w.o.DriverName && e.Pool == w.o.NodeName
		if ours && !wanted[keyOf(e)] && meta.FindStatusCondition(e.Conditions, Ready) != nil {
			return false
		}
	}
	return true
}

func isShown(e, shown resourceapi.AllocatedDeviceStatus) bool {
	for _, c := range e.Conditions {
		s := meta.FindStatusCondition(shown.Conditions, c.Type)
		if s == nil || s.Status != c.Status || s.Reason != c.Reason || s.Message != c.Message {
			return false
		}
	}
	return keyOf(e) == keyOf(shown) && equality.Semantic.DeepEqual(e.NetworkData, shown.NetworkData) &&
		sameJSON(e.Data, shown.Data)
}

// sameJSON compares what two texts mean: the API server writes them anew.
func sameJSON(a, b *runtime.RawExtension) bool {
	if a == nil || b == nil {
		return a == b
	}
	if bytes.Equal(a.Raw, b.Raw) {
		return true
	}
	var x, y any
	return json.Unmarshal(a.Raw, &x) == nil && json.Unmarshal(b.Raw, &y) == nil && equality.Semantic.DeepEqual(x, y)
}

// configuration is what is applied to the status of a claim. Its UID keeps it from a claim that took the name.
func configuration(c device.Claim, entries []resourceapi.AllocatedDeviceStatus,
) *resourceapply.ResourceClaimApplyConfiguration {
	status := resourceapply.ResourceClaimStatus()
	for _, e := range entries {
		one := resourceapply.AllocatedDeviceStatus().WithDriver(e.Driver).WithPool(e.Pool).WithDevice(e.Device)
		one.ShareID, one.Data = e.ShareID, e.Data
		for _, c := range e.Conditions {
			one.WithConditions(metaapply.Condition().WithType(c.Type).WithStatus(c.Status).WithReason(c.Reason).
				WithMessage(c.Message).WithLastTransitionTime(c.LastTransitionTime))
		}
		if n := e.NetworkData; n != nil {
			one.NetworkData = resourceapply.NetworkDeviceData().WithIPs(n.IPs...)
			if n.InterfaceName != "" {
				one.NetworkData.WithInterfaceName(n.InterfaceName)
			}
			if n.HardwareAddress != "" {
				one.NetworkData.WithHardwareAddress(n.HardwareAddress)
			}
		}
		status.WithDevices(one)
	}
	return resourceapply.ResourceClaim(c.Name, c.Namespace).WithUID(c.UID).WithStatus(status)
}
