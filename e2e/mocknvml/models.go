//go:build cgo

package main

import (
	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/gpus"
)

// model is a kind of GPU: what go-nvml's mock says of it, and how it is cut, which the mock has differently from the
// hardware (its profile ids are indices, and its placements do not cover the memory).
type model struct {
	gpus.Config
	memorySlices uint32
	cuts         map[int]cut // by profile index
}

// cut is a GPU instance profile: its id and where instances of it may be. The numbers are those of NVIDIA's MIG user
// guide and of "nvidia-smi mig -lgip" and "-lgipp".
type cut struct {
	id     uint32
	size   uint32
	starts []uint32
}

func models() map[string]model {
	l4 := gpus.Config{
		Name: "NVIDIA L4", Architecture: nvml.DEVICE_ARCH_ADA, Brand: nvml.BRAND_NVIDIA,
		MemoryMB: 23034, CudaMajor: 8, CudaMinor: 9, PciDeviceId: 0x27B810DE,
	}
	return map[string]model{
		"a100": {gpus.A100_SXM4_40GB, 8, sevenths()},
		"a30":  {gpus.A30_PCIE_24GB, 4, quarters()},
		"h100": {gpus.H100_SXM5_80GB, 8, sevenths()},
		"h200": {gpus.H200_SXM5_141GB, 8, sevenths()},
		"b200": {gpus.B200_SXM5_180GB, 8, sevenths()},
		"l4":   {Config: l4},
	}
}

// sevenths is how GPUs with seven compute and eight memory slices are cut.
func sevenths() map[int]cut {
	return map[int]cut{
		nvml.GPU_INSTANCE_PROFILE_1_SLICE:      {19, 1, []uint32{0, 1, 2, 3, 4, 5, 6}},
		nvml.GPU_INSTANCE_PROFILE_1_SLICE_REV1: {20, 1, []uint32{0, 1, 2, 3, 4, 5, 6}},
		nvml.GPU_INSTANCE_PROFILE_1_SLICE_REV2: {15, 2, []uint32{0, 2, 4, 6}},
		nvml.GPU_INSTANCE_PROFILE_2_SLICE:      {14, 2, []uint32{0, 2, 4}},
		nvml.GPU_INSTANCE_PROFILE_3_SLICE:      {9, 4, []uint32{0, 4}},
		nvml.GPU_INSTANCE_PROFILE_4_SLICE:      {5, 4, []uint32{0}},
		nvml.GPU_INSTANCE_PROFILE_7_SLICE:      {0, 8, []uint32{0}},
	}
}

// quarters is how the A30 is cut.
func quarters() map[int]cut {
	return map[int]cut{
		nvml.GPU_INSTANCE_PROFILE_1_SLICE:      {14, 1, []uint32{0, 1, 2, 3}},
		nvml.GPU_INSTANCE_PROFILE_1_SLICE_REV1: {21, 1, []uint32{0, 1, 2, 3}},
		nvml.GPU_INSTANCE_PROFILE_2_SLICE:      {5, 2, []uint32{0, 2}},
		nvml.GPU_INSTANCE_PROFILE_2_SLICE_REV1: {6, 2, []uint32{0, 2}},
		nvml.GPU_INSTANCE_PROFILE_4_SLICE:      {0, 4, []uint32{0}},
	}
}

// profile is a GPU instance profile of a model.
type profile struct {
	index int
	info  nvml.GpuInstanceProfileInfo
	cut   cut
}

// profiles returns the profiles in the order of their indices.
func (m model) profiles() (all []profile) {
	for index := range nvml.GPU_INSTANCE_PROFILE_COUNT {
		info, known := m.MIGProfiles.GpuInstanceProfiles[index]
		if cut, ok := m.cuts[index]; known && ok {
			info.Id = cut.id
			all = append(all, profile{index, info, cut})
		}
	}
	return all
}

// byID returns the profile with an id, which is not its index.
func (m model) byID(id uint32) (profile, bool) {
	for _, p := range m.profiles() {
		if p.info.Id == id {
			return p, true
		}
	}
	return profile{}, false
}

func (m model) migCapable() bool { return len(m.cuts) > 0 }

// togglesFreely says whether MIG mode changes without a reset of the GPU, as it does since Hopper.
func (m model) togglesFreely() bool { return m.Architecture >= nvml.DEVICE_ARCH_HOPPER }

// maxInstances is how many MIG devices the GPU can have.
func (m model) maxInstances() (most uint32) {
	for _, p := range m.profiles() {
		most = max(most, p.info.InstanceCount)
	}
	return most
}

// computeSlices is what the instances of a GPU may have together.
func (m model) computeSlices() (most uint32) {
	for _, p := range m.profiles() {
		most = max(most, p.info.SliceCount)
	}
	return most
}

// instanceID is the id that the hardware gives a GPU instance by its place: 0 is the whole GPU, 1 and 2 its halves, 3
// to 6 its quarters and 7 to 13 its eighths.
func (m model) instanceID(start, size uint32) int {
	return int(m.memorySlices/size - 1 + start/size)
}
