package device

import (
	"strconv"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/utils/ptr"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
)

// shareSuffixLength is how many characters of a share ID tell the shares of one device apart in variable names.
const shareSuffixLength = 8

// Environment returns the variables by which a container learns of the device r.Devices[i], as NAME=value, in a fixed
// order. The names are those of the upstream example driver's gpu profile, so that programs written for it find what
// they look for; every name matches [A-Z0-9_]+, because some runtimes drop others.
//
// A claim that holds several shares of one device gets the variables of each share with the first characters of the
// share ID in the name, since they would overwrite each other in one container.
func Environment(r Request, i int) []string {
	result := r.Devices[i]
	share := shareSuffix(r.All, result)
	plain := "GPU_DEVICE_" + variableName(strings.TrimPrefix(result.Device, "gpu-")) + share
	env := []string{
		plain + "=" + result.Device,
		"GPU_DEVICE_" + variableName(result.Device) + share + "_RESOURCE_CLAIM=" + string(r.Claim.UID),
	}
	if ptr.Deref(result.AdminAccess, false) {
		env = append(env, plain+"_ADMIN_ACCESS=true")
	}
	if config, ok := r.Config.(*gpuv1alpha1.GpuConfig); ok {
		env = append(env, sharingEnvironment(plain, config.Sharing)...)
	}
	for _, capacity := range []resourceapi.QualifiedName{"memory", "compute"} {
		if quantity, ok := result.ConsumedCapacity[capacity]; ok {
			env = append(env, plain+"_"+variableName(string(capacity))+"="+quantity.String())
		}
	}
	return env
}

func sharingEnvironment(prefix string, sharing *gpuv1alpha1.GpuSharing) []string {
	if sharing == nil {
		return nil
	}
	env := []string{prefix + "_SHARING_STRATEGY=" + string(sharing.Strategy)}
	switch {
	case sharing.TimeSlicingConfig != nil:
		env = append(env, prefix+"_TIMESLICE_INTERVAL="+string(sharing.TimeSlicingConfig.Interval))
	case sharing.SpacePartitioningConfig != nil:
		env = append(env, prefix+"_PARTITION_COUNT="+strconv.Itoa(sharing.SpacePartitioningConfig.PartitionCount))
	case sharing.MPSConfig != nil:
		env = append(env, mpsEnvironment(prefix, sharing.MPSConfig)...)
	}
	return env
}

func mpsEnvironment(prefix string, mps *gpuv1alpha1.MPSConfig) []string {
	var env []string
	if percentage := mps.DefaultActiveThreadPercentage; percentage != nil {
		env = append(env, prefix+"_ACTIVE_THREAD_PERCENTAGE="+strconv.Itoa(*percentage))
	}
	if limit := mps.DefaultPinnedDeviceMemoryLimit; limit != nil {
		env = append(env, prefix+"_PINNED_MEMORY_LIMIT="+limit.String())
	}
	return env
}

// shareSuffix is empty unless all holds more than one share of the device of result.
func shareSuffix(
	all []resourceapi.DeviceRequestAllocationResult, result resourceapi.DeviceRequestAllocationResult,
) string {
	if result.ShareID == nil {
		return ""
	}
	shares := 0
	for _, other := range all {
		if other.Pool == result.Pool && other.Device == result.Device && other.Driver == result.Driver {
			shares++
		}
	}
	if shares < 2 {
		return ""
	}
	id := variableName(string(*result.ShareID))
	return "_SHARE_" + id[:min(len(id), shareSuffixLength)]
}

// variableName turns s into upper case with one underscore for each run of other characters than letters and digits.
func variableName(s string) string {
	var b strings.Builder
	for _, c := range strings.ToUpper(s) {
		switch {
		case c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
			b.WriteRune(c)
		case !strings.HasSuffix(b.String(), "_"):
			b.WriteByte('_')
		}
	}
	return b.String()
}
