package validate

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// semver is what semver.org says a version is.
var semver = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)` +
	`(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?` +
	`(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$`)

// attribute has one value, or one list of values.
func (f *findings) attribute(a resourceapi.DeviceAttribute, at *field.Path) {
	set := 0
	for _, is := range []bool{
		a.IntValue != nil, a.BoolValue != nil, a.StringValue != nil, a.VersionValue != nil,
		a.IntValues != nil, a.BoolValues != nil, a.StringValues != nil, a.VersionValues != nil,
	} {
		if is {
			set++
		}
	}
	if set != 1 {
		f.add(field.Invalid(at, field.OmitValueType{}, fmt.Sprintf("must have exactly one value, and has %d", set)))
	}
	if a.StringValue != nil {
		f.text(*a.StringValue, at.Child("string"))
	}
	if a.VersionValue != nil {
		f.versionValue(*a.VersionValue, at.Child("version"))
	}
	for i, s := range a.StringValues {
		f.text(s, at.Child("strings").Index(i))
	}
	for i, s := range a.VersionValues {
		f.versionValue(s, at.Child("versions").Index(i))
	}
	if a.IntValues != nil && len(a.IntValues) == 0 || a.BoolValues != nil && len(a.BoolValues) == 0 ||
		a.StringValues != nil && len(a.StringValues) == 0 || a.VersionValues != nil && len(a.VersionValues) == 0 {
		f.add(field.Invalid(at, field.OmitValueType{}, "a list of values must not be empty"))
	}
}

func (f *findings) text(s string, at *field.Path) {
	if len(s) > resourceapi.DeviceAttributeMaxValueLength {
		f.add(field.TooLong(at, "", resourceapi.DeviceAttributeMaxValueLength))
	}
}

func (f *findings) versionValue(s string, at *field.Path) {
	f.text(s, at)
	if !semver.MatchString(s) {
		f.add(field.Invalid(at, s, "must be a version as semver.org has them, such as 1.2.3"))
	}
}

// capacities judges the capacities of a device and what may be requested of them.
func (j judge) capacities(d *resourceapi.Device, at *field.Path, f *findings) {
	shared := d.AllowMultipleAllocations != nil && *d.AllowMultipleAllocations
	for _, name := range sortedKeys(d.Capacity) {
		at, capacity := at.Key(string(name)), d.Capacity[name]
		f.qualified(string(name), at)
		policy := capacity.RequestPolicy
		at = at.Child("requestPolicy")
		switch {
		case policy == nil:
		case !shared:
			f.add(field.Forbidden(at, "needs allowMultipleAllocations: true"))
		case len(policy.ValidValues) > 0 && policy.ValidRange != nil:
			f.add(field.Forbidden(at, "validValues and validRange exclude each other"))
		case (len(policy.ValidValues) > 0 || policy.ValidRange != nil) && policy.Default == nil:
			f.add(field.Required(at.Child("default"), "one of the values that may be requested"))
		case len(policy.ValidValues) > 0:
			j.validValues(*policy.Default, capacity.Value, policy.ValidValues, at.Child("validValues"), f)
		case policy.ValidRange != nil:
			j.validRange(*policy.Default, capacity.Value, policy.ValidRange, at.Child("validRange"), f)
		}
	}
}

func (j judge) validValues(byDefault, most resource.Quantity, values []resource.Quantity, at *field.Path, f *findings) {
	const mostValues = 10 // CapacityRequestPolicyDiscreteMaxOptions of pkg/apis/resource
	if len(values) > mostValues {
		f.add(field.TooMany(at, len(values), mostValues))
		return
	}
	seen, hasDefault := map[string]bool{}, false
	for i, v := range values {
		key := fmt.Sprint(v.Value())
		if j.has(fractionalRange) {
			key = v.AsDec().String()
		}
		switch {
		case i > 0 && values[i-1].Cmp(v) > 0:
			f.add(field.Invalid(at.Index(i), v.String(), "values must rise"))
		case seen[key]:
			f.add(field.Duplicate(at.Index(i), v.String()))
		case v.Cmp(most) > 0:
			f.add(field.Invalid(at.Index(i), v.String(), "is more than the capacity of "+most.String()))
		}
		seen[key] = true
		hasDefault = hasDefault || v.Cmp(byDefault) == 0
	}
	if !hasDefault {
		f.add(field.Invalid(at, byDefault.String(), "the default must be one of the values"))
	}
}

// validRange must hold the default, fit into the capacity, and be made of whole steps.
func (j judge) validRange(
	byDefault, most resource.Quantity, r *resourceapi.CapacityRequestPolicyRange, at *field.Path, f *findings,
) {
	if r.Min == nil {
		f.add(field.Required(at.Child("min"), "the least that may be requested"))
		return
	}
	before := len(*f)
	above := func(name string, a, b resource.Quantity, what string) {
		if a.Cmp(b) > 0 {
			f.add(field.Invalid(at.Child(name), a.String(), what+" "+b.String()))
		}
	}
	above("min", *r.Min, most, "is more than the capacity of")
	above("min", *r.Min, byDefault, "is more than the default of")
	if r.Max != nil {
		above("min", *r.Min, *r.Max, "is more than the maximum of")
		above("max", *r.Max, most, "is more than the capacity of")
		above("max", byDefault, *r.Max, "the default is more than the maximum of")
	}
	if r.Step == nil || len(*f) > before {
		j.unreadable(byDefault, r, at, f)
		return
	}
	if j.unreadable(byDefault, r, at, f) {
		return
	}
	j.steps(byDefault, most, r, at.Child("step"), f)
}

// milli says whether a range has parts of whole numbers, with which API servers reckon since 1.37.
func (j judge) milli(byDefault resource.Quantity, r *resourceapi.CapacityRequestPolicyRange) bool {
	if !j.has(fractionalRange) {
		return false
	}
	return slices.ContainsFunc([]*resource.Quantity{&byDefault, r.Min, r.Max, r.Step}, func(q *resource.Quantity) bool {
		if q == nil {
			return false
		}
		whole := resource.NewQuantity(q.Value(), q.Format)
		return q.CmpInt64(math.MaxInt64) <= 0 && whole.Cmp(*q) != 0
	})
}

// unreadable says so when a number has no place in what API servers reckon with.
func (j judge) unreadable(
	byDefault resource.Quantity, r *resourceapi.CapacityRequestPolicyRange, at *field.Path, f *findings,
) bool {
	milli, found := j.milli(byDefault, r), false
	for _, n := range []struct {
		q    *resource.Quantity
		name string
	}{{&byDefault, "default"}, {r.Min, "min"}, {r.Max, "max"}, {r.Step, "step"}} {
		switch {
		case n.q == nil:
		case milli:
			if resource.NewMilliQuantity(n.q.MilliValue(), n.q.Format).Cmp(*n.q) != 0 {
				f.add(field.Invalid(at.Child(n.name), n.q.String(), "must be a whole number of thousandths"))
				found = true
			}
		case r.Step == nil || j.minor == Oldest:
		case n.q.Sign() < 0 || n.q.CmpInt64(math.MaxInt64) > 0:
			f.add(field.Invalid(at.Child(n.name), n.q.String(), fmt.Sprintf("must be between 0 and %d", math.MaxInt64)))
			found = true
		}
	}
	return found
}

func (j judge) steps(
	byDefault, most resource.Quantity, r *resourceapi.CapacityRequestPolicyRange, at *field.Path, f *findings,
) {
	if r.Step.Sign() <= 0 {
		f.add(field.Invalid(at, r.Step.String(), "must be greater than zero"))
		return
	}
	next := r.Min.DeepCopy()
	next.Add(*r.Step)
	if next.Cmp(most) > 0 {
		f.add(field.Invalid(at, r.Step.String(), "the minimum and one step are more than the capacity of "+most.String()))
	}
	in := func(q resource.Quantity) int64 { return q.Value() }
	if j.milli(byDefault, r) {
		in = func(q resource.Quantity) int64 { return q.MilliValue() }
	}
	least, step := in(*r.Min), in(*r.Step)
	if step == 0 {
		return
	}
	for _, q := range []*resource.Quantity{&byDefault, r.Max} {
		if q != nil && (in(*q)-least)%step != 0 {
			f.add(field.Invalid(at, q.String(), fmt.Sprintf("must be some steps of %s above %s", r.Step, r.Min)))
		}
	}
}
