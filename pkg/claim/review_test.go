package claim_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
	"example.com/dragoman/pkg/claim"
)

// TestConfigurationsAreReviewedBeforeAnybodyHasDevices is about where the problems are; what they are is Decide's.
func TestConfigurationsAreReviewedBeforeAnybodyHasDevices(t *testing.T) {
	wrong := resourceapi.DeviceConfiguration{Opaque: &resourceapi.OpaqueDeviceConfiguration{
		Driver: "gpu.example.com", Parameters: runtime.RawExtension{Raw: []byte(`{}`)},
	}}
	devices := resourceapi.DeviceClaim{
		Requests: []resourceapi.DeviceRequest{{Name: "a", FirstAvailable: []resourceapi.DeviceSubRequest{{Name: "b"}}}},
		Config:   []resourceapi.DeviceClaimConfiguration{{Requests: []string{"a/b"}, DeviceConfiguration: wrong}},
	}
	of := &resourceapi.ResourceClaim{Spec: resourceapi.ResourceClaimSpec{Devices: devices}}
	template := &resourceapi.ResourceClaimTemplate{}
	template.Spec.Spec.Devices = devices
	class := &resourceapi.DeviceClass{}
	class.Name = "gpus"
	class.Spec.Config = []resourceapi.DeviceClassConfiguration{{DeviceConfiguration: wrong}}
	for name, c := range map[string]struct {
		object runtime.Object
		driver string
		want   string
	}{
		"a claim":    {of, "gpu.example.com", "spec.devices.config[0]."},
		"a template": {template, "gpu.example.com", "spec.spec.devices.config[0]."},
		"a class":    {class, "gpu.example.com", `DeviceClass "gpus": spec.config[0].`},
		"a claim with the configuration of another driver": {
			of, "nic.example.com", "",
		},
		"something else": {&corev1.Pod{}, "gpu.example.com", ""},
	} {
		t.Run(name, func(t *testing.T) {
			problems := claim.Review(c.object, claim.Options{
				DriverName: c.driver, Decode: gpuv1alpha1.Decode,
				Default: func() runtime.Object { return gpuv1alpha1.Default() },
			})
			if c.want == "" {
				if problems != nil {
					t.Errorf("problems: %v", problems)
				}
				return
			}
			if problems == nil || !strings.HasPrefix(problems.Error(), c.want+"opaque.parameters.apiVersion: Required value") {
				t.Errorf("problems %v, want the path %s", problems, c.want)
			}
		})
	}
}
