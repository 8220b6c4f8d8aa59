package device_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
	"example.com/dragoman/pkg/device"
)

const claimUID = "8f2b0c1e-0000-4000-8000-000000000001"

func result(
	name string, change ...func(*resourceapi.DeviceRequestAllocationResult),
) resourceapi.DeviceRequestAllocationResult {
	r := resourceapi.DeviceRequestAllocationResult{
		Request: "gpu", Driver: "gpu.example.com", Pool: "node-a", Device: name,
	}
	for _, c := range change {
		c(&r)
	}
	return r
}

func admin(r *resourceapi.DeviceRequestAllocationResult) { r.AdminAccess = new(true) }

func share(id types.UID, memory string) func(*resourceapi.DeviceRequestAllocationResult) {
	return func(r *resourceapi.DeviceRequestAllocationResult) {
		r.ShareID = &id
		r.ConsumedCapacity = map[resourceapi.QualifiedName]resource.Quantity{"memory": resource.MustParse(memory)}
	}
}

func consuming(amounts map[string]string) func(*resourceapi.DeviceRequestAllocationResult) {
	return func(r *resourceapi.DeviceRequestAllocationResult) {
		r.ConsumedCapacity = map[resourceapi.QualifiedName]resource.Quantity{}
		for name, amount := range amounts {
			r.ConsumedCapacity[resourceapi.QualifiedName(name)] = resource.MustParse(amount)
		}
	}
}

func TestEnvironment(t *testing.T) {
	partitions := &gpuv1alpha1.GpuConfig{Sharing: &gpuv1alpha1.GpuSharing{
		Strategy:                gpuv1alpha1.SpacePartitioningStrategy,
		SpacePartitioningConfig: &gpuv1alpha1.SpacePartitioningConfig{PartitionCount: 4},
	}}
	mps := &gpuv1alpha1.GpuConfig{Sharing: &gpuv1alpha1.GpuSharing{
		Strategy: gpuv1alpha1.MPSStrategy,
		MPSConfig: &gpuv1alpha1.MPSConfig{
			DefaultActiveThreadPercentage: new(50), DefaultPinnedDeviceMemoryLimit: new(resource.MustParse("10Gi")),
		},
	}}
	exclusive := &gpuv1alpha1.GpuConfig{Sharing: &gpuv1alpha1.GpuSharing{Strategy: gpuv1alpha1.ExclusiveStrategy}}
	first, second := share("11111111-a", "16Gi"), share("22222222-b", "8Gi")
	tests := map[string]struct {
		config  *gpuv1alpha1.GpuConfig
		devices []resourceapi.DeviceRequestAllocationResult
		want    []string // of the first device
	}{
		"a whole device has the names of the upstream example driver": {
			devices: []resourceapi.DeviceRequestAllocationResult{result("gpu-0")},
			want: []string{
				"GPU_DEVICE_0=gpu-0",
				"GPU_DEVICE_GPU_0_RESOURCE_CLAIM=" + claimUID,
				"GPU_DEVICE_0_SHARING_STRATEGY=TimeSlicing",
				"GPU_DEVICE_0_TIMESLICE_INTERVAL=Default",
			},
		},
		"a device name with dashes gives names that shells accept": {
			devices: []resourceapi.DeviceRequestAllocationResult{result("gpu-0-partition-1")},
			want: []string{
				"GPU_DEVICE_0_PARTITION_1=gpu-0-partition-1",
				"GPU_DEVICE_GPU_0_PARTITION_1_RESOURCE_CLAIM=" + claimUID,
				"GPU_DEVICE_0_PARTITION_1_SHARING_STRATEGY=TimeSlicing",
				"GPU_DEVICE_0_PARTITION_1_TIMESLICE_INTERVAL=Default",
			},
		},
		"only the device that is there for admin purposes says so": {
			devices: []resourceapi.DeviceRequestAllocationResult{result("gpu-1", admin), result("gpu-2")},
			want: []string{
				"GPU_DEVICE_1=gpu-1",
				"GPU_DEVICE_GPU_1_RESOURCE_CLAIM=" + claimUID,
				"GPU_DEVICE_1_ADMIN_ACCESS=true",
				"GPU_DEVICE_1_SHARING_STRATEGY=TimeSlicing",
				"GPU_DEVICE_1_TIMESLICE_INTERVAL=Default",
			},
		},
		"space partitioning says how many": {
			config:  partitions,
			devices: []resourceapi.DeviceRequestAllocationResult{result("gpu-3")},
			want: []string{
				"GPU_DEVICE_3=gpu-3",
				"GPU_DEVICE_GPU_3_RESOURCE_CLAIM=" + claimUID,
				"GPU_DEVICE_3_SHARING_STRATEGY=SpacePartitioning",
				"GPU_DEVICE_3_PARTITION_COUNT=4",
			},
		},
		"MPS says its limits": {
			config:  mps,
			devices: []resourceapi.DeviceRequestAllocationResult{result("gpu-3")},
			want: []string{
				"GPU_DEVICE_3=gpu-3",
				"GPU_DEVICE_GPU_3_RESOURCE_CLAIM=" + claimUID,
				"GPU_DEVICE_3_SHARING_STRATEGY=MPS",
				"GPU_DEVICE_3_ACTIVE_THREAD_PERCENTAGE=50",
				"GPU_DEVICE_3_PINNED_MEMORY_LIMIT=10Gi",
			},
		},
		"exclusive has nothing to say but itself": {
			config:  exclusive,
			devices: []resourceapi.DeviceRequestAllocationResult{result("gpu-3")},
			want: []string{
				"GPU_DEVICE_3=gpu-3",
				"GPU_DEVICE_GPU_3_RESOURCE_CLAIM=" + claimUID,
				"GPU_DEVICE_3_SHARING_STRATEGY=Exclusive",
			},
		},
		"the only share that a claim has of a device has the plain names, too": {
			devices: []resourceapi.DeviceRequestAllocationResult{result("gpu-0", first), result("gpu-1", second)},
			want: []string{
				"GPU_DEVICE_0=gpu-0",
				"GPU_DEVICE_GPU_0_RESOURCE_CLAIM=" + claimUID,
				"GPU_DEVICE_0_SHARING_STRATEGY=TimeSlicing",
				"GPU_DEVICE_0_TIMESLICE_INTERVAL=Default",
				"GPU_DEVICE_0_MEMORY=16Gi",
				"GPU_DEVICE_0_SHARE_11111111=gpu-0",
				"GPU_DEVICE_GPU_0_SHARE_11111111_RESOURCE_CLAIM=" + claimUID,
				"GPU_DEVICE_0_SHARE_11111111_SHARING_STRATEGY=TimeSlicing",
				"GPU_DEVICE_0_SHARE_11111111_TIMESLICE_INTERVAL=Default",
				"GPU_DEVICE_0_SHARE_11111111_MEMORY=16Gi",
			},
		},
		"two shares of one device do not overwrite each other": {
			devices: []resourceapi.DeviceRequestAllocationResult{result("gpu-0", first), result("gpu-0", second)},
			want: []string{
				"GPU_DEVICE_0_SHARE_11111111=gpu-0",
				"GPU_DEVICE_GPU_0_SHARE_11111111_RESOURCE_CLAIM=" + claimUID,
				"GPU_DEVICE_0_SHARE_11111111_SHARING_STRATEGY=TimeSlicing",
				"GPU_DEVICE_0_SHARE_11111111_TIMESLICE_INTERVAL=Default",
				"GPU_DEVICE_0_SHARE_11111111_MEMORY=16Gi",
			},
		},
		"two shares whose IDs begin alike have more of them in the names": {
			devices: []resourceapi.DeviceRequestAllocationResult{
				result("gpu-0", first), result("gpu-0", share("11111111-b", "8Gi")),
			},
			want: []string{
				"GPU_DEVICE_0_SHARE_11111111_A=gpu-0",
				"GPU_DEVICE_GPU_0_SHARE_11111111_A_RESOURCE_CLAIM=" + claimUID,
				"GPU_DEVICE_0_SHARE_11111111_A_SHARING_STRATEGY=TimeSlicing",
				"GPU_DEVICE_0_SHARE_11111111_A_TIMESLICE_INTERVAL=Default",
				"GPU_DEVICE_0_SHARE_11111111_A_MEMORY=16Gi",
			},
		},
		"each consumed capacity has a variable that overwrites no other": {
			config: exclusive,
			devices: []resourceapi.DeviceRequestAllocationResult{result("gpu-0", first, consuming(map[string]string{
				"engines": "2", "example.com/slots": "1500m", "Engines": "3", "sharing_strategy": "1",
			}))},
			want: []string{
				"GPU_DEVICE_0=gpu-0",
				"GPU_DEVICE_GPU_0_RESOURCE_CLAIM=" + claimUID,
				"GPU_DEVICE_0_SHARING_STRATEGY=Exclusive",
				"GPU_DEVICE_0_ENGINES=3",
				"GPU_DEVICE_0_EXAMPLE_COM_SLOTS=1500m",
				"GPU_DEVICE_0_SHARE_11111111=gpu-0",
				"GPU_DEVICE_GPU_0_SHARE_11111111_RESOURCE_CLAIM=" + claimUID,
				"GPU_DEVICE_0_SHARE_11111111_SHARING_STRATEGY=Exclusive",
				"GPU_DEVICE_0_SHARE_11111111_ENGINES=3",
				"GPU_DEVICE_0_SHARE_11111111_EXAMPLE_COM_SLOTS=1500m",
			},
		},
	}
	shellSafe := regexp.MustCompile(`^[A-Z0-9_]+$`)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			config := test.config
			if config == nil {
				config = gpuv1alpha1.Default()
			}
			request := device.Request{
				Claim: device.Claim{Namespace: "team-a", Name: "train", UID: claimUID}, Config: config,
				Devices: test.devices, All: test.devices,
			}
			got := device.Environment(request, 0)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("environment (-want +got):\n%s", diff)
			}
			for _, variable := range got {
				if key, _, _ := strings.Cut(variable, "="); !shellSafe.MatchString(key) {
					t.Errorf("the name of %q is not safe in a shell", variable)
				}
			}
		})
	}
}

func TestShareLabel(t *testing.T) {
	of := func(ids ...types.UID) []resourceapi.DeviceRequestAllocationResult {
		var all []resourceapi.DeviceRequestAllocationResult
		for _, id := range ids {
			all = append(all, result("gpu-0", share(id, "1Gi")))
		}
		return all
	}
	elsewhere := result("gpu-1", share("aaaabbbb-1", "1Gi"))
	for name, test := range map[string]struct {
		all  []resourceapi.DeviceRequestAllocationResult
		want string // of the first
	}{
		"no share":                         {[]resourceapi.DeviceRequestAllocationResult{result("gpu-0")}, ""},
		"the only share":                   {of("aaaabbbb-0000"), "aaaabbbb"},
		"a short ID":                       {of("a", "aa"), "a"},
		"others begin differently":         {of("aaaabbbb-0", "aaaabbbc-0"), "aaaabbbb"},
		"another begins alike":             {of("aaaabbbb-10", "aaaabbbb-20"), "aaaabbbb-1"},
		"another is longer":                {of("aaaabbbb", "aaaabbbb-20"), "aaaabbbb"},
		"another is shorter":               {of("aaaabbbb-20", "aaaabbbb"), "aaaabbbb-"},
		"the same share, for two requests": {of("aaaabbbb-20", "aaaabbbb-20"), "aaaabbbb"},
		"one of another device":            {append(of("aaaabbbb-20"), elsewhere), "aaaabbbb"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := device.ShareLabel(test.all, test.all[0]); got != test.want {
				t.Errorf("%q instead of %q", got, test.want)
			}
		})
	}
}
