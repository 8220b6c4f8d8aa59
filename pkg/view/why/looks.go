package why

import (
	"cmp"
	"context"
	"slices"
	"strings"

	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/nearest"
	"example.com/dragoman/pkg/view/selector"
)

// At most so many devices are looked at to say what they have, and so many values are said.
const (
	mostLooked = 2000
	mostValues = 5
)

// story says what the expression did, with the parts of it that explain it if it lost anything.
func (e *expression) story(ctx context.Context) Selector {
	s := Selector{
		From: e.from, Index: e.index, Expression: e.text, Asked: len(e.asked), Lost: len(e.untrue), Errors: len(e.errors),
	}
	if e.err != nil {
		s.Error, s.Device = e.err.Error(), e.errors[0].id.String()
	}
	if e.broken == nil && s.Lost+s.Errors > 0 {
		s.Conditions = e.conditions(ctx)
	}
	return s
}

// conditions returns the parts that are true for the fewest devices, without those that are true for all.
func (e *expression) conditions(ctx context.Context) []Condition {
	asked := e.asked[:min(len(e.asked), mostLooked)]
	var conditions []Condition
	fewest := len(asked)
	for _, part := range e.compiled.Conditions() {
		c := Condition{Expression: part.String()}
		for _, d := range asked {
			if holds, err := part.Matches(ctx, d.id.Driver, d.spec); err == nil && holds {
				c.Holds++
			}
		}
		if c.Holds == len(asked) {
			continue
		}
		fewest = min(fewest, c.Holds)
		for _, r := range part.References() {
			if r.Kind == selector.Attribute || r.Kind == selector.Capacity || r.Kind == selector.Driver {
				c.Looks = append(c.Looks, look(r, asked))
			}
		}
		conditions = append(conditions, c)
	}
	if fewest == 0 {
		conditions = slices.DeleteFunc(conditions, func(c Condition) bool { return c.Holds > 0 })
	}
	return conditions
}

// look says what the devices have where an expression looks.
func look(r selector.Reference, devices []*device) Look {
	l, _ := lookFor(r, devices)
	return l
}

// lookFor also returns what was probably meant, if no device has it.
func lookFor(r selector.Reference, devices []*device) (Look, *selector.Reference) {
	l := Look{Name: r.String()}
	values := make(map[string]int)
	for _, d := range devices {
		if v, has := r.Value(d.id.Driver, d.spec); has {
			l.On++
			values[v]++
		}
	}
	var meant *selector.Reference
	if l.On == 0 && r.Kind != selector.Driver {
		if meant = didYouMean(r, devices); meant != nil {
			l.DidYouMean = meant.String()
		}
	}
	common := sortedKeys(values)
	slices.SortStableFunc(common, func(a, b string) int { return cmp.Compare(values[b], values[a]) })
	l.Values = common[:min(len(common), mostValues)]
	l.MoreValues = len(common) - len(l.Values)
	return l, meant
}

// didYouMean returns the nearest to what no device has: the same name in another domain, or a like name, in the same
// domain rather than in another.
func didYouMean(r selector.Reference, devices []*device) *selector.Reference {
	domains := make(map[string][]selector.Reference) // by name
	names := make(map[string]bool)
	inDomain := make(map[string]bool)
	for _, d := range devices {
		for _, other := range referencesOf(r.Kind, d) {
			names[other.Name] = true
			if other.Domain == r.Domain {
				inDomain[other.Name] = true
			}
			if !slices.Contains(domains[other.Name], other) {
				domains[other.Name] = append(domains[other.Name], other)
			}
		}
	}
	name := r.Name
	if !names[name] {
		if name = nearest.Of(r.Name, sortedKeys(inDomain)); name != "" {
			return &selector.Reference{Kind: r.Kind, Domain: r.Domain, Name: name}
		}
		if name = nearest.Of(r.Name, sortedKeys(names)); name == "" {
			return nil
		}
	}
	others := domains[name]
	slices.SortFunc(others, func(a, b selector.Reference) int {
		return cmp.Or(cmp.Compare(nearest.Distance(r.Domain, a.Domain), nearest.Distance(r.Domain, b.Domain)),
			strings.Compare(a.Domain, b.Domain))
	})
	return &others[0]
}

// referencesOf returns all attributes or capacities of a device, as an expression would name them.
func referencesOf(kind selector.Kind, d *device) []selector.Reference {
	var names []resourceapi.QualifiedName
	if kind == selector.Capacity {
		names = sortedKeys(d.spec.Capacity)
	} else {
		names = sortedKeys(d.spec.Attributes)
	}
	references := make([]selector.Reference, 0, len(names))
	for _, n := range names {
		r := selector.Reference{Kind: kind, Domain: d.id.Driver, Name: string(n)}
		if domain, name, qualified := strings.Cut(string(n), "/"); qualified {
			r.Domain, r.Name = domain, name
		}
		references = append(references, r)
	}
	return references
}
