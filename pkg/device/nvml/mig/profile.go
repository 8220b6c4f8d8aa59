//go:build cgo

package mig

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	nvlib "github.com/NVIDIA/go-nvlib/pkg/nvlib/device"
	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// Placement is where on a GPU an instance lies, in memory slices.
type Placement struct{ Start, Size uint32 }

// Profile is one size of GPU instances that a kind of GPU can be cut into.
type Profile struct {
	// Name is NVIDIA's name for an instance with one compute instance that takes all of it: "1g.24gb+me". It is empty
	// if the profile is newer than this program; such a profile is never offered.
	Name string
	// Label is the name as a part of the names of devices, different from that of every other profile of the layout.
	Label string
	// Index is the argument of GetGpuInstanceProfileInfo.
	Index int
	// Compute is the index of the compute instance profile that takes all of a GPU instance.
	Compute int
	// Info is what NVML says of it.
	Info nvml.GpuInstanceProfileInfo
	// Placements are where an instance of it may lie, by start.
	Placements []Placement
	// Counted is whether NVML allows fewer instances of it than would fit.
	Counted bool
}

// Layout is how a GPU can be cut: its profiles by index.
type Layout []Profile

// Partition is one possible instance: a profile at one of its placements.
type Partition struct {
	Profile
	Placement
}

// Read asks a GPU how it can be cut. A GPU that cannot be has an empty layout. Calls used: GetMemoryInfo,
// GetGpuInstanceProfileInfo, GetGpuInstancePossiblePlacements; none of them needs MIG mode to be enabled.
func Read(gpu nvml.Device) (Layout, error) {
	var layout Layout
	var memory uint64
	for index := range nvml.GPU_INSTANCE_PROFILE_COUNT {
		info, ret := gpu.GetGpuInstanceProfileInfo(index)
		if absent(ret) || ret == nvml.SUCCESS && info.InstanceCount == 0 {
			continue
		}
		if ret != nvml.SUCCESS {
			return nil, fmt.Errorf("read MIG profile %d: %w", index, ret)
		}
		if memory == 0 {
			total, ret := gpu.GetMemoryInfo()
			if ret != nvml.SUCCESS {
				return nil, fmt.Errorf("read the memory that MIG profiles are named after: %w", ret)
			}
			memory = max(total.Total, 1)
		}
		profile := Profile{Index: index, Info: info}
		profile.Name, profile.Compute = nameOf(index, info, memory)
		placements, ret := gpu.GetGpuInstancePossiblePlacements(&info)
		if ret != nvml.SUCCESS && !absent(ret) {
			return nil, fmt.Errorf("read the placements of MIG profile %d: %w", index, ret)
		}
		for _, p := range placements {
			profile.Placements = append(profile.Placements, Placement(p))
		}
		slices.SortFunc(profile.Placements, func(a, b Placement) int { return cmp.Compare(a.Start, b.Start) })
		profile.Label = label(profile.Name)
		if slices.ContainsFunc(layout, func(p Profile) bool { return p.Label == profile.Label }) {
			profile.Label = fmt.Sprintf("%s-p%d", profile.Label, index) // sizes that the name rounds away
		}
		layout = append(layout, profile)
	}
	for i, profile := range layout {
		layout[i].Counted = profile.Name != "" && layout.fit(profile) > int64(profile.Info.InstanceCount)
	}
	return layout, nil
}

// absent means that a GPU does not have what was asked for, or that the driver's library is too old to know it.
func absent(ret nvml.Return) bool {
	return ret == nvml.ERROR_NOT_SUPPORTED || ret == nvml.ERROR_INVALID_ARGUMENT || ret == nvml.ERROR_FUNCTION_NOT_FOUND
}

// nameOf returns the name of a GPU instance profile and the compute instance profile that takes all of it, or no name
// if go-nvlib does not know the profile.
func nameOf(index int, info nvml.GpuInstanceProfileInfo, memory uint64) (string, int) {
	lib := nvlib.New(nil) // naming asks no library
	for compute := range nvml.COMPUTE_INSTANCE_PROFILE_COUNT {
		switch compute {
		case nvml.COMPUTE_INSTANCE_PROFILE_1_SLICE_REV1, nvml.COMPUTE_INSTANCE_PROFILE_7_SLICE_NVL:
			continue // a variant of a profile that is there too
		}
		const engines = nvml.COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED
		profile, err := lib.NewMigProfile(index, compute, engines, info.MemorySizeMB, memory)
		if err != nil {
			return "", 0
		}
		if of := profile.GetInfo(); of.C == of.G {
			return profile.String(), compute
		}
	}
	return "", 0
}

// computeName is the name of a device that takes only a part of a GPU instance: "1c.3g.40gb".
func computeName(of Profile, slices uint32) string {
	if of.Name == "" || slices == of.Info.SliceCount {
		return of.Name
	}
	return fmt.Sprintf("%dc.%s", slices, of.Name)
}

// Partitions returns all possible instances, by profile and start.
func (l Layout) Partitions() []Partition {
	var all []Partition
	for _, profile := range l {
		if profile.Name == "" {
			continue
		}
		for _, placement := range profile.Placements {
			all = append(all, Partition{profile, placement})
		}
	}
	return all
}

// Find returns the partition with a profile ID and a start.
func (l Layout) Find(id, start uint32) (Partition, bool) {
	for _, p := range l.Partitions() {
		if p.Info.Id == id && p.Start == start {
			return p, true
		}
	}
	return Partition{}, false
}

// Overlaps tells whether two instances cannot be there at the same time because of where they lie.
func (p Placement) Overlaps(other Placement) bool {
	return p.Start < other.Start+other.Size && other.Start < p.Start+p.Size
}

// DeviceName names the device that a partition of a GPU is: "mig-4c2e1b0a-1g-24gb-me-0". It says nothing that changes
// over a reboot.
func DeviceName(parentUUID string, p Partition) string {
	return strings.Join([]string{prefix(parentUUID), p.Label, strconv.FormatUint(uint64(p.Start), 10)}, "-")
}

// prefix is how the names of all partitions of a GPU begin.
func prefix(parentUUID string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(parentUUID, "GPU-"), "-")
	return "mig-" + strings.ToLower(first)
}

// label makes a DNS label of the name of a profile. "1g.24gb+me" has media engines, "1g.24gb-me" has none.
func label(profile string) string {
	return strings.NewReplacer("-", "-no-", ".", "-", "+", "-", ",", "-").Replace(profile)
}
