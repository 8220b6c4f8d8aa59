package validate

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// feature is a feature gate and the fields that API servers drop where it is off
// (k8s.io/kubernetes/pkg/features/kube_features.go and pkg/registry/resource/*/strategy.go).
type feature struct {
	gate string
	// on is the first release 1.x in which it is on by default, 0 if there is none yet; since is the first one that has
	// the fields.
	on, since int
	// claim, slice and class are the fields below spec. "[]" is each item, "{}" each value of a map.
	claim, slice, class []string
	// kept are fields that 1.34 keeps although the gate is off there.
	kept []string
}

func requestFields(names ...string) []string {
	var all []string
	for _, name := range names {
		all = append(all, "devices.requests.[].exactly."+name, "devices.requests.[].firstAvailable.[]."+name)
	}
	return all
}

func deviceFields(names ...string) []string {
	all := make([]string, 0, len(names))
	for _, name := range names {
		all = append(all, "devices.[]."+name)
	}
	return all
}

// Names of feature gates.
const (
	consumableCapacity  = "DRAConsumableCapacity"
	deviceTaints        = "DRADeviceTaints"
	derivedAttributes   = "DRADerivedAttributes"
	listTypeAttributes  = "DRAListTypeAttributes"
	partitionTypes      = "DRAPartitionableDevicesType"
	fractionalRange     = "DRAFractionalCapacityRange"
	partitionable       = "DRAPartitionableDevices"
	bindingConditions   = "DRADeviceBindingConditions"
	extendedResource    = "DRAExtendedResource"
	compatibilityGroups = "DRADeviceCompatibilityGroups"
	nodeAllocatable     = "DRANodeAllocatableResources"
	nodeOperations      = "DRAOptionalNodeOperations"
)

func features() []feature {
	return []feature{
		{
			gate: consumableCapacity, on: 36, since: 34,
			claim: append(requestFields("capacity"), "devices.constraints.[].distinctAttribute"),
			slice: deviceFields("allowMultipleAllocations", "capacity.{}.requestPolicy"),
			kept:  []string{"devices.constraints.[].distinctAttribute"},
		},
		{
			gate: deviceTaints, on: 36, since: 34, claim: requestFields("tolerations"), slice: deviceFields("taints"),
			kept: requestFields("tolerations"),
		},
		{gate: derivedAttributes, since: 37, claim: requestFields("derivedAttributes")},
		{
			gate: partitionable, on: 36, since: 34, slice: append(
				deviceFields("consumesCounters", "nodeName", "nodeSelector", "allNodes"),
				"sharedCounters", "perDeviceNodeSelection"),
		},
		{
			gate: bindingConditions, on: 36, since: 34,
			slice: deviceFields("bindingConditions", "bindingFailureConditions", "bindsToNode"),
		},
		{gate: compatibilityGroups, since: 37, slice: deviceFields("consumesCounters.[].compatibilityGroups")},
		{gate: nodeAllocatable, since: 36, slice: deviceFields("nodeAllocatableResources")},
		{
			gate: listTypeAttributes, since: 36, slice: deviceFields(
				"attributes.{}.bools", "attributes.{}.ints", "attributes.{}.strings", "attributes.{}.versions"),
		},
		{gate: partitionTypes, since: 37, slice: []string{"partitionTypeAttribute"}},
		{gate: nodeOperations, since: 37, slice: []string{"skipNodeOperations"}},
		{gate: extendedResource, on: 36, since: 34, class: []string{"extendedResourceName"}},
	}
}

// has says whether a gate is on in the release, or was said to be.
func (j judge) has(gate string) bool {
	return j.hasIn(gate, j.minor)
}

func (j judge) hasIn(gate string, minor int) bool {
	if on, said := j.gates[gate]; said {
		return on
	}
	for _, f := range features() {
		if f.gate == gate {
			return f.on > 0 && minor >= f.on
		}
	}
	return false
}

// drop removes from the object what the release would drop, as it would before it judges the rest, and says so. In
// releases that do not know a field yet it is an error, as kubectl has the API server check the names of fields.
func (j judge) drop(object runtime.Object, f *findings) {
	for _, feature := range features() {
		paths, spec, at := feature.of(object)
		for _, path := range paths {
			keep := j.has(feature.gate) || j.minor == Oldest && slices.Contains(feature.kept, path)
			visit(spec, strings.Split(path, "."), at, keep, func(at *field.Path) {
				switch {
				case j.minor < feature.since:
					f.add(field.Forbidden(at, fmt.Sprintf("there is no such field before Kubernetes 1.%d", feature.since)))
				case !j.has(feature.gate) || j.any && !j.hasIn(feature.gate, Oldest):
					f.warn(at, "%s", j.needs(feature))
				}
			})
		}
	}
}

func (j judge) needs(f feature) string {
	needs := "needs the feature gate " + f.gate + ", which is off by default"
	switch {
	case !j.any:
		return fmt.Sprintf("%s in Kubernetes 1.%d; without it the field is dropped", needs, j.minor)
	case f.on == 0:
		return fmt.Sprintf("%s in all releases up to Kubernetes 1.%d; without it the field is dropped", needs, Newest)
	default:
		return fmt.Sprintf("%s before Kubernetes 1.%d; without it the field is dropped", needs, f.on)
	}
}

// of returns the fields that an object can have of the feature, and its spec.
func (f feature) of(object runtime.Object) ([]string, reflect.Value, *field.Path) {
	spec := field.NewPath("spec")
	switch o := object.(type) {
	case *resourceapi.ResourceClaim:
		return f.claim, reflect.ValueOf(&o.Spec).Elem(), spec
	case *resourceapi.ResourceClaimTemplate:
		return f.claim, reflect.ValueOf(&o.Spec.Spec).Elem(), spec.Child("spec")
	case *resourceapi.ResourceSlice:
		return f.slice, reflect.ValueOf(&o.Spec).Elem(), spec
	case *resourceapi.DeviceClass:
		return f.class, reflect.ValueOf(&o.Spec).Elem(), spec
	}
	return nil, reflect.Value{}, nil
}

// visit calls found for each place where something is set, and unsets it unless it is to be kept.
func visit(v reflect.Value, path []string, at *field.Path, keep bool, found func(*field.Path)) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		if len(path) > 0 {
			v = v.Elem()
		}
	}
	switch {
	case len(path) == 0:
		if !v.IsZero() {
			found(at)
			if !keep {
				v.SetZero()
			}
		}
	case path[0] == "[]":
		for i := range v.Len() {
			visit(v.Index(i), path[1:], at.Index(i), keep, found)
		}
	case path[0] == "{}":
		visitMap(v, path[1:], at, keep, found)
	default:
		for f, value := range v.Fields() {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name == path[0] {
				visit(value, path[1:], at.Child(name), keep, found)
			}
		}
	}
}

func visitMap(v reflect.Value, path []string, at *field.Path, keep bool, found func(*field.Path)) {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	for _, key := range keys {
		value := reflect.New(v.Type().Elem()).Elem()
		value.Set(v.MapIndex(key))
		visit(value, path, at.Key(key.String()), keep, found)
		v.SetMapIndex(key, value)
	}
}
