package v1alpha1

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// maxTaints is one less than Kubernetes 1.34 takes (4; 16 since 1.35): a device that gets unhealthy gets one more.
const maxTaints = 3

// Taint keeps away the pods whose claims do not tolerate it.
type Taint struct {
	// Key is a name such as example.com/maintenance.
	// +required
	Key string `json:"key"`

	// Value is what tolerations may compare, a label value.
	// +optional
	Value string `json:"value,omitempty"`

	// Effect is what the taint does: NoSchedule keeps new pods away, NoExecute evicts running ones, too, and None, which
	// needs Kubernetes 1.35, is for information.
	// +enum=NoSchedule,NoExecute,None
	// +required
	Effect string `json:"effect"`
}

func taintEffects() []string { return []string{"NoSchedule", "NoExecute", "None"} }

func validateTaints(taints []Taint, at *field.Path) field.ErrorList {
	if len(taints) > maxTaints {
		return field.ErrorList{field.TooMany(at, len(taints), maxTaints)}
	}
	var errs field.ErrorList
	for i, taint := range taints {
		at := at.Index(i)
		for _, problem := range validation.IsQualifiedName(taint.Key) {
			errs = append(errs, field.Invalid(at.Child("key"), taint.Key, problem))
		}
		for _, problem := range validation.IsValidLabelValue(taint.Value) {
			errs = append(errs, field.Invalid(at.Child("value"), taint.Value, problem))
		}
		switch {
		case taint.Effect == "":
			errs = append(errs, field.Required(at.Child("effect"), fmt.Sprintf("one of %v", taintEffects())))
		case !slices.Contains(taintEffects(), taint.Effect):
			errs = append(errs, field.NotSupported(at.Child("effect"), taint.Effect, taintEffects()))
		}
		same := func(t Taint) bool { return t.Key == taint.Key && t.Effect == taint.Effect }
		if slices.ContainsFunc(taints[:i], same) {
			errs = append(errs, field.Duplicate(at, taint.Key+":"+taint.Effect))
		}
	}
	return errs
}
