package why

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/view/allocate"
)

// mostFits is how many nodes that could give everything are named.
const mostFits = 5

// devices asks whether the claims without devices can get some, and explains what the allocator says.
func (e *examination) devices(ctx context.Context) error {
	e.gotSoFar(ctx)
	claims := e.missing()
	fitting := e.fitting()
	nodes, beyond := e.whereGiven(fitting)
	e.offered(nodes)
	if len(claims) == 0 {
		if len(e.parts) > 0 {
			e.fits(namesOf(nodes))
			e.possible()
		}
		if len(e.parts) == 0 && !e.blocked {
			e.note(NoDevicesAskedFor, "", "it asks for none")
		}
		e.conclude()
		return nil
	}
	if e.blind("resourceslices") {
		e.stop(CannotTell, "", "which devices there are could not be seen")
	}
	if asksForNothing(claims) {
		e.note(NoDevicesAskedFor, "", "the claim has no requests")
	}
	known := e.classesOf(claims)
	e.published()
	s := situation{cluster: e.Cluster, pod: e.pod, claims: claims, nodes: nodes, beyond: beyond}
	var v verdict
	if known {
		allocator, err := s.allocator()
		if err != nil {
			return err
		}
		s.like = &variant{of: s.cluster, allocator: allocator}
		if v, err = s.ask(ctx, false); err != nil {
			return err
		}
	}
	judges := e.funnels(ctx, claims, nodes)
	e.explain(ctx, s, v, judges, known)
	if !v.can() && known {
		if err := e.remedies(ctx, s, v, judges); err != nil && ctx.Err() != nil {
			return err
		}
	}
	e.conclude()
	return nil
}

// fitting are the nodes that the pod could run on, whatever devices they have. The others become a part of the answer
// if devices are there that are asked for.
func (e *examination) fitting() []*corev1.Node {
	if e.pod == nil || e.madeUp {
		return e.nodes
	}
	var nodes []*corev1.Node
	unfit := make(map[string][]string)
	for _, n := range e.nodes {
		if err := allocate.Fits(n, e.pod); err != nil {
			unfit[unfitWhy(err)] = append(unfit[unfitWhy(err)], n.Name)
			continue
		}
		nodes = append(nodes, n)
	}
	for _, text := range slices.Sorted(maps.Keys(unfit)) {
		e.answer.Unfit = append(e.answer.Unfit, NodeGroup{Nodes: unfit[text], Text: text})
	}
	if len(nodes) > 0 {
		e.answer.Unfit = e.withDevices(e.answer.Unfit)
	}
	if len(nodes) == 0 && len(e.nodes) > 0 {
		e.stop(PodUnfit, "", "none of %s fits the pod, whatever devices it has", count(len(e.nodes), "node"))
	}
	return nodes
}

// withDevices leaves nodes out that have no devices of their own: nobody waits for them.
func (e *examination) withDevices(groups []NodeGroup) []NodeGroup {
	var left []NodeGroup
	for _, g := range groups {
		g.Nodes = slices.DeleteFunc(g.Nodes, func(n string) bool { return len(e.byNode[n]) == 0 })
		if len(g.Nodes) > 0 {
			left = append(left, g)
		}
	}
	return left
}

func unfitWhy(err error) string {
	if node, ok := errors.AsType[*allocate.NodeError](err); ok {
		return node.Why
	}
	return err.Error()
}

// fits are the nodes that could give all that is asked for.
func (e *examination) fits(nodes []string) {
	e.answer.FitCount = len(nodes)
	e.answer.Fits = nodes[:min(len(nodes), mostFits)]
}

func namesOf(nodes []*corev1.Node) []string {
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	return names
}

// whereGiven are those of the nodes on which the devices can be used that the pod's other claims have, and beyond are
// the others.
func (e *examination) whereGiven(nodes []*corev1.Node) (reach, beyond []*corev1.Node) {
	for _, claim := range e.given() {
		selector := claim.Status.Allocation.NodeSelector
		if selector == nil {
			continue
		}
		var left []*corev1.Node
		for _, n := range nodes {
			if has, err := selects(selector, n); err == nil && has {
				left = append(left, n)
			} else {
				beyond = append(beyond, n)
			}
		}
		if len(left) == 0 && len(nodes) > 0 {
			e.stop(ClaimElsewhere, "ResourceClaim "+key(claim), "claim %s has its devices on %s, where the pod does not fit%s",
				key(claim), placeOf(selector), usedBy(claim))
			e.advise("let the pod run on %s, or use a claim of its own", placeOf(selector))
		}
		nodes = left
	}
	return nodes, beyond
}

// classesOf says whether there are all classes that the claims name.
func (e *examination) classesOf(claims []*resourceapi.ResourceClaim) bool {
	known := true
	said := make(map[string]bool)
	var names []string
	for _, c := range e.Classes {
		names = append(names, c.Name)
	}
	for _, claim := range claims {
		for _, n := range needsOf(claim) {
			if e.class(n.class) != nil || said[n.class] {
				continue
			}
			said[n.class], known = true, false
			if e.blind("deviceclasses") {
				e.stop(CannotTell, "DeviceClass "+n.class, "class %s could not be seen", n.class)
				continue
			}
			hint := didYouMeanName(n.class, names)
			if hint == "" && len(names) > 0 {
				hint = "; there are: " + listed(names, mostValues)
			}
			e.stop(ClassMissing, "DeviceClass "+n.class, "class %s, which request %q of claim %s asks for, does not exist%s",
				n.class, n.name, key(claim), hint)
			if near := nearest(n.class, names); near != "" {
				e.answer.Next = append(e.answer.Next, Remedy{Kind: FixClass, Text: fmt.Sprintf("ask for class %s", near)})
			} else {
				e.advise("make DeviceClass %s: it comes with the driver's installation", n.class)
			}
		}
	}
	return known
}

// published says when there are no devices at all.
func (e *examination) published() {
	if len(e.Slices) > 0 || e.blind("resourceslices") {
		return
	}
	e.stop(NoSlices, "", "no driver has published any devices (there are no ResourceSlices)")
	e.advise("see whether the driver is installed and its pods run: kubectl get daemonsets -A")
}

// funnels follows the devices of the nodes through each request.
func (e *examination) funnels(
	ctx context.Context, claims []*resourceapi.ResourceClaim, nodes []*corev1.Node,
) []*judge {
	here := make(map[string][]*device, len(nodes))
	var all []*device
	for _, n := range nodes {
		here[n.Name] = e.on(n)
		all = append(all, here[n.Name]...)
	}
	var judges []*judge
	for _, claim := range claims {
		for _, n := range needsOf(claim) {
			class := e.class(n.class)
			if class == nil {
				continue
			}
			j := judgeAll(ctx, e.world, &n, class, all)
			judges = append(judges, j)
			e.answer.Requests = append(e.answer.Requests, j.request(ctx, nodes, here))
		}
	}
	return judges
}

// explain puts the verdict into words.
func (e *examination) explain(ctx context.Context, s situation, v verdict, judges []*judge, known bool) {
	if v.can() {
		e.fits(v.yes)
	}
	switch {
	case !known || len(s.nodes) == 0 || len(e.Slices) == 0:
	case v.err != nil:
		e.gaveUp(v, judges)
	case v.can():
		e.possible()
	case v.tooLong != "":
		e.stop(TakesTooLong, "Node "+v.tooLong, "the search takes more than %s on node %s, and the scheduler then gives up",
			filterTimeout, v.tooLong)
	case e.noSlicesOfDriver(judges):
	case e.lacks(judges):
	default:
		e.together(ctx, s, judges)
	}
}

// gaveUp is for errors for which the scheduler gives up on the pod, whatever the other nodes have.
func (e *examination) gaveUp(v verdict, judges []*judge) {
	text := said(v.err)
	switch {
	case strings.Contains(text, "CEL runtime error") || strings.Contains(text, "CEL compile error"):
		r := e.stop(SelectorError, "", "a selector cannot be evaluated, and the scheduler then gives up on the pod, %s",
			"whatever other devices there are")
		r.Quotes = []Quote{{From: "allocator", Text: text}}
		for _, j := range judges {
			for _, x := range j.expressions {
				if len(x.errors) > 0 && x.broken == nil {
					r.Quotes = nil // the story of the selector has it
				}
			}
		}
	case strings.Contains(text, "resource pool"):
		e.stop(PoolIncomplete, "Node "+v.errNode, "%s", text)
		e.advise("if this lasts, look at the driver's pod on node %s: it has not published all slices of the pool", v.errNode)
	case strings.Contains(text, "feature is disabled"):
		e.stop(FeatureOff, "", "%s", text)
	case strings.Contains(text, "constraint would not be satisfied"):
		e.stop(Constraint, "Node "+v.errNode, "%s", text)
	default:
		e.stop(AllocatorError, "Node "+v.errNode, "%s", text)
	}
}

// said is what the allocator itself says.
func said(err error) string {
	if attempt, ok := errors.AsType[*allocate.AttemptError](err); ok {
		return attempt.Err.Error()
	}
	return err.Error()
}

// lacks says whether there is a request that no node can meet on its own.
func (e *examination) lacks(judges []*judge) bool {
	short := e.short(judges)
	if len(short) == 0 {
		return false
	}
	where := "no node"
	if len(e.answer.Unfit) > 0 {
		where = "no node that fits the pod"
	}
	e.stop(NotEnough, "", "%s has %s left", where, listed(short, mostDetails))
	return true
}

// driverSelector is how the selector of a class names the driver that it is for.
var driverSelector = regexp.MustCompile(`device\.driver\s*==\s*["']([^"']+)["']`)

// noSlicesOfDriver says whether a class is for a driver that has not published anything.
func (e *examination) noSlicesOfDriver(judges []*judge) bool {
	drivers := make(map[string]bool)
	for i := range e.pools {
		drivers[e.pools[i].Driver] = true
	}
	for _, j := range judges {
		for _, x := range j.expressions {
			named := driverSelector.FindStringSubmatch(x.text)
			if x.from != "class" || len(named) == 0 || drivers[named[1]] {
				continue
			}
			e.stop(NoSlicesOfDriver, "DeviceClass "+j.need.class, "driver %s, which class %s is for, has published no devices%s",
				named[1], j.need.class, didYouMeanName(named[1], sortedKeys(drivers)))
			e.advise("see whether driver %s is installed and its pods run; devices there are of: %s", named[1],
				listed(sortedKeys(drivers), mostValues))
			return true
		}
	}
	return false
}

// short are the requests that no node can meet, in words.
func (e *examination) short(judges []*judge) []string {
	var short []string
	for i := 0; i < len(judges); {
		last := lastChoice(judges, i)
		var wants []string
		for _, j := range judges[i:last] {
			wants = append(wants, j.need.wants())
		}
		if len(nodesOf(e.nodes, judges[i:last])) == 0 {
			short = append(short, strings.Join(wants, " or "))
		}
		i = last
	}
	return short
}

// possible is when the allocator says yes, and the pod waits nevertheless.
func (e *examination) possible() {
	q, answered := e.schedulerSays()
	switch {
	case e.blocked || e.pod == nil || !answered || e.answer.FitCount == 0:
		return
	case strings.Contains(q.Text, "cannot allocate all claims") || strings.Contains(q.Text, "resourceclaim") ||
		strings.Contains(q.Text, "device class"):
		r := e.note(NotYetTried, "", "its devices are there now, and the scheduler's last answer is older")
		r.Quotes = []Quote{q}
		e.advise("wait: the scheduler tries again when something changes, at the latest after 5 minutes")
	default:
		r := e.note(OtherThanDevices, "", "its devices are there, and the scheduler says what else is missing")
		r.Quotes = []Quote{q}
	}
}

// conclude makes the summary of all that was found.
func (e *examination) conclude() {
	e.scheduler()
	e.quoteScheduler()
	for _, r := range e.answer.Reasons {
		if explains(r.ID) || r.ID == NotAtScheduler && e.answer.FitCount > 0 {
			continue
		}
		e.say(Waiting, "waits: %s", r.Text)
		return
	}
	state, does := Waiting, "waits"
	if e.answer.FitCount > 0 {
		state = Possible
	}
	if e.pod == nil {
		does = "has no devices"
	}
	switch {
	case len(e.parts) == 0:
		e.say(state, "%s, and not for devices: %s", does, e.answer.Reasons[0].Text)
	case len(e.answer.Reasons) > 0:
		e.say(state, "%s: %s", does, e.answer.Reasons[0].Text)
	case state == Possible:
		e.say(state, "%s: %s can give them, and nobody has said why it does not get them", does, e.nodesThatCan())
	default:
		e.say(state, "%s, and not for devices that it asks for", does)
	}
}

// explains says that a reason does not stand in the way of devices.
func explains(id ReasonID) bool {
	return id == ClaimUnused || id == NoDevicesAskedFor || id == NotYetTried || id == OtherThanDevices
}

// quoteScheduler has the scheduler's words in the answer, unless a reason has them.
func (e *examination) quoteScheduler() {
	q, answered := e.schedulerSays()
	if !answered || slices.ContainsFunc(e.answer.Reasons, func(r Reason) bool {
		return slices.ContainsFunc(r.Quotes, func(known Quote) bool { return known.Text == q.Text })
	}) {
		return
	}
	e.answer.Scheduler = &q
}

func (e *examination) nodesThatCan() string {
	if e.answer.FitCount == 1 {
		return "node " + e.answer.Fits[0]
	}
	return count(e.answer.FitCount, "node")
}
