package why

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/allocate"
)

// again is the choice of devices for a claim that has some: as things are now, if it had none.
type again struct {
	*world
	claim *resourceapi.ResourceClaim
	// nodes are those on which the claim can be used, where says that in words.
	nodes   []*corev1.Node
	where   string
	here    map[string][]*device
	devices []*device
}

func (w *world) again(claim *resourceapi.ResourceClaim) *again {
	selector := claim.Status.Allocation.NodeSelector
	a := &again{
		world: newWorld(withoutAllocation(w.Cluster, claim)), claim: claim, here: make(map[string][]*device),
		where: strings.TrimPrefix(placeOf(selector), "node "),
	}
	for _, node := range a.world.nodes {
		if has, err := selects(selector, node); selector != nil && (err != nil || !has) {
			continue
		}
		a.nodes = append(a.nodes, node)
		a.here[node.Name] = a.on(node)
		a.devices = append(a.devices, a.here[node.Name]...)
	}
	return a
}

// story is what becomes of the devices for one need; nil if its class does not exist.
func (a *again) story(ctx context.Context, n *need) *Request {
	class := a.class(n.class)
	if class == nil {
		return nil
	}
	story := judgeAll(ctx, a.world, n, class, a.devices).request(ctx, a.nodes, a.here)
	return &story
}

// choices says for each prioritized list of the claim what was taken, and why nothing before it.
func (a *again) choices(ctx context.Context) []Choice {
	var choices []Choice
	for i := range a.claim.Spec.Devices.Requests {
		r := &a.claim.Spec.Devices.Requests[i]
		taken := takenOf(a.claim, r)
		if taken < 0 {
			continue
		}
		c := Choice{Request: r.Name, Taken: r.FirstAvailable[taken].Name}
		for _, n := range needsOf(a.claim) {
			if n.request == i && n.choice < taken {
				c.Before = append(c.Before, NotTaken{Choice: r.FirstAvailable[n.choice].Name, Why: a.whyNot(ctx, &n)})
			}
		}
		choices = append(choices, c)
	}
	return choices
}

// takenOf returns the index of the choice that results are of, or -1.
func takenOf(claim *resourceapi.ResourceClaim, r *resourceapi.DeviceRequest) int {
	for j, sub := range r.FirstAvailable {
		if len(gotOf(claim, r.Name+"/"+sub.Name)) > 0 {
			return j
		}
	}
	return -1
}

// gotOf are the devices that a request, or a choice, has.
func gotOf(claim *resourceapi.ResourceClaim, request string) []view.DeviceID {
	var got []view.DeviceID
	for _, r := range claim.Status.Allocation.Devices.Results {
		if r.Request == request {
			got = append(got, view.DeviceID{Driver: r.Driver, Pool: r.Pool, Device: r.Device})
		}
	}
	return got
}

// whyNot says why a choice could not be had.
func (a *again) whyNot(ctx context.Context, n *need) string {
	story := a.story(ctx, n)
	switch {
	case story == nil:
		return fmt.Sprintf("class %s does not exist", n.class)
	case story.Enough:
		return fmt.Sprintf("could be had on %s now, and could not when the claim got its devices", a.where)
	case len(story.Lost) == 0:
		return fmt.Sprintf("%s has no devices", a.where)
	}
	return fmt.Sprintf("needs %s: of %s on %s, %s", n.wants(), view.Count(story.Devices, "device"), a.where,
		lossesText(story.Lost))
}

// why says for each request that has devices why it is these.
func (a *again) why(ctx context.Context) []Ground {
	chosen := a.chosen(ctx)
	var all []Ground
	for _, n := range needsOf(a.claim) {
		got := gotOf(a.claim, n.name)
		if len(got) == 0 {
			continue
		}
		text := fmt.Sprintf("class %s does not exist any more", n.class)
		if story := a.story(ctx, &n); story != nil {
			text = fmt.Sprintf("%s: %s", n.wants(), a.fromAmong(story, got, chosen[n.name]))
		}
		all = append(all, Ground{Request: n.name, Why: text})
	}
	return all
}

// fromAmong says from among which devices a request has its own, and what it would get if it were asked for again.
func (a *again) fromAmong(story *Request, got, chosen []view.DeviceID) string {
	if story.Devices == 0 {
		return a.where + " has no devices now"
	}
	text := fmt.Sprintf("of %s on %s now, ", view.Count(story.Devices, "device"), a.where)
	if len(story.Lost) > 0 {
		text += lossesText(story.Lost) + ", "
	}
	text += fmt.Sprintf("%d left: ", story.Left)
	these := "this one"
	if len(got) > 1 {
		these = "these"
	}
	switch {
	case len(chosen) == 0:
		return text + "it could not be had again"
	case !slices.Equal(got, chosen):
		var names []string
		for _, id := range chosen {
			names = append(names, id.Device)
		}
		return text + fmt.Sprintf("asked again, the scheduler would take %s", listed(names, mostDetails))
	case story.Left == len(got):
		return text + these
	}
	return text + fmt.Sprintf("the scheduler takes %s first", these)
}

// chosen is what the requests would get on the first of the nodes, by their names.
func (a *again) chosen(ctx context.Context) map[string][]view.DeviceID {
	chosen := make(map[string][]view.DeviceID)
	if len(a.nodes) == 0 {
		return chosen
	}
	allocator, err := allocate.New(a.Cluster, allocate.Options{})
	if err != nil {
		return chosen
	}
	results, err := allocator.Within(slowNode).OnNode(ctx, a.nodes[0], []*resourceapi.ResourceClaim{a.claim})
	if err != nil || len(results) != 1 {
		return chosen
	}
	again := a.claim.DeepCopy()
	again.Status.Allocation = &results[0]
	for _, r := range results[0].Devices.Results {
		if chosen[r.Request] == nil {
			chosen[r.Request] = gotOf(again, r.Request)
		}
	}
	return chosen
}
