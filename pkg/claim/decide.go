package claim

import (
	"errors"
	"fmt"
	"slices"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
)

// useDefault is the ConfigIndex of the default configuration.
const useDefault = -1

// Decide reads from an allocated claim which devices of this driver it got and with which configuration. A claim
// without any gives an empty plan.
//
// The error is one of [ErrNotAllocated], [*ResultError] and [*ConfigError]. Its text starts with the fact and is the
// same each time, since it ends up in events of the pod.
func Decide(c *resourceapi.ResourceClaim, o Options) (Plan, error) {
	if c == nil {
		return Plan{}, fmt.Errorf("claim %w", ErrNotAllocated)
	}
	if c.Status.Allocation == nil {
		return Plan{}, fmt.Errorf("claim %s/%s %w", c.Namespace, c.Name, ErrNotAllocated)
	}
	plan := Plan{Namespace: c.Namespace, Name: c.Name, UID: c.UID}
	for _, result := range c.Status.Allocation.Devices.Results {
		if result.Driver == o.DriverName {
			plan.Devices = append(plan.Devices, Device{Result: *result.DeepCopy(), ConfigIndex: useDefault})
		}
	}
	if err := checkResults(plan.Devices, o.PoolName); err != nil {
		return Plan{}, err
	}
	if err := configure(plan.Devices, c, o); err != nil {
		return Plan{}, err
	}
	return plan, nil
}

// configure sets Config and ConfigIndex of all devices, or says all that is wrong with the configurations.
func configure(devices []Device, c *resourceapi.ResourceClaim, o Options) error {
	configs := c.Status.Allocation.Devices.Config
	decoded := make([]runtime.Object, len(configs))
	problems := make([][]Problem, len(configs))

	for _, index := range byPrecedence(configs) {
		entry := configs[index]
		if entry.Opaque == nil || entry.Opaque.Driver != o.DriverName {
			continue
		}
		used := apply(devices, entry, index)
		if !used {
			continue
		}
		from := originOf(c, devices, index)
		config, errs := o.Decode(entry.Opaque.Parameters.Raw, from.path.Child("opaque", "parameters"))
		if config == nil && len(errs) == 0 {
			errs = field.ErrorList{field.Required(from.path.Child("opaque", "parameters"), "")}
		}
		for _, err := range errs {
			problems[index] = append(problems[index], Problem{Source: from.source, Detail: err})
		}
		decoded[index] = config
	}
	if all := slices.Concat(problems...); len(all) > 0 {
		return &ConfigError{Problems: all}
	}

	fallback := o.Default()
	for i := range devices {
		if devices[i].Config = fallback; devices[i].ConfigIndex != useDefault {
			devices[i].Config = decoded[devices[i].ConfigIndex]
		}
	}
	return checkAdminAccess(devices, c, fallback)
}

// apply makes index the configuration of all devices to which entry applies, over what they had before, and says
// whether there are any.
func apply(devices []Device, entry resourceapi.DeviceAllocationConfiguration, index int) bool {
	used := false
	for i := range devices {
		if devices[i].adminAccess() && entry.Source == resourceapi.AllocationConfigSourceClass {
			continue
		}
		one := []resourceapi.DeviceAllocationConfiguration{entry}
		if len(resourceclaim.ConfigForResult(one, devices[i].Result)) > 0 {
			devices[i].ConfigIndex = index
			used = true
		}
	}
	return used
}

// byPrecedence returns the indexes of configs so that later ones win: those of classes first, else as they come.
func byPrecedence(configs []resourceapi.DeviceAllocationConfiguration) []int {
	indexes := make([]int, 0, len(configs))
	for _, ofClass := range []bool{true, false} {
		for i := range configs {
			if (configs[i].Source == resourceapi.AllocationConfigSourceClass) == ofClass {
				indexes = append(indexes, i)
			}
		}
	}
	return indexes
}

// checkAdminAccess refuses configurations that would change a device which is there for admin access.
func checkAdminAccess(devices []Device, c *resourceapi.ResourceClaim, fallback runtime.Object) error {
	requests := make(map[int][]string) // by ConfigIndex
	for _, d := range devices {
		if !d.adminAccess() || sameConfig(d.Config, fallback) {
			continue
		}
		if of := requests[d.ConfigIndex]; !slices.Contains(of, d.Result.Request) {
			requests[d.ConfigIndex] = append(of, d.Result.Request)
		}
	}
	var problems []Problem
	for index := range c.Status.Allocation.Devices.Config {
		if len(requests[index]) == 0 {
			continue
		}
		from := originOf(c, devices, index)
		detail := fmt.Sprintf("applies to %s with admin access, which never changes a device because somebody else "+
			"may be using it; name only requests without admin access here", quoted("request", requests[index]))
		forbidden := field.Forbidden(from.path.Child("requests"), detail)
		problems = append(problems, Problem{Source: from.source, Detail: forbidden})
	}
	if len(problems) > 0 {
		return &ConfigError{Problems: problems}
	}
	return nil
}

// sameConfig compares what two configurations say; whether they spell out their kind does not matter.
func sameConfig(a, b runtime.Object) bool {
	a, b = a.DeepCopyObject(), b.DeepCopyObject()
	a.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	b.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return equality.Semantic.DeepEqual(a, b)
}

// ErrNotAllocated means that the claim has no devices yet.
var ErrNotAllocated = errors.New("is not allocated")
