package why

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/utils/ptr"

	"example.com/dragoman/pkg/nearest"
	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/selector"
)

// together explains why requests that can be met each cannot be met together.
func (e *examination) together(ctx context.Context, s situation, judges []*judge) {
	common := commonNodes(s.nodes, judges)
	if len(common) == 0 {
		e.stop(Together, "", "each request can be met on some node, but not all of them on one node")
		for i := 0; i < len(judges); {
			last := lastChoice(judges, i)
			e.answer.Joint = append(e.answer.Joint, fmt.Sprintf("request %q can be met on %s", baseName(judges[i].need.name),
				listed(nodesOf(s.nodes, judges[i:last]), mostDetails)))
			i = last
		}
		return
	}
	s.nodes, s.limit = common, slowNode
	if e.constraints(ctx, s, judges) {
		return
	}
	if len(judges) == 1 {
		e.stop(Together, "", "%s has enough devices left for %s, but they cannot be had together", common[0].Name,
			judges[0].need.wants())
	} else {
		e.stop(Together, "", "each request alone can be met, on %s for example, but not all together", common[0].Name)
	}
	e.answer.Joint = append(e.answer.Joint, e.compete(common[0], judges))
}

func baseName(request string) string {
	name, _, _ := strings.Cut(request, "/")
	return name
}

// lastChoice returns the index after the choices of the same request as that of judges[i].
func lastChoice(judges []*judge, i int) int {
	of := judges[i].need
	for i < len(judges) && judges[i].need.claim == of.claim && judges[i].need.request == of.request {
		i++
	}
	return i
}

// nodesOf are the nodes on which one of the choices can be met.
func nodesOf(nodes []*corev1.Node, choices []*judge) []string {
	var names []string
	for _, n := range nodes {
		if slices.ContainsFunc(choices, func(j *judge) bool { return j.enough[n.Name] }) {
			names = append(names, n.Name)
		}
	}
	return names
}

// commonNodes are those on which each request alone can be met.
func commonNodes(nodes []*corev1.Node, judges []*judge) []*corev1.Node {
	for i := 0; i < len(judges); {
		last := lastChoice(judges, i)
		names := nodesOf(nodes, judges[i:last])
		nodes = slices.DeleteFunc(slices.Clone(nodes), func(n *corev1.Node) bool { return !slices.Contains(names, n.Name) })
		i = last
	}
	return nodes
}

// constraints looks for the constraint without which the allocator says yes.
func (e *examination) constraints(ctx context.Context, s situation, judges []*judge) bool {
	found := false
	limited, stop := context.WithTimeout(ctx, longestSearch)
	defer stop()
	for _, claim := range s.claims {
		for i, c := range claim.Spec.Devices.Constraints {
			without := s.edited(claim, func(spec *resourceapi.ResourceClaimSpec) {
				spec.Devices.Constraints = slices.Delete(spec.Devices.Constraints, i, i+1)
			})
			if v, err := without.ask(limited, true); err != nil || !v.Can() {
				e.answer.SearchCut = e.answer.SearchCut || limited.Err() != nil
				continue
			}
			e.stop(Constraint, "ResourceClaim "+key(claim), "no node has devices left that meet %s", constraintText(c))
			e.answer.Joint = append(e.answer.Joint, e.attributeLeft(s.nodes, judges, claim, c)...)
			found = true
		}
	}
	return found
}

func constraintText(c resourceapi.DeviceConstraint) string {
	text := "a constraint"
	switch {
	case c.MatchAttribute != nil:
		text = fmt.Sprintf("constraint matchAttribute %s", *c.MatchAttribute)
	case c.DistinctAttribute != nil:
		text = fmt.Sprintf("constraint distinctAttribute %s", *c.DistinctAttribute)
	}
	if len(c.Requests) > 0 {
		text += fmt.Sprintf(" over requests %s", listed(c.Requests, len(c.Requests)))
	}
	return text
}

func attributeOf(c resourceapi.DeviceConstraint) string {
	return string(ptr.Deref(c.MatchAttribute, ptr.Deref(c.DistinctAttribute, "")))
}

// attributeLeft says what the devices that are left have in the attribute of a constraint, on a few nodes.
func (e *examination) attributeLeft(
	nodes []*corev1.Node, judges []*judge, claim *resourceapi.ResourceClaim, c resourceapi.DeviceConstraint,
) []string {
	var lines []string
	for _, n := range nodes[:min(len(nodes), mostDetails)] {
		values := make(map[string][]string)
		for _, d := range e.on(n) {
			if leftTo(d, judges, claim, c) {
				v := valueOf(d, attributeOf(c))
				values[v] = append(values[v], d.spec.Name)
			}
		}
		if _, some := values[missingValue]; some && len(values) == 1 {
			return []string{fmt.Sprintf("no device that is left has attribute %s%s", attributeOf(c), e.nearAttribute(c))}
		}
		var parts []string
		for _, v := range sortedKeys(values) {
			parts = append(parts, fmt.Sprintf("%s on %s", v, listed(values[v], mostDetails)))
		}
		lines = append(lines, fmt.Sprintf("%s: %s is %s", n.Name, attributeOf(c), listed(parts, mostValues)))
	}
	if len(nodes) > len(lines) {
		lines = append(lines, fmt.Sprintf("and so on, on %s more", view.Count(len(nodes)-len(lines), "node")))
	}
	return lines
}

// leftTo says whether a device is left to a request that the constraint is about.
func leftTo(d *device, judges []*judge, claim *resourceapi.ResourceClaim, c resourceapi.DeviceConstraint) bool {
	return slices.ContainsFunc(judges, func(j *judge) bool {
		f, judged := j.fates[d]
		about := len(c.Requests) == 0 || slices.Contains(c.Requests, j.need.name) ||
			slices.Contains(c.Requests, baseName(j.need.name))
		return judged && f.stage == "" && j.need.claim == claim && about
	})
}

const missingValue = "missing"

// nearAttribute proposes an attribute that devices have instead of that of a constraint.
func (e *examination) nearAttribute(c resourceapi.DeviceConstraint) string {
	domain, name, _ := strings.Cut(attributeOf(c), "/")
	here, elsewhere := make(map[string]bool), make(map[string]bool)
	for _, d := range e.world.devices {
		for _, r := range referencesOf(selector.Attribute, d) {
			if r.Domain == domain {
				here[r.Name] = true
			}
			if r.Name == name {
				elsewhere[r.Domain] = true
			}
		}
	}
	if near := nearest.Of(name, sortedKeys(here)); near != "" {
		return fmt.Sprintf("; did you mean %s/%s?", domain, near)
	}
	if len(elsewhere) > 0 {
		return fmt.Sprintf("; did you mean %s/%s?", sortedKeys(elsewhere)[0], name)
	}
	return ""
}

// valueOf is the attribute's value as the constraint compares it: a name in the driver's own domain may be without it.
func valueOf(d *device, attribute string) string {
	domain, name, _ := strings.Cut(attribute, "/")
	a, found := d.spec.Attributes[resourceapi.QualifiedName(attribute)]
	if !found && domain == d.id.Driver {
		a, found = d.spec.Attributes[resourceapi.QualifiedName(name)]
	}
	switch {
	case !found:
		return missingValue
	case a.StringValue != nil:
		return fmt.Sprintf("%q", *a.StringValue)
	case a.VersionValue != nil:
		return fmt.Sprintf("%q", *a.VersionValue)
	case a.IntValue != nil:
		return fmt.Sprint(*a.IntValue)
	case a.BoolValue != nil:
		return fmt.Sprint(*a.BoolValue)
	}
	return "a list"
}

// compete says what requests that can be met each take from each other on a node.
func (e *examination) compete(node *corev1.Node, judges []*judge) string {
	needed := int64(0)
	left := make(map[*device]bool)
	counters := false
	for i := 0; i < len(judges); {
		last := lastChoice(judges, i)
		least := judges[i].need.count
		for _, j := range judges[i:last] {
			least = min(least, j.need.count)
			for _, d := range e.on(node) {
				if j.fates[d].stage == "" {
					left[d] = true
					counters = counters || len(d.spec.ConsumesCounters) > 0
				}
			}
		}
		needed += least
		i = last
	}
	switch {
	case int64(len(left)) < needed:
		return fmt.Sprintf("on %s the requests need %d devices, and the same %s for all of them", node.Name, needed,
			areLeft(len(left)))
	case counters:
		return fmt.Sprintf("on %s the devices that are left consume the same counters: %s", node.Name,
			"taking one leaves too little for another")
	}
	return fmt.Sprintf("what one request takes on %s is then missing for another", node.Name)
}

func areLeft(n int) string {
	if n == 1 {
		return "1 is left"
	}
	return fmt.Sprintf("%d are left", n)
}

// edited is the situation with one of its claims changed.
func (s situation) edited(claim *resourceapi.ResourceClaim, edit func(*resourceapi.ResourceClaimSpec)) situation {
	s.claims = slices.Clone(s.claims)
	for i, c := range s.claims {
		if c.Namespace == claim.Namespace && c.Name == claim.Name {
			s.claims[i] = c.DeepCopy()
			edit(&s.claims[i].Spec)
		}
	}
	return s
}
