package agreement

import (
	"context"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	dracel "k8s.io/dynamic-resource-allocation/cel"
)

// id names a device in a cluster.
type id struct{ driver, pool, device string }

func (i id) String() string { return i.driver + "/" + i.pool + "/" + i.device }

func deviceOf(result *resourceapi.DeviceRequestAllocationResult) id {
	return id{result.Driver, result.Pool, result.Device}
}

// published is a device of a pool's newest generation.
type published struct {
	id
	*resourceapi.Device
	slice *resourceapi.ResourceSlice
}

// newest are the slices of each pool's newest generation, of pools that are as they should be.
func (c *checker) newest() (all []*resourceapi.ResourceSlice) {
	pools := map[id][]*resourceapi.ResourceSlice{}
	for _, slice := range c.cluster.Slices {
		pool := id{driver: slice.Spec.Driver, pool: slice.Spec.Pool.Name}
		seen := pools[pool]
		switch {
		case len(seen) == 0 || slice.Spec.Pool.Generation > seen[0].Spec.Pool.Generation:
			pools[pool] = []*resourceapi.ResourceSlice{slice}
		case slice.Spec.Pool.Generation == seen[0].Spec.Pool.Generation:
			pools[pool] = append(seen, slice)
		}
	}
	for _, slices := range pools {
		complete := slices[0].Spec.Pool.ResourceSliceCount == int64(len(slices))
		if (complete || c.old) && unambiguous(slices) {
			all = append(all, slices...)
		}
	}
	return all
}

func unambiguous(slices []*resourceapi.ResourceSlice) bool {
	names := map[string]bool{}
	for _, slice := range slices {
		for _, device := range slice.Spec.Devices {
			if names[device.Name] {
				return false
			}
			names[device.Name] = true
		}
	}
	return true
}

// reachable are the devices that a pod on the node can have, whoever has them now.
func (c *checker) reachable() map[id]*published {
	all := map[id]*published{}
	for _, slice := range c.newest() {
		for i := range slice.Spec.Devices {
			device := &published{
				id:     id{slice.Spec.Driver, slice.Spec.Pool.Name, slice.Spec.Devices[i].Name},
				Device: &slice.Spec.Devices[i], slice: slice,
			}
			spec := slice.Spec
			here := reaches(c.node, spec.NodeName, spec.AllNodes, spec.NodeSelector)
			if spec.PerDeviceNodeSelection != nil && *spec.PerDeviceNodeSelection {
				here = reaches(c.node, device.NodeName, device.AllNodes, device.NodeSelector)
			}
			if here {
				all[device.id] = device
			}
		}
	}
	return all
}

func reaches(node *corev1.Node, name *string, all *bool, selector *corev1.NodeSelector) bool {
	switch {
	case name != nil:
		return *name == node.Name
	case all != nil:
		return *all
	case selector == nil:
		return false
	}
	s, err := nodeaffinity.NewNodeSelector(selector)
	return err == nil && s.Match(node)
}

// taintsOf are those of the device that keep somebody away, with those that rules add.
func (c *checker) taintsOf(device *published) []resourceapi.DeviceTaint {
	taints := slices.Clone(device.Taints)
	for _, rule := range c.cluster.TaintRules {
		s := rule.Spec.DeviceSelector
		if s == nil || s.Driver != nil && *s.Driver != device.driver || s.Pool != nil && *s.Pool != device.pool ||
			s.Device != nil && *s.Device != device.device {
			continue
		}
		taints = append(taints, rule.Spec.Taint)
	}
	return slices.DeleteFunc(taints, func(taint resourceapi.DeviceTaint) bool {
		return taint.Effect == resourceapi.DeviceTaintEffectNone
	})
}

func tolerated(taint resourceapi.DeviceTaint, tolerations []resourceapi.DeviceToleration) bool {
	return slices.ContainsFunc(tolerations, func(t resourceapi.DeviceToleration) bool {
		return (t.Key == "" || t.Key == taint.Key) && (t.Effect == "" || t.Effect == taint.Effect) &&
			(t.Operator == resourceapi.DeviceTolerationOpExists || t.Value == taint.Value)
	})
}

// expressions are compiled once.
var expressions sync.Map

// matchesAll evaluates the selectors until one is false.
func matchesAll(ctx context.Context, selectors []resourceapi.DeviceSelector, device *published) (bool, error) {
	for _, selector := range selectors {
		known, found := expressions.Load(selector.CEL.Expression)
		if !found {
			compiler := dracel.GetCompiler(dracel.Features{EnableConsumableCapacity: true})
			compiled := compiler.CompileCELExpression(selector.CEL.Expression, dracel.Options{})
			known, _ = expressions.LoadOrStore(selector.CEL.Expression, &compiled)
		}
		compiled := known.(*dracel.CompilationResult)
		if compiled.Error != nil {
			return false, fmt.Errorf("compile %s: %w", selector.CEL.Expression, compiled.Error)
		}
		matches, _, err := compiled.DeviceMatches(ctx, dracel.Device{
			Driver: device.driver, AllowMultipleAllocations: device.AllowMultipleAllocations,
			Attributes: device.Attributes, Capacity: device.Capacity,
		})
		if err != nil || !matches {
			return false, err
		}
	}
	return true, nil
}
