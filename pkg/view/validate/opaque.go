package validate

import (
	"encoding/json"
	"slices"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
	"example.com/dragoman/pkg/claim"
)

// configuration is the part that all drivers have in common.
func (f *findings) configuration(config resourceapi.DeviceConfiguration, at *field.Path) {
	at = at.Child("opaque")
	if config.Opaque == nil {
		f.add(field.Required(at, "the driver and the parameters for it"))
		return
	}
	f.driverName(config.Opaque.Driver, at.Child("driver"))
	raw := config.Opaque.Parameters.Raw
	at = at.Child("parameters")
	var value any
	switch err := json.Unmarshal(raw, &value); {
	case len(raw) == 0:
		f.add(field.Required(at, "an object that the driver understands"))
	case len(raw) > resourceapi.OpaqueParametersMaxLength:
		f.add(field.TooLong(at, "", resourceapi.OpaqueParametersMaxLength))
	case err != nil:
		f.add(field.Invalid(at, field.OmitValueType{}, "must be JSON: "+err.Error()))
	case value == nil:
		f.add(field.Required(at, "an object that the driver understands"))
	default:
		if _, is := value.(map[string]any); !is {
			f.add(field.TypeInvalid(at, field.OmitValueType{}, "must be an object"))
		}
	}
}

// opaque asks the function that the driver asks when it prepares a claim, about the configurations that it would read.
// Whatever the driver is called in a cluster, its configurations say what they are.
func (f *findings) opaque(object runtime.Object) {
	for _, driver := range driversWithOurConfiguration(object) {
		problems := claim.Review(object, claim.Options{
			DriverName: driver, Decode: gpuv1alpha1.Decode,
			Default: func() runtime.Object { return gpuv1alpha1.Default() },
		})
		if problems == nil {
			continue
		}
		for _, p := range problems.Problems {
			f.add(p.Detail)
		}
	}
}

// ourDriver is what the driver is called unless an operator says otherwise.
const ourDriver = "gpu.example.com"

func driversWithOurConfiguration(object runtime.Object) []string {
	var drivers []string
	for _, config := range configurations(object) {
		if config.Opaque == nil {
			continue
		}
		var header struct {
			APIVersion string `json:"apiVersion"`
		}
		group := ""
		if json.Unmarshal(config.Opaque.Parameters.Raw, &header) == nil {
			group, _, _ = strings.Cut(header.APIVersion, "/")
		}
		if config.Opaque.Driver == ourDriver || group == gpuv1alpha1.GroupVersion().Group {
			drivers = append(drivers, config.Opaque.Driver)
		}
	}
	slices.Sort(drivers)
	return slices.Compact(drivers)
}

func configurations(object runtime.Object) []resourceapi.DeviceConfiguration {
	var all []resourceapi.DeviceConfiguration
	ofClaim := func(configs []resourceapi.DeviceClaimConfiguration) {
		for _, config := range configs {
			all = append(all, config.DeviceConfiguration)
		}
	}
	switch o := object.(type) {
	case *resourceapi.ResourceClaim:
		ofClaim(o.Spec.Devices.Config)
	case *resourceapi.ResourceClaimTemplate:
		ofClaim(o.Spec.Spec.Devices.Config)
	case *resourceapi.DeviceClass:
		for _, config := range o.Spec.Config {
			all = append(all, config.DeviceConfiguration)
		}
	}
	return all
}
