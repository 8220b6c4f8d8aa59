package why

import (
	"context"
	"fmt"
	"slices"
	"strings"

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
	g.Choices = e.choices(ctx, claim)
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

// choices says for each prioritized list of the claim what was taken, and why nothing before it.
func (e *examination) choices(ctx context.Context, claim *resourceapi.ResourceClaim) []Choice {
	var choices []Choice
	for i := range claim.Spec.Devices.Requests {
		r := &claim.Spec.Devices.Requests[i]
		taken := takenOf(claim, r)
		if taken < 0 {
			continue
		}
		c := Choice{Request: r.Name, Taken: r.FirstAvailable[taken].Name}
		for _, n := range needsOf(claim) {
			if n.request == i && n.choice < taken {
				c.Before = append(c.Before, NotTaken{Choice: r.FirstAvailable[n.choice].Name, Why: e.whyNot(ctx, claim, n)})
			}
		}
		choices = append(choices, c)
	}
	return choices
}

// takenOf returns the index of the choice that results are of, or -1.
func takenOf(claim *resourceapi.ResourceClaim, r *resourceapi.DeviceRequest) int {
	for j, sub := range r.FirstAvailable {
		for _, result := range claim.Status.Allocation.Devices.Results {
			if result.Request == r.Name+"/"+sub.Name {
				return j
			}
		}
	}
	return -1
}

// whyNot says why a choice could not be had now, where the claim is, if the claim gave its devices back.
func (e *examination) whyNot(ctx context.Context, claim *resourceapi.ResourceClaim, n need) string {
	if e.blind("resourceslices") {
		return "devices could not be seen"
	}
	class := e.class(n.class)
	if class == nil {
		return fmt.Sprintf("class %s does not exist", n.class)
	}
	without := newWorld(withoutAllocation(e.Cluster, claim))
	var nodes []*corev1.Node
	for _, node := range without.nodes {
		if has, err := selects(claim.Status.Allocation.NodeSelector, node); claim.Status.Allocation.NodeSelector == nil ||
			err == nil && has {
			nodes = append(nodes, node)
		}
	}
	here := make(map[string][]*device)
	var all []*device
	for _, node := range nodes {
		here[node.Name] = without.on(node)
		all = append(all, here[node.Name]...)
	}
	story := judgeAll(ctx, without, &n, class, all).request(ctx, nodes, here)
	where := strings.TrimPrefix(placeOf(claim.Status.Allocation.NodeSelector), "node ")
	switch {
	case story.Enough:
		return fmt.Sprintf("could be had on %s now, and could not when the claim got its devices", where)
	case len(story.Lost) == 0:
		return fmt.Sprintf("%s has no devices", where)
	}
	return fmt.Sprintf("needs %s: of %s on %s, %s", n.wants(), count(story.Devices, "device"), where,
		lossesText(story.Lost))
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
