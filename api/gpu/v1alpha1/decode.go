package v1alpha1

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
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
	if sharing.Strategy == MPSStrategy && sharing.MPSConfig == nil {
		sharing.MPSConfig = &MPSConfig{}
	}
	if sharing.TimeSlicingConfig != nil && sharing.TimeSlicingConfig.Interval == "" {
		sharing.TimeSlicingConfig.Interval = DefaultTimeSlice
	}
}

// Validate reports all that is wrong with a config after SetDefaults, with paths below at.
func Validate(config *GpuConfig, at *field.Path) field.ErrorList {
	at = at.Child("sharing")
	sharing := config.Sharing
	if sharing == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	switch strategy := sharing.Strategy; strategy {
	case TimeSlicingStrategy, SpacePartitioningStrategy, MPSStrategy, ExclusiveStrategy:
	case "":
		detail := "must be TimeSlicing, SpacePartitioning, MPS or Exclusive"
		errs = append(errs, field.Required(at.Child("strategy"), detail))
	default:
		known := []GpuSharingStrategy{TimeSlicingStrategy, SpacePartitioningStrategy, MPSStrategy, ExclusiveStrategy}
		errs = append(errs, field.NotSupported(at.Child("strategy"), strategy, known))
	}
	if sharing.TimeSlicingConfig != nil {
		at := at.Child("timeSlicingConfig")
		errs = append(errs, validateOwner(sharing, TimeSlicingStrategy, at)...)
		errs = append(errs, validateTimeSlicing(sharing.TimeSlicingConfig, at)...)
	}
	if sharing.SpacePartitioningConfig != nil {
		at := at.Child("spacePartitioningConfig")
		errs = append(errs, validateOwner(sharing, SpacePartitioningStrategy, at)...)
		errs = append(errs, validateSpacePartitioning(sharing.SpacePartitioningConfig, at)...)
	}
	if sharing.MPSConfig != nil {
		at := at.Child("mpsConfig")
		errs = append(errs, validateOwner(sharing, MPSStrategy, at)...)
		errs = append(errs, validateMPS(sharing.MPSConfig, at)...)
	}
	return errs
}

// validateOwner refuses the configuration of one strategy beside another known strategy.
func validateOwner(sharing *GpuSharing, owner GpuSharingStrategy, at *field.Path) field.ErrorList {
	switch sharing.Strategy {
	case TimeSlicingStrategy, SpacePartitioningStrategy, MPSStrategy, ExclusiveStrategy:
		if sharing.Strategy != owner {
			return field.ErrorList{field.Forbidden(at,
				fmt.Sprintf("belongs to the strategy %s, but the strategy is %s", owner, sharing.Strategy))}
		}
	}
	return nil
}

func validateTimeSlicing(config *TimeSlicingConfig, at *field.Path) field.ErrorList {
	switch config.Interval {
	case DefaultTimeSlice, ShortTimeSlice, MediumTimeSlice, LongTimeSlice:
		return nil
	default:
		allowed := []TimeSliceInterval{DefaultTimeSlice, ShortTimeSlice, MediumTimeSlice, LongTimeSlice}
		return field.ErrorList{field.NotSupported(at.Child("interval"), config.Interval, allowed)}
	}
}

func validateSpacePartitioning(config *SpacePartitioningConfig, at *field.Path) field.ErrorList {
	if count := config.PartitionCount; count < 0 {
		return field.ErrorList{field.Invalid(at.Child("partitionCount"), count, "must not be negative")}
	}
	return nil
}

func validateMPS(config *MPSConfig, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if percentage := config.DefaultActiveThreadPercentage; percentage != nil && (*percentage < 1 || *percentage > 100) {
		at := at.Child("defaultActiveThreadPercentage")
		errs = append(errs, field.Invalid(at, *percentage, "must be between 1 and 100, a percentage"))
	}
	if limit := config.DefaultPinnedDeviceMemoryLimit; limit != nil {
		errs = append(errs, validateMemoryLimit(*limit, at.Child("defaultPinnedDeviceMemoryLimit"))...)
	}
	for _, key := range slices.Sorted(maps.Keys(config.DefaultPerDevicePinnedMemoryLimit)) {
		at := at.Child("defaultPerDevicePinnedMemoryLimit").Key(strict.Shown(key))
		if !isDeviceKey(key) {
			errs = append(errs, field.Invalid(at, strict.Shown(key),
				`must be the UUID of a device ("GPU-…" or "MIG-…") or its index in the claim, from 0`))
		}
		errs = append(errs, validateMemoryLimit(config.DefaultPerDevicePinnedMemoryLimit[key], at)...)
	}
	return errs
}

// isDeviceKey says whether key names a device by UUID or by index; an index is written in one way only.
func isDeviceKey(key string) bool {
	if id, ok := strings.CutPrefix(strings.TrimPrefix(key, "MIG-"), "GPU-"); ok || strings.HasPrefix(key, "MIG-") {
		return id != "" && !strings.ContainsFunc(id, func(c rune) bool {
			return c != '-' && c != '/' && (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F')
		})
	}
	index, err := strconv.ParseUint(key, 10, 16)
	return err == nil && strconv.FormatUint(index, 10) == key
}

func validateMemoryLimit(limit resource.Quantity, at *field.Path) field.ErrorList {
	if least := resource.MustParse("1Mi"); limit.Cmp(least) < 0 {
		return field.ErrorList{field.Invalid(at, limit.String(), "must be at least 1Mi")}
	}
	return nil
}
