package claim

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
)

// TestAdminAccessWithGpuConfig has the real configuration: spelled out or not, the default is the default.
func TestAdminAccessWithGpuConfig(t *testing.T) {
	o := options()
	o.Decode = gpuv1alpha1.Decode
	o.Default = func() runtime.Object { return gpuv1alpha1.Default() }
	const header = `{"apiVersion":"gpu.resource.example.com/v1alpha1","kind":"GpuConfig"`
	tests := map[string]struct {
		config string
		err    bool
	}{
		"empty":       {header + `}`, false},
		"spelled out": {header + `,"sharing":{"strategy":"TimeSlicing","timeSlicingConfig":{"interval":"Default"}}}`, false},
		"different":   {header + `,"sharing":{"strategy":"SpacePartitioning"}}`, true},
		"a typo":      {header + `,"sharin":{}}`, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newClaim().both(ours, "").result("a", ours, node, "gpu-0", admin)
			b.c.Spec.Devices.Config[0].Opaque.Parameters.Raw = []byte(tt.config)
			b.c.Status.Allocation.Devices.Config[0].Opaque.Parameters.Raw = []byte(tt.config)
			if _, err := Decide(&b.c, o); (err != nil) != tt.err {
				t.Errorf("error: %v", err)
			}
		})
	}
}
