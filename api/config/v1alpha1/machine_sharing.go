package v1alpha1

import (
	"fmt"
	"math"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// maxValidValues is a limit of the resource API (CapacityRequestPolicyDiscreteMaxOptions).
const maxValidValues = 10

// RequestPolicy says how much of a capacity a claim can have. At most one of validValues and validRange is set; without
// either a claim can have any amount. All amounts are whole numbers: before Kubernetes 1.37 the API server rounds
// others when it compares them.
type RequestPolicy struct {
	// Default is what a claim gets that does not say how much it wants.
	// +required
	Default *Quantity `json:"default"`

	// ValidValues are the amounts that there are, at most 10, in ascending order, the default among them. A claim gets
	// the smallest that is enough for it.
	// +optional
	ValidValues []Quantity `json:"validValues,omitempty"`

	// ValidRange says between which limits, and in which steps, amounts can be.
	// +optional
	ValidRange *ValidRange `json:"validRange,omitempty"`
}

// ValidRange are amounts from a smallest to a largest one.
type ValidRange struct {
	// Min is the smallest amount. A claim that wants less gets this.
	// +required
	Min *Quantity `json:"min"`

	// Max is the largest amount. Default: the whole capacity.
	// +optional
	Max *Quantity `json:"max,omitempty"`

	// Step is what amounts can differ by, beginning at min: a claim gets the next one that is enough. Default: any.
	// +optional
	Step *Quantity `json:"step,omitempty"`
}

// validate checks the policy against the rules of the resource API for a capacity of the given value.
func (p *RequestPolicy) validate(value *Quantity, at *field.Path) field.ErrorList {
	if p == nil || value == nil {
		return nil
	}
	if p.Default == nil {
		return field.ErrorList{field.Required(at.Child("default"), "is what a claim gets that does not say how much")}
	}
	if errs := p.validateNumbers(at); len(errs) > 0 {
		return errs
	}
	switch {
	case p.Default.Cmp(value.Quantity) > 0:
		return field.ErrorList{field.Invalid(at.Child("default"), p.Default.String(), moreThan(value))}
	case len(p.ValidValues) > 0 && p.ValidRange != nil:
		return field.ErrorList{field.Forbidden(at.Child("validRange"), "there are validValues already")}
	case len(p.ValidValues) > 0:
		return p.validateValues(value, at.Child("validValues"))
	case p.ValidRange != nil:
		return p.ValidRange.validate(p.Default, value, at.Child("validRange"))
	}
	return nil
}

// validateNumbers checks that every amount is one that all API servers calculate with in the same way.
func (p *RequestPolicy) validateNumbers(at *field.Path) field.ErrorList {
	errs := validateWhole(p.Default, at.Child("default"))
	for i := range p.ValidValues {
		errs = append(errs, validateWhole(&p.ValidValues[i], at.Child("validValues").Index(i))...)
	}
	if r := p.ValidRange; r != nil {
		at = at.Child("validRange")
		errs = append(errs, validateWhole(r.Min, at.Child("min"))...)
		errs = append(errs, validateWhole(r.Max, at.Child("max"))...)
		errs = append(errs, validateWhole(r.Step, at.Child("step"))...)
	}
	return errs
}

func validateWhole(q *Quantity, at *field.Path) field.ErrorList {
	switch {
	case q == nil:
		return nil
	case q.CmpInt64(math.MaxInt64) > 0:
		return field.ErrorList{field.Invalid(at, q.String(), "must not be more than 9223372036854775807")}
	case q.CmpInt64(q.Value()) != 0:
		return field.ErrorList{field.Invalid(at, q.String(),
			"must be a whole number: Kubernetes 1.36 and before rounds others")}
	}
	return nil
}

func (p *RequestPolicy) validateValues(value *Quantity, at *field.Path) field.ErrorList {
	if len(p.ValidValues) > maxValidValues {
		return field.ErrorList{field.TooMany(at, len(p.ValidValues), maxValidValues)}
	}
	var errs field.ErrorList
	hasDefault := false
	for i := range p.ValidValues {
		v := &p.ValidValues[i]
		hasDefault = hasDefault || v.Cmp(p.Default.Quantity) == 0
		switch {
		case v.Cmp(value.Quantity) > 0:
			errs = append(errs, field.Invalid(at.Index(i), v.String(), moreThan(value)))
		case i > 0 && v.Cmp(p.ValidValues[i-1].Quantity) == 0:
			errs = append(errs, field.Duplicate(at.Index(i), v.String()))
		case i > 0 && v.Cmp(p.ValidValues[i-1].Quantity) < 0:
			errs = append(errs, field.Invalid(at.Index(i), v.String(), "must be more than the value before it"))
		}
	}
	if !hasDefault {
		errs = append(errs, field.Invalid(at, p.Default.String(), "the default must be among the values"))
	}
	return errs
}

func (r *ValidRange) validate(byDefault, value *Quantity, at *field.Path) field.ErrorList {
	if r.Min == nil {
		return field.ErrorList{field.Required(at.Child("min"), "is the smallest amount that a claim can have")}
	}
	most, name := value, "the capacity"
	if r.Max != nil {
		if r.Max.Cmp(value.Quantity) > 0 {
			return field.ErrorList{field.Invalid(at.Child("max"), r.Max.String(), moreThan(value))}
		}
		most, name = r.Max, "max"
	}
	if r.Min.Cmp(most.Quantity) > 0 {
		return field.ErrorList{field.Invalid(at.Child("min"), r.Min.String(),
			fmt.Sprintf("is more than %s of %s", name, most.String()))}
	}
	if byDefault.Cmp(r.Min.Quantity) < 0 || byDefault.Cmp(most.Quantity) > 0 {
		return field.ErrorList{field.Invalid(at, byDefault.String(),
			fmt.Sprintf("the default must be between min, %s, and %s, %s", r.Min.String(), name, most.String()))}
	}
	return r.validateStep(byDefault, value, at.Child("step"))
}

// validateStep is called when all amounts are whole numbers in their order.
func (r *ValidRange) validateStep(byDefault, value *Quantity, at *field.Path) field.ErrorList {
	if r.Step == nil {
		return nil
	}
	if r.Step.Sign() <= 0 {
		return field.ErrorList{field.Invalid(at, r.Step.String(), "must be more than 0")}
	}
	second := r.Min.DeepCopy()
	second.Add(r.Step.Quantity)
	if second.Cmp(value.Quantity) > 0 {
		return field.ErrorList{field.Invalid(at, r.Step.String(), fmt.Sprintf(
			"min and one step are more than the capacity of %s", value.String()))}
	}
	var errs field.ErrorList
	for _, end := range []struct {
		name string
		q    *Quantity
	}{{"the default", byDefault}, {"max", r.Max}} {
		if end.q != nil && (end.q.Value()-r.Min.Value())%r.Step.Value() != 0 {
			errs = append(errs, field.Invalid(at, r.Step.String(), fmt.Sprintf(
				"%s, %s, must be a number of steps above min, %s", end.name, end.q.String(), r.Min.String())))
		}
	}
	return errs
}

func moreThan(capacity *Quantity) string { return "is more than the capacity of " + capacity.String() }
