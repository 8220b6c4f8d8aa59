package claim

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
)

// BenchmarkDecide is planning the largest claim that the API takes: 32 results, and 64 configurations of the claim, of
// which each is for one request.
func BenchmarkDecide(b *testing.B) {
	o := options()
	o.Decode = gpuv1alpha1.Decode
	o.Default = func() runtime.Object { return gpuv1alpha1.Default() }
	for _, size := range []struct{ results, configs int }{{1, 0}, {32, 64}} {
		b.Run(fmt.Sprintf("results=%d/configs=%d", size.results, size.configs), func(b *testing.B) {
			c := newClaim()
			for i := range size.results {
				request := fmt.Sprint("request-", i)
				c.request(request, "gpu").result(request, ours, node, fmt.Sprint("gpu-", i))
			}
			for i := range size.configs {
				c.both(ours, "", fmt.Sprint("request-", i%size.results))
			}
			const config = `{"apiVersion":"gpu.resource.example.com/v1alpha1","kind":"GpuConfig",` +
				`"sharing":{"strategy":"TimeSlicing","timeSlicingConfig":{"interval":"Long"}}}`
			for i := range size.configs {
				c.c.Spec.Devices.Config[i].Opaque.Parameters.Raw = []byte(config)
				c.c.Status.Allocation.Devices.Config[i].Opaque.Parameters.Raw = []byte(config)
			}
			b.ReportAllocs()
			for b.Loop() {
				plan, err := Decide(&c.c, o)
				if err != nil || len(plan.Devices) != size.results {
					b.Fatal(len(plan.Devices), err)
				}
			}
		})
	}
}
