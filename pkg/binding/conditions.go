package binding

import (
	"time"
	"unicode/utf8"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	applyv1 "k8s.io/client-go/applyconfigurations/resource/v1"
)

// Reasons of conditions.
const (
	reasonAttached     = "Attached"
	reasonAttachFailed = "AttachFailed"
)

// maxMessage is how long the message of a condition gets. The API has room for 32 KiB; it is shown in a line.
const maxMessage = 1024

// outcome is what came of attaching a device.
type outcome struct {
	err error
	at  time.Time
}

// settle returns what to apply to the status of c: an entry for each device with conditions or an outcome, since what a
// field manager leaves out is removed. It is nil if the status says all of it.
func settle(c *resourceapi.ResourceClaim, driverName string, outcomes map[deviceKey]outcome,
) *applyv1.ResourceClaimApplyConfiguration {
	status, news := applyv1.ResourceClaimStatus(), false
	for _, r := range conditional(c, driverName) {
		conditions := conditionsOf(c, r)
		if o, ok := outcomes[keyOf(r)]; ok && add(&conditions, r, o) {
			news = true
		}
		if len(conditions) > 0 {
			status.WithDevices(entry(r, conditions))
		}
	}
	if !news {
		return nil
	}
	// The version makes it a conflict if the claim has changed, in which case this may be about another allocation.
	return applyv1.ResourceClaim(c.Name, c.Namespace).WithUID(c.UID).WithResourceVersion(c.ResourceVersion).
		WithStatus(status)
}

// add puts an outcome into the conditions of the device, and says whether that is news.
func add(conditions *[]metav1.Condition, r resourceapi.DeviceRequestAllocationResult, o outcome) bool {
	if failed(*conditions, r) || attached(*conditions, r) {
		return false
	}
	said := metav1.Condition{Status: metav1.ConditionTrue, LastTransitionTime: metav1.NewTime(o.at)}
	if o.err != nil {
		if len(r.BindingFailureConditions) == 0 {
			return false
		}
		said.Type = r.BindingFailureConditions[0] // the scheduler looks for any
		said.Reason, said.Message = reasonAttachFailed, shortened(o.err.Error(), maxMessage)
		meta.SetStatusCondition(conditions, said)
		return true
	}
	said.Reason, said.Message = reasonAttached, "the device is attached to the node"
	for _, said.Type = range r.BindingConditions {
		meta.SetStatusCondition(conditions, said)
	}
	return true
}

func entry(r resourceapi.DeviceRequestAllocationResult, conditions []metav1.Condition,
) *applyv1.AllocatedDeviceStatusApplyConfiguration {
	status := applyv1.AllocatedDeviceStatus().WithDriver(r.Driver).WithPool(r.Pool).WithDevice(r.Device)
	if r.ShareID != nil {
		status.WithShareID(string(*r.ShareID))
	}
	for _, c := range conditions {
		one := applymetav1.Condition().WithType(c.Type).WithStatus(c.Status).WithReason(c.Reason).
			WithMessage(c.Message).WithLastTransitionTime(c.LastTransitionTime)
		if c.ObservedGeneration != 0 {
			one.WithObservedGeneration(c.ObservedGeneration)
		}
		status.WithConditions(one)
	}
	return status
}

// shortened cuts s to at most n bytes, between characters.
func shortened(s string, n int) string {
	if len(s) <= n {
		return s
	}
	n -= len("…")
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
