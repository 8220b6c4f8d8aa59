package why

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"example.com/dragoman/pkg/view"
)

// gotSoFar adds the claims with devices.
func (e *examination) gotSoFar(ctx context.Context) {
	for _, claim := range e.given() {
		e.answer.Got = append(e.answer.Got, e.got(ctx, claim))
	}
}

func (e *examination) got(ctx context.Context, claim *resourceapi.ResourceClaim) Got {
	allocation := claim.Status.Allocation
	g := Got{Claim: key(claim), Users: consumersOf(claim), Node: placeOf(allocation.NodeSelector)}
	if allocation.AllocationTimestamp != nil {
		g.Since = allocation.AllocationTimestamp.Time
	}
	for _, r := range allocation.Devices.Results {
		g.Devices = append(g.Devices, e.gotDevice(r))
		e.awaits(claim, r)
	}
	if e.blind("resourceslices") {
		return g
	}
	again := e.again(claim)
	g.Choices = again.choices(ctx)
	if e.pod == nil || e.pod.Status.Phase == corev1.PodRunning && e.pod.DeletionTimestamp == nil {
		g.Why = again.why(ctx)
	}
	return g
}

func (e *examination) gotDevice(r resourceapi.DeviceRequestAllocationResult) GotDev {
	d := GotDev{Request: r.Request, Driver: r.Driver, Pool: r.Pool, Device: r.Device, AdminAccess: isAdmin(r)}
	for _, name := range sortedKeys(r.ConsumedCapacity) {
		q := r.ConsumedCapacity[name]
		d.Takes = append(d.Takes, fmt.Sprintf("%s %s", name, q.String()))
	}
	id := view.DeviceID{Driver: r.Driver, Pool: r.Pool, Device: r.Device}
	for _, known := range e.world.devices {
		if known.id != id {
			continue
		}
		for _, t := range known.taints {
			d.Notes = append(d.Notes, "tainted "+t.String()+byRule(t))
		}
		return d
	}
	if !e.blind("resourceslices") {
		d.Notes = append(d.Notes, "not published any more")
	}
	return d
}

func byRule(t view.Taint) string {
	if t.Rule == "" {
		return ""
	}
	return " by rule " + t.Rule
}

// awaits notes conditions that must be true before the pod is bound (KEP-5007).
func (e *examination) awaits(claim *resourceapi.ResourceClaim, r resourceapi.DeviceRequestAllocationResult) {
	if len(r.BindingConditions) == 0 || e.pod == nil || e.pod.Spec.NodeName != "" {
		return
	}
	var conditions []metav1.Condition
	for _, d := range claim.Status.Devices {
		if d.Driver == r.Driver && d.Pool == r.Pool && d.Device == r.Device {
			conditions = d.Conditions
		}
	}
	var missing []string
	for _, want := range r.BindingConditions {
		if !apimeta.IsStatusConditionTrue(conditions, want) {
			missing = append(missing, want)
		}
	}
	for _, failed := range r.BindingFailureConditions {
		if c := apimeta.FindStatusCondition(conditions, failed); c != nil && c.Status == metav1.ConditionTrue {
			e.stop(BindingConditions, "ResourceClaim "+key(claim), "device %s/%s/%s cannot be attached: condition %s is true",
				r.Driver, r.Pool, r.Device, failed).Quotes = []Quote{{From: r.Driver, Reason: c.Reason, Text: c.Message}}
			e.advise("mend what is said above: the scheduler takes the device back and tries again, perhaps with the same one")
			return
		}
	}
	if len(missing) == 0 {
		return
	}
	reason := e.stop(BindingConditions, "ResourceClaim "+key(claim),
		"device %s/%s/%s is being attached to %s: condition %s is not true yet", r.Driver, r.Pool, r.Device,
		placeOf(claim.Status.Allocation.NodeSelector), listed(missing, len(missing)))
	for _, want := range missing {
		if c := apimeta.FindStatusCondition(conditions, want); c != nil {
			reason.Quotes = append(reason.Quotes, Quote{From: r.Driver, Reason: c.Reason, Text: c.Message,
				Last: c.LastTransitionTime.Time})
		}
	}
	e.advise("wait: without an answer the scheduler starts again 10 minutes after the device was chosen")
}

// withoutAllocation is the cluster without what a claim has.
func withoutAllocation(c *view.Cluster, claims ...*resourceapi.ResourceClaim) *view.Cluster {
	changed := *c
	changed.Claims = make([]*resourceapi.ResourceClaim, 0, len(c.Claims))
	for _, known := range c.Claims {
		if slices.Contains(claims, known) {
			known = known.DeepCopy()
			known.Status = resourceapi.ResourceClaimStatus{}
		}
		changed.Claims = append(changed.Claims, known)
	}
	return &changed
}
