package claim

import (
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
)

// TestFault23OneHostileConfiguration: whoever writes a claim chooses what is in it; the answer is an error of that
// claim, or the plan that it would have had without what is not for this driver.
func TestFault23OneHostileConfiguration(t *testing.T) {
	const head = `{"apiVersion":"gpu.resource.example.com/v1alpha1","kind":"GpuConfig"`
	for name, test := range map[string]struct {
		driver, raw string
		refused     bool
	}{
		"of another driver, deep":         {theirs, strings.Repeat(`{"a":`, 3000), false},
		"of another driver, 10 KiB":       {theirs, strings.Repeat("\xff", 10<<10), false},
		"of another driver, of our kind":  {theirs, head + `,"sharing":{"strategy":"MPS"}}`, false},
		"of a driver with a similar name": {"x." + ours, head + `,"unknown":1}`, false},
		"of nobody":                       {"", head + `,"unknown":1}`, false},
		"nothing":                         {ours, "", true},
		"deep":                            {ours, strings.Repeat(`{"a":`, 3000), true},
		"10 KiB":                          {ours, strings.Repeat("\xff", 10<<10), true},
		"of another kind":                 {ours, `{"apiVersion":"v1","kind":"Secret","data":{}}`, true},
		"that takes for ever": {
			ours, head + `,"sharing":{"strategy":"MPS","mpsConfig":{"defaultPinnedDeviceMemoryLimit":"1e-999999999"}}}`, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClaim().request("gpu", "gpu").c
			c.Status.Allocation.Devices.Results = []resourceapi.DeviceRequestAllocationResult{
				{Request: "gpu", Driver: ours, Pool: node, Device: "gpu-0"},
			}
			c.Status.Allocation.Devices.Config = []resourceapi.DeviceAllocationConfiguration{{
				Source: resourceapi.AllocationConfigSourceClaim,
				DeviceConfiguration: resourceapi.DeviceConfiguration{Opaque: &resourceapi.OpaqueDeviceConfiguration{
					Driver: test.driver, Parameters: runtime.RawExtension{Raw: []byte(test.raw)},
				}},
			}}
			o := options()
			o.Decode, o.Default = gpuv1alpha1.Decode, func() runtime.Object { return gpuv1alpha1.Default() }
			plan, err := Decide(&c, o)
			switch {
			case test.refused && (err == nil || len(err.Error()) > 2<<10):
				t.Errorf("it ended with %.300v", err)
			case !test.refused && (err != nil || plan.Devices[0].ConfigIndex != -1):
				t.Errorf("the plan is %v, %v", plan, err)
			}
		})
	}
}

// TestFault24HostileNames: what only looks like a result of this node is no plan for it.
func TestFault24HostileNames(t *testing.T) {
	long := strings.Repeat("d", 63)
	share := types.UID("f7a1c0de-0000-4000-8000-000000000001")
	for name, test := range map[string]struct {
		pool, device, request string
		ok                    bool
	}{
		"a device of 63 characters, for a subrequest": {node, long, "gpu/older", true},
		"a pool of another node":                      {"node-b", "gpu-0", "gpu", false},
		"a pool with a slash":                         {node + "/x", "gpu-0", "gpu", false},
		"a pool that leads out":                       {"../" + node, "gpu-0", "gpu", false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClaim().request("gpu", "gpu").c
			c.Status.Allocation.Devices.Results = []resourceapi.DeviceRequestAllocationResult{
				{Request: test.request, Driver: ours, Pool: test.pool, Device: test.device, ShareID: &share},
			}
			plan, err := Decide(&c, options())
			if (err == nil) != test.ok || test.ok && plan.Devices[0].Result.Request != test.request {
				t.Errorf("the plan is %v, %v", plan, err)
			}
		})
	}
}
