package inventory

import (
	"fmt"
	"math"
	"slices"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// maxValidValues is how many validValues a request policy has room for.
const maxValidValues = 10

// badRequestPolicy checks how a capacity may be divided. Where versions of Kubernetes differ, the strictest counts.
func badRequestPolicy(value resource.Quantity, p resourceapi.CapacityRequestPolicy) string {
	switch {
	case len(p.ValidValues) > 0 && p.ValidRange != nil:
		return "has validValues and validRange, of which the API allows one"
	case len(p.ValidValues) == 0 && p.ValidRange == nil:
		return ""
	case p.Default == nil:
		return "has no default, which it needs beside validValues or validRange"
	case p.ValidRange != nil:
		return badRange(value, *p.Default, *p.ValidRange)
	default:
		return badValidValues(value, *p.Default, p.ValidValues)
	}
}

func badValidValues(value, byDefault resource.Quantity, valid []resource.Quantity) string {
	if len(valid) > maxValidValues {
		return fmt.Sprintf("has %d validValues, of which the API allows %d", len(valid), maxValidValues)
	}
	for i, v := range valid {
		switch {
		case v.Cmp(value) > 0:
			return fmt.Sprintf("has the valid value %s, more than the capacity %s", v.String(), value.String())
		case i > 0 && valid[i-1].Cmp(v) >= 0:
			return "has validValues that do not rise"
		case i > 0 && valid[i-1].Value() == v.Value(): // Clusters before 1.37 compare integers only.
			return fmt.Sprintf("has the valid values %s and %s, which are the same as integers",
				valid[i-1].String(), v.String())
		}
	}
	if !slices.ContainsFunc(valid, func(v resource.Quantity) bool { return v.Cmp(byDefault) == 0 }) {
		return fmt.Sprintf("has the default %s, which is not one of its validValues", byDefault.String())
	}
	return ""
}

func badRange(value, byDefault resource.Quantity, r resourceapi.CapacityRequestPolicyRange) string {
	if r.Min == nil {
		return "has a validRange without min"
	}
	if r.Min.Cmp(value) > 0 || r.Min.Cmp(byDefault) > 0 {
		return fmt.Sprintf("has the min %s, more than the default %s or the capacity %s", r.Min, &byDefault, &value)
	}
	if r.Max != nil && (r.Max.Cmp(value) > 0 || r.Max.Cmp(byDefault) < 0 || r.Max.Cmp(*r.Min) < 0) {
		return fmt.Sprintf("has the max %s, which is not between the default %s and the capacity %s", r.Max, &byDefault,
			&value)
	}
	numbers := slices.DeleteFunc([]*resource.Quantity{r.Min, &byDefault, r.Max, r.Step},
		func(q *resource.Quantity) bool { return q == nil })
	fractional := slices.ContainsFunc(numbers, func(q *resource.Quantity) bool { return !isInteger(*q) })
	for _, q := range numbers {
		if q.Sign() < 0 || q.CmpInt64(math.MaxInt64) > 0 || fractional && !isMilli(*q) {
			return fmt.Sprintf("has the number %s, which is negative, too large, or not in thousandths", q)
		}
	}
	if r.Step == nil {
		return ""
	}
	next := r.Min.DeepCopy()
	next.Add(*r.Step)
	switch {
	case r.Step.Sign() == 0:
		return "has the step 0"
	case next.Cmp(value) > 0:
		return fmt.Sprintf("has the step %s, which does not fit between min %s and the capacity %s", r.Step, r.Min, &value)
	case !reachable(byDefault, *r.Min, *r.Step, fractional):
		return fmt.Sprintf("has the default %s, which is not min %s plus steps of %s", &byDefault, r.Min, r.Step)
	case r.Max != nil && !reachable(*r.Max, *r.Min, *r.Step, fractional):
		return fmt.Sprintf("has the max %s, which is not min %s plus steps of %s", r.Max, r.Min, r.Step)
	}
	return ""
}

// reachable says whether q is low plus some steps, both as clusters from 1.37 on count fractions, in thousandths, and
// as earlier ones do, in integers, rounding up.
func reachable(q, low, step resource.Quantity, fractional bool) bool {
	if fractional && (q.MilliValue()-low.MilliValue())%step.MilliValue() != 0 {
		return false
	}
	return (q.Value()-low.Value())%step.Value() == 0
}

func isInteger(q resource.Quantity) bool {
	return q.Cmp(*resource.NewQuantity(q.Value(), q.Format)) == 0
}

func isMilli(q resource.Quantity) bool {
	return q.Cmp(*resource.NewMilliQuantity(q.MilliValue(), q.Format)) == 0
}
