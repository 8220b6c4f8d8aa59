package device

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
)

// shareLabelLength is how many characters of a share ID usually tell the shares of one device apart.
const shareLabelLength = 8

// Environment returns the variables by which a container learns of the device r.Devices[i], as NAME=value, in a fixed
// order. The names are those of the upstream example driver's gpu profile, so that programs written for it find what
// they look for; every name matches [A-Z0-9_]+, because some runtimes drop others.
//
// The variables of a share have the first characters of its share ID in their names, since those of several shares of
// one device, of one claim or of several, would overwrite each other in one container. The only share that a claim has
// of a device has the plain names, too.
func Environment(r Request, i int) []string {
	result := r.Devices[i]
	if result.ShareID == nil {
		return environment(r, result, "")
	}
	share := "_SHARE_" + variableName(ShareLabel(r.All, result))
	if len(ofSameDevice(r.All, result)) > 1 {
		return environment(r, result, share)
	}
	return slices.Concat(environment(r, result, ""), environment(r, result, share))
}

// environment returns the variables of a result, with share in their names.
func environment(r Request, result resourceapi.DeviceRequestAllocationResult, share string) []string {
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
	return append(env, capacityEnvironment(plain, result.ConsumedCapacity, env)...)
}

// capacityEnvironment has a variable for each consumed capacity, unless there is one of that name already: capacities
// are named by whoever publishes the device.
func capacityEnvironment(
	prefix string, consumed map[resourceapi.QualifiedName]resource.Quantity, before []string,
) []string {
	taken := map[string]bool{}
	for _, variable := range before {
		name, _, _ := strings.Cut(variable, "=")
		taken[name] = true
	}
	var env []string
	for _, capacity := range slices.Sorted(maps.Keys(consumed)) {
		name, quantity := prefix+"_"+variableName(string(capacity)), consumed[capacity]
		if !taken[name] {
			taken[name] = true
			env = append(env, name+"="+quantity.String())
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

// ShareLabel tells the share of result from the other shares of its device in all, the results of a claim, for people
// and in names: the first 8 characters of the share ID, or as many more as it takes. It is empty if result is no share.
func ShareLabel(
	all []resourceapi.DeviceRequestAllocationResult, result resourceapi.DeviceRequestAllocationResult,
) string {
	if result.ShareID == nil {
		return ""
	}
	id := string(*result.ShareID)
	length := min(len(id), shareLabelLength)
	for _, other := range ofSameDevice(all, result) {
		for o := string(ptr.Deref(other.ShareID, "")); o != id && length < len(id) && strings.HasPrefix(o, id[:length]); {
			length++
		}
	}
	return id[:length]
}

// ofSameDevice returns the results that are for the device of result.
func ofSameDevice(
	all []resourceapi.DeviceRequestAllocationResult, result resourceapi.DeviceRequestAllocationResult,
) []resourceapi.DeviceRequestAllocationResult {
	var same []resourceapi.DeviceRequestAllocationResult
	for _, other := range all {
		if other.Pool == result.Pool && other.Device == result.Device && other.Driver == result.Driver {
			same = append(same, other)
		}
	}
	return same
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
