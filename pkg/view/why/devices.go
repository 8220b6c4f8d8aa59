package why

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/nearest"
	"example.com/dragoman/pkg/view"
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
			if len(nodes) > 0 {
				e.answer.Unfit = nil // its devices are elsewhere
			}
			e.possible()
		}
		if len(e.parts) == 0 && !e.blocked {
			e.note(NoDevicesAskedFor, "", "it asks for none")
		}
		e.conclude()
		return nil
	}
	if e.blind("resourceslices") {
		e.stop(CannotTell, "", "which devices there are could not be seen%s", e.takes("resourceslices"))
	}
	if asksForNothing(claims) {
		e.note(NoDevicesAskedFor, "", "the claim has no requests")
	}
	known := e.classesOf(claims)
	e.published()
	s := situation{cluster: e.Cluster, pod: e.pod, claims: claims, nodes: nodes, beyond: beyond}
	if known {
		allocator, err := s.allocator()
		if err != nil {
			return err
		}
		s.like = &variant{of: s.cluster, allocator: allocator}
	}
	if err := e.judge(ctx, s, fitting, known); err != nil {
		return err
	}
	e.conclude()
	return nil
}

// judge asks the allocator, if all classes are known, and explains what it says.
func (e *examination) judge(ctx context.Context, s situation, fitting []*corev1.Node, known bool) error {
	var v allocate.Verdict
	if known {
		var err error
		if v, err = s.ask(ctx, false); err != nil {
			return err
		}
	}
	judges := e.funnels(ctx, s.claims, s.nodes)
	if known && !v.Can() {
		unsure, err := e.unsure(ctx, s, v, fitting)
		if err != nil || unsure {
			return err
		}
	}
	e.explain(ctx, s, v, judges, known)
	if v.Can() || !known {
		return nil
	}
	if err := e.remedies(ctx, s, v, judges); err != nil && ctx.Err() != nil {
		return err
	}
	e.adviseElse(judges)
	return nil
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
				e.stop(CannotTell, "DeviceClass "+n.class, "class %s could not be seen%s", n.class, e.takes("deviceclasses"))
				continue
			}
			hint := didYouMeanName(n.class, names)
			if hint == "" && len(names) > 0 {
				hint = "; there are: " + listed(names, mostValues)
			}
			e.stop(ClassMissing, "DeviceClass "+n.class, "class %s, which request %q of claim %s asks for, does not exist%s",
				n.class, n.name, key(claim), hint)
			if near := nearest.Of(n.class, names); near != "" {
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
func (e *examination) explain(ctx context.Context, s situation, v allocate.Verdict, judges []*judge, known bool) {
	if v.Can() {
		e.fits(namesOf(v.Yes))
	}
	switch {
	case !known || len(s.nodes) == 0 || len(e.Slices) == 0:
	case v.Failed != nil:
		e.gaveUp(v.Failed, judges)
	case v.Can():
		e.possible()
	case v.LeftOut != nil && v.NotAsked > 0:
		e.stop(CannotTell, "Node "+v.LeftOut.Node, "there are so many ways to choose devices that trying them takes too "+
			"long on several nodes, and %s more could not be tried", view.Count(v.NotAsked, "node"))
	case v.LeftOut != nil:
		e.tooLong(v.LeftOut.Node, v.LeftOut, "the scheduler then leaves the node out, and no other can give the devices")
	case e.noSlicesOfDriver(judges):
	case e.lacks(judges):
	default:
		e.together(ctx, s, judges)
	}
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
	e.stop(NotEnough, "", "%s has %s", where, listed(short, mostDetails))
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
			text := strings.Join(wants, " or ") + " left"
			if last == i+1 {
				text += e.answer.Requests[i].lostInShort()
			}
			short = append(short, text)
		}
		i = last
	}
	return short
}
