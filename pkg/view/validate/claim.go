package validate

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"example.com/dragoman/pkg/view"
)

// claim judges what a claim asks for. What its types say of themselves is judged already: lengths of lists, names that
// are there twice, formats of some names.
func (j judge) claim(devices *resourceapi.DeviceClaim, at *field.Path, f *findings) {
	names := requestNames(devices)
	cost := uint64(0)
	for i := range devices.Requests {
		j.request(&devices.Requests[i], devices.Constraints, at.Child("requests").Index(i), &cost, f)
	}
	f.size(devices.Requests, at.Child("requests"))
	if cost > resourceapi.DeviceClaimDerivedAttributeCELMaxCost {
		f.add(field.Forbidden(at, fmt.Sprintf("the expressions of all derived attributes could cost %d, and at most %d is "+
			"allowed", cost, resourceapi.DeviceClaimDerivedAttributeCELMaxCost)))
	}
	for i := range devices.Constraints {
		j.constraint(&devices.Constraints[i], names, at.Child("constraints").Index(i), f)
	}
	for i, config := range devices.Config {
		at := at.Child("config").Index(i)
		f.requestRefs(config.Requests, names, at.Child("requests"))
		f.configuration(config.DeviceConfiguration, at)
	}
}

// requestNames returns what constraints and configurations may refer to, in order.
func requestNames(devices *resourceapi.DeviceClaim) []string {
	var names []string
	for _, request := range devices.Requests {
		names = append(names, request.Name)
		for _, sub := range request.FirstAvailable {
			names = append(names, request.Name+"/"+sub.Name)
		}
	}
	return names
}

// once returns words without those that are there again: names may be, which is said where they are.
func once(words []string) []string {
	var kept []string
	for _, w := range words {
		if !slices.Contains(kept, w) {
			kept = append(kept, w)
		}
	}
	return kept
}

func (j judge) request(
	request *resourceapi.DeviceRequest, constraints []resourceapi.DeviceConstraint, at *field.Path, cost *uint64,
	f *findings,
) {
	f.label(request.Name, at.Child("name"))
	switch {
	case request.Exactly == nil && len(request.FirstAvailable) == 0:
		f.add(field.Required(at, "one of exactly and firstAvailable must say what is requested"))
	case request.Exactly != nil && len(request.FirstAvailable) > 0:
		f.add(field.Forbidden(at, "exactly and firstAvailable exclude each other"))
	case request.Exactly != nil:
		e := request.Exactly
		j.wanted(wanted{
			e.DeviceClassName, e.Selectors, e.AllocationMode, e.Count, e.Tolerations, e.DerivedAttributes, request.Name,
		}, constraints, at.Child("exactly"), cost, f)
	}
	for i, s := range request.FirstAvailable {
		at := at.Child("firstAvailable").Index(i)
		f.label(s.Name, at.Child("name"))
		j.wanted(wanted{
			s.DeviceClassName, s.Selectors, s.AllocationMode, s.Count, s.Tolerations, s.DerivedAttributes,
			request.Name + "/" + s.Name,
		}, constraints, at, cost, f)
	}
}

// wanted is what a request and an alternative of a prioritized list have in common.
type wanted struct {
	class       string
	selectors   []resourceapi.DeviceSelector
	mode        resourceapi.DeviceAllocationMode
	count       int64
	tolerations []resourceapi.DeviceToleration
	derived     []resourceapi.DeviceDerivedAttribute
	name        string
}

func (j judge) wanted(
	w wanted, constraints []resourceapi.DeviceConstraint, at *field.Path, cost *uint64, f *findings,
) {
	if w.class == "" {
		f.add(field.Required(at.Child("deviceClassName"), "the name of a DeviceClass"))
	} else {
		f.subdomain(w.class, at.Child("deviceClassName"))
	}
	j.selectors(w.selectors, at.Child("selectors"), f)
	j.derivedAttributes(w, constraints, at.Child("derivedAttributes"), cost, f)
	switch w.mode {
	case resourceapi.DeviceAllocationModeAll:
		if w.count != 0 {
			f.add(field.Invalid(at.Child("count"), w.count, "must not be given when allocationMode is All"))
		}
	case resourceapi.DeviceAllocationModeExactCount:
		if w.count <= 0 {
			f.add(field.Invalid(at.Child("count"), w.count, "must be greater than zero"))
		}
	default:
		f.add(field.NotSupported(at.Child("allocationMode"), w.mode, []resourceapi.DeviceAllocationMode{
			resourceapi.DeviceAllocationModeAll, resourceapi.DeviceAllocationModeExactCount,
		}))
	}
	for i, t := range w.tolerations {
		j.toleration(t, at.Child("tolerations").Index(i), f)
	}
}

// derivedAttributes are for constraints: one that none of them names for this request is useless.
func (j judge) derivedAttributes(
	w wanted, constraints []resourceapi.DeviceConstraint, at *field.Path, cost *uint64, f *findings,
) {
	seen := map[resourceapi.FullyQualifiedName]bool{}
	for i, a := range w.derived {
		at := at.Index(i)
		if a.Name != "" && !slices.ContainsFunc(constraints, func(c resourceapi.DeviceConstraint) bool {
			return uses(c, a.Name, w.name)
		}) {
			f.add(field.Invalid(at.Child("name"), a.Name, "no constraint for this request names this attribute"))
		}
		if seen[a.Name] {
			f.add(field.Duplicate(at, a.Name))
		}
		seen[a.Name] = true
		if a.Expression != "" {
			*cost += j.expression(a.Expression, true, at.Child("expression"), f)
		}
	}
}

// uses says whether a constraint names the attribute and is about the request, which may be an alternative of one.
func uses(c resourceapi.DeviceConstraint, attribute resourceapi.FullyQualifiedName, request string) bool {
	name := c.MatchAttribute
	if name == nil {
		name = c.DistinctAttribute
	}
	if name == nil || *name != attribute {
		return false
	}
	parent, _, _ := strings.Cut(request, "/")
	return len(c.Requests) == 0 || slices.Contains(c.Requests, request) || slices.Contains(c.Requests, parent)
}

func (j judge) constraint(c *resourceapi.DeviceConstraint, names []string, at *field.Path, f *findings) {
	f.requestRefs(c.Requests, names, at.Child("requests"))
	switch {
	case c.MatchAttribute != nil:
		f.fullyQualified(string(*c.MatchAttribute), at.Child("matchAttribute"))
	case c.DistinctAttribute != nil:
		f.fullyQualified(string(*c.DistinctAttribute), at.Child("distinctAttribute"))
	default:
		f.add(field.Required(at,
			"one of matchAttribute and distinctAttribute must say what the devices have in common, or not"))
	}
}

// requestRefs are the requests that something applies to.
func (f *findings) requestRefs(refs, names []string, at *field.Path) {
	for i, ref := range refs {
		if !slices.Contains(names, ref) {
			f.add(field.NotSupported(at.Index(i), ref, once(names)))
			continue
		}
		for part := range strings.SplitSeq(ref, "/") {
			f.label(part, at.Index(i))
		}
	}
	for i, ref := range refs {
		if slices.Contains(refs[:i], ref) {
			f.add(field.Duplicate(at.Index(i), ref))
		}
	}
}

func (j judge) toleration(t resourceapi.DeviceToleration, at *field.Path, f *findings) {
	if t.Key != "" {
		f.labelKey(t.Key, at.Child("key"))
	}
	operators := []resourceapi.DeviceTolerationOperator{
		resourceapi.DeviceTolerationOpEqual, resourceapi.DeviceTolerationOpExists,
	}
	switch t.Operator {
	case resourceapi.DeviceTolerationOpExists:
		if t.Value != "" {
			f.add(field.Invalid(at.Child("value"), t.Value, "must be empty for the operator Exists"))
		}
	case resourceapi.DeviceTolerationOpEqual:
		f.labelValue(t.Value, at.Child("value"))
	default:
		f.add(field.NotSupported(at.Child("operator"), t.Operator, operators))
	}
	if t.Effect != "" {
		j.effect(t.Effect, at.Child("effect"), f)
	}
}

// effect of a taint. None came with Kubernetes 1.35.
func (j judge) effect(effect resourceapi.DeviceTaintEffect, at *field.Path, f *findings) {
	effects := []resourceapi.DeviceTaintEffect{
		resourceapi.DeviceTaintEffectNoExecute, resourceapi.DeviceTaintEffectNoSchedule,
	}
	if j.minor > Oldest {
		effects = append(effects, resourceapi.DeviceTaintEffectNone)
	}
	if !slices.Contains(effects, effect) {
		f.add(field.NotSupported(at, effect, effects))
	}
}

// class judges a DeviceClass.
func (j judge) class(spec *resourceapi.DeviceClassSpec, at *field.Path, f *findings) {
	j.selectors(spec.Selectors, at.Child("selectors"), f)
	for i, config := range spec.Config {
		f.configuration(config.DeviceConfiguration, at.Child("config").Index(i))
	}
	if name := spec.ExtendedResourceName; name != nil && !view.IsExtendedResource(corev1.ResourceName(*name)) {
		f.add(field.Invalid(at.Child("extendedResourceName"), *name,
			"must be the name of an extended resource, for example vendor.example.com/gpu"))
	}
}
