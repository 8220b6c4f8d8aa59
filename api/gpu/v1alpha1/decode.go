package v1alpha1

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"example.com/dragoman/api/internal/strict"
)

// Decode reads the parameters of one opaque configuration, JSON or YAML, strictly, sets what they leave out and
// validates the result. It reports all problems at once, each with its path below at. Without problems the object is a
// *GpuConfig, otherwise nil.
func Decode(raw []byte, at *field.Path) (runtime.Object, field.ErrorList) {
	config := &GpuConfig{}
	form := strict.Decode(raw, at, GroupVersion().WithKind(GpuConfigKind), config)
	if config.Kind == "" { // not even the right kind: its content says nothing
		return nil, form
	}
	SetDefaults(config)
	if errs := strict.Join(form, Validate(config, at)); len(errs) > 0 {
		return nil, errs
	}
	return config, nil
}

// Default returns what a claim without configuration gets: TimeSlicing with interval Default.
func Default() *GpuConfig {
	config := &GpuConfig{}
	config.SetGroupVersionKind(GroupVersion().WithKind(GpuConfigKind))
	SetDefaults(config)
	return config
}

// SetDefaults sets what config leaves out, field by field.
func SetDefaults(config *GpuConfig) {
	if config.Sharing == nil {
		config.Sharing = &GpuSharing{Strategy: TimeSlicingStrategy}
	}
	sharing := config.Sharing
	if sharing.Strategy == TimeSlicingStrategy && sharing.TimeSlicingConfig == nil {
		sharing.TimeSlicingConfig = &TimeSlicingConfig{}
	}
	if sharing.Strategy == SpacePartitioningStrategy && sharing.SpacePartitioningConfig == nil {
		sharing.SpacePartitioningConfig = &SpacePartitioningConfig{PartitionCount: 1}
	}
	if sharing.TimeSlicingConfig != nil && sharing.TimeSlicingConfig.Interval == "" {
		sharing.TimeSlicingConfig.Interval = DefaultTimeSlice
	}
}

// Validate reports all that is wrong with a config after SetDefaults, with paths below at.
func Validate(config *GpuConfig, at *field.Path) field.ErrorList {
	at = at.Child("sharing")
	if config.Sharing == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	strategies := []GpuSharingStrategy{TimeSlicingStrategy, SpacePartitioningStrategy}
	switch strategy := config.Sharing.Strategy; strategy {
	case TimeSlicingStrategy, SpacePartitioningStrategy:
	case "":
		errs = append(errs, field.Required(at.Child("strategy"), "must be TimeSlicing or SpacePartitioning"))
	default:
		errs = append(errs, field.NotSupported(at.Child("strategy"), strategy, strategies))
	}
	errs = append(errs, validateTimeSlicing(config.Sharing, at.Child("timeSlicingConfig"))...)
	return append(errs, validateSpacePartitioning(config.Sharing, at.Child("spacePartitioningConfig"))...)
}

func validateTimeSlicing(sharing *GpuSharing, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if sharing.TimeSlicingConfig == nil {
		return nil
	}
	if sharing.Strategy == SpacePartitioningStrategy {
		errs = append(errs, field.Forbidden(at,
			"belongs to the strategy TimeSlicing, but the strategy is SpacePartitioning"))
	}
	switch interval := sharing.TimeSlicingConfig.Interval; interval {
	case DefaultTimeSlice, ShortTimeSlice, MediumTimeSlice, LongTimeSlice:
	default:
		allowed := []TimeSliceInterval{DefaultTimeSlice, ShortTimeSlice, MediumTimeSlice, LongTimeSlice}
		errs = append(errs, field.NotSupported(at.Child("interval"), interval, allowed))
	}
	return errs
}

func validateSpacePartitioning(sharing *GpuSharing, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if sharing.SpacePartitioningConfig == nil {
		return nil
	}
	if sharing.Strategy == TimeSlicingStrategy {
		errs = append(errs, field.Forbidden(at,
			"belongs to the strategy SpacePartitioning, but the strategy is TimeSlicing"))
	}
	if count := sharing.SpacePartitioningConfig.PartitionCount; count < 0 {
		errs = append(errs, field.Invalid(at.Child("partitionCount"), count, "must not be negative"))
	}
	return errs
}
