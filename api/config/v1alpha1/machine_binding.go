package v1alpha1

import (
	"encoding/json"
	"errors"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	// maxBindingConditions is a limit of the resource API, for conditions and for failure conditions.
	maxBindingConditions = 4
	// maxDelay is more than the ten minutes that the scheduler waits.
	maxDelay = time.Hour
)

// Binding says how a device is attached to a node. The scheduler waits with binding the pod until it is.
type Binding struct {
	// Conditions are those that must be true in the status of the claim before the pod is bound, 1 to 4 names such as
	// gpu.example.com/attached. The controller sets them all when the device is attached.
	// +required
	Conditions []string `json:"conditions"`

	// FailureConditions are those of which the controller sets the first when the device cannot be attached, at most 4
	// names. The scheduler then looks for another device.
	// +optional
	FailureConditions []string `json:"failureConditions,omitempty"`

	// BindsToNode says that the device, once allocated, can only be used on the node that it was allocated for.
	// +optional
	BindsToNode bool `json:"bindsToNode,omitempty"`

	// Delay is how long attaching takes, such as 2s; at most 1h. Default: no time.
	// +optional
	Delay Duration `json:"delay,omitzero"`

	// FailurePercent is how many of 100 attempts to attach the device fail. The same attempt has the same result each
	// time. It needs a failure condition.
	// +minimum=0
	// +maximum=100
	// +optional
	FailurePercent int `json:"failurePercent,omitempty"`
}

// Duration is a length of time such as 2s or 1m30s.
type Duration struct{ time.Duration }

// UnmarshalJSON accepts a text.
func (d *Duration) UnmarshalJSON(raw []byte) error {
	var text string
	if err := json.Unmarshal(raw, &text); err == nil {
		if value, err := time.ParseDuration(text); err == nil {
			d.Duration = value
			return nil
		}
	}
	return errors.New("must be a duration such as 2s or 1m30s")
}

// MarshalJSON writes what UnmarshalJSON reads.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

func (b *Binding) validate(at *field.Path) field.ErrorList {
	if b == nil {
		return nil
	}
	var errs field.ErrorList
	if len(b.Conditions) == 0 {
		errs = append(errs, field.Required(at.Child("conditions"), "say what the scheduler waits for"))
	}
	errs = append(errs, validateConditions(b.Conditions, at.Child("conditions"))...)
	errs = append(errs, validateConditions(b.FailureConditions, at.Child("failureConditions"))...)
	for i, name := range b.FailureConditions {
		if slices.Contains(b.Conditions, name) {
			errs = append(errs, field.Invalid(at.Child("failureConditions").Index(i), name,
				"is one of the conditions that say that it has been attached"))
		}
	}
	if b.Delay.Duration < 0 || b.Delay.Duration > maxDelay {
		errs = append(errs, field.Invalid(at.Child("delay"), b.Delay.String(), "must be between 0s and 1h"))
	}
	switch {
	case b.FailurePercent < 0 || b.FailurePercent > 100:
		errs = append(errs, field.Invalid(at.Child("failurePercent"), b.FailurePercent,
			validation.InclusiveRangeError(0, 100)))
	case b.FailurePercent > 0 && len(b.FailureConditions) == 0:
		errs = append(errs, field.Required(at.Child("failureConditions"),
			"say that attaching has failed, which failurePercent makes it do"))
	}
	return errs
}

func validateConditions(names []string, at *field.Path) field.ErrorList {
	if len(names) > maxBindingConditions {
		return field.ErrorList{field.TooMany(at, len(names), maxBindingConditions)}
	}
	var errs field.ErrorList
	for i, name := range names {
		for _, problem := range validation.IsQualifiedName(name) {
			errs = append(errs, field.Invalid(at.Index(i), name, problem))
		}
		if slices.Contains(names[:i], name) {
			errs = append(errs, field.Duplicate(at.Index(i), name))
		}
	}
	return errs
}
