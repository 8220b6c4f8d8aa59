//go:build cgo

// Package nvmltest completes the mock servers of go-nvml for tests of everything that uses MIG and the settings of a
// GPU: with rules that the hardware has and the mocks have not (which instances fit together, what is in use, which GPU
// changes its MIG mode only with a reset), UUIDs that stay the same, and calls that fail on purpose.
package nvmltest

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/gpus"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/server"
)

// Machine is a mock server with completed GPUs. It stays the same over any number of sessions, as a machine does over
// restarts of a driver.
type Machine struct {
	*server.Server
	GPUs []*GPU
}

// GPU is one of its GPUs.
type GPU struct {
	*server.Device

	mu          sync.Mutex
	config      gpus.Config
	mode        int
	pending     int
	compute     nvml.ComputeMode
	instances   map[uint32]*instance
	failures    map[string][]nvml.Return
	calls       map[string]int
	afterCreate nvml.Return
}

// instance is a GPU instance with at most one compute instance.
type instance struct {
	*mock.GpuInstance
	gpu     *GPU
	index   int // of the profile
	info    nvml.GpuInstanceInfo
	compute *mock.ComputeInstance
}

// New returns a machine with GPUs of the given kinds, for example gpus.H100_SXM5_80GB. The IDs and the placements of
// their MIG profiles are those of the hardware, not those of the mocks.
func New(kinds ...gpus.Config) *Machine {
	configs := make([]gpus.Config, 0, len(kinds))
	for _, kind := range kinds {
		configs = append(configs, ofHardware(kind))
	}
	return Complete(server.NewServerWithGPUs("580.95.05", "13.580.95.05", 13000, configs...))
}

// Complete completes the GPUs of a mock server whose profiles stay as they are.
func Complete(s *server.Server) *Machine {
	m := &Machine{Server: s}
	for i, d := range s.Devices {
		d := d.(*server.Device)
		d.UUID = fmt.Sprintf("GPU-%08x-0000-4000-8000-%012d", 0xa0000000+i, i)
		g := &GPU{
			Device: d, config: d.Config, instances: map[uint32]*instance{},
			failures: map[string][]nvml.Return{}, calls: map[string]int{},
		}
		g.complete()
		m.GPUs = append(m.GPUs, g)
	}
	return m
}

// ofHardware returns a kind of GPU with the profile IDs and placements of hardware with 7 compute and 8 memory slices.
func ofHardware(kind gpus.Config) gpus.Config {
	ids := map[int]uint32{
		nvml.GPU_INSTANCE_PROFILE_1_SLICE: 19, nvml.GPU_INSTANCE_PROFILE_1_SLICE_REV1: 20,
		nvml.GPU_INSTANCE_PROFILE_1_SLICE_REV2: 15, nvml.GPU_INSTANCE_PROFILE_2_SLICE: 14,
		nvml.GPU_INSTANCE_PROFILE_3_SLICE: 9, nvml.GPU_INSTANCE_PROFILE_4_SLICE: 5, nvml.GPU_INSTANCE_PROFILE_7_SLICE: 0,
	}
	placements := map[int][]nvml.GpuInstancePlacement{
		nvml.GPU_INSTANCE_PROFILE_1_SLICE:      at(1, 0, 1, 2, 3, 4, 5, 6),
		nvml.GPU_INSTANCE_PROFILE_1_SLICE_REV1: at(1, 0, 1, 2, 3, 4, 5, 6),
		nvml.GPU_INSTANCE_PROFILE_1_SLICE_REV2: at(2, 0, 2, 4, 6),
		nvml.GPU_INSTANCE_PROFILE_2_SLICE:      at(2, 0, 2, 4),
		nvml.GPU_INSTANCE_PROFILE_3_SLICE:      at(4, 0, 4),
		nvml.GPU_INSTANCE_PROFILE_4_SLICE:      at(4, 0),
		nvml.GPU_INSTANCE_PROFILE_7_SLICE:      at(8, 0),
	}
	profiles := kind.MIGProfiles
	kind.MIGProfiles.GpuInstanceProfiles = map[int]nvml.GpuInstanceProfileInfo{}
	kind.MIGProfiles.GpuInstancePlacements = placements
	for index, info := range profiles.GpuInstanceProfiles {
		info.Id = ids[index]
		kind.MIGProfiles.GpuInstanceProfiles[index] = info
	}
	return kind
}

func at(size uint32, starts ...uint32) []nvml.GpuInstancePlacement {
	var all []nvml.GpuInstancePlacement
	for _, start := range starts {
		all = append(all, nvml.GpuInstancePlacement{Start: start, Size: size})
	}
	return all
}

// Fail lets the next calls of a function end with these codes, one each: "SetMigMode", "CreateGpuInstance",
// "CreateComputeInstance", "DestroyGpuInstance", "DestroyComputeInstance", "SetComputeMode", "GetComputeMode",
// "GetMigMode".
func (g *GPU) Fail(call string, codes ...nvml.Return) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failures[call] = append(g.failures[call], codes...)
}

// FailAfterCreate lets all creations of GPU instances end with a code although they succeed.
func (g *GPU) FailAfterCreate(code nvml.Return) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.afterCreate = code
}

// Calls returns how often a function was called.
func (g *GPU) Calls(call string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.calls[call]
}

// call counts a call and returns how it has to fail. The caller holds g.mu.
func (g *GPU) call(name string) nvml.Return {
	g.calls[name]++
	planned := g.failures[name]
	if len(planned) == 0 {
		return nvml.SUCCESS
	}
	g.failures[name] = planned[1:]
	return planned[0]
}

// Reset does what a reset of the GPU does: instances are gone and the pending MIG mode is there.
func (g *GPU) Reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mode = g.pending
	g.instances = map[uint32]*instance{}
}

// SetMode sets the MIG mode that the GPU has and will have.
func (g *GPU) SetMode(current, pending int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mode, g.pending = current, pending
}

// Mode returns the MIG mode that the GPU has.
func (g *GPU) Mode() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mode
}

// ComputeMode returns the compute mode that the GPU has.
func (g *GPU) ComputeMode() nvml.ComputeMode {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.compute
}

// Instances returns the instances of the GPU as "<profile ID>@<start>", sorted.
func (g *GPU) Instances() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := []string{}
	for _, i := range g.instances {
		text := fmt.Sprintf("%d@%d", i.info.ProfileId, i.info.Placement.Start)
		if i.compute == nil {
			text += " without compute instance"
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return all
}

// Make makes an instance as somebody else would, with a compute instance that takes all of it.
func (g *GPU) Make(profileIndex int, start uint32) error {
	info, ret := g.GetGpuInstanceProfileInfo(profileIndex)
	if ret != nvml.SUCCESS {
		return ret
	}
	for _, placement := range g.config.MIGProfiles.GpuInstancePlacements[profileIndex] {
		if placement.Start != start {
			continue
		}
		gi, ret := g.CreateGpuInstanceWithPlacement(&info, &placement)
		if ret != nvml.SUCCESS {
			return ret
		}
		for compute := range nvml.COMPUTE_INSTANCE_PROFILE_COUNT {
			of, ret := gi.GetComputeInstanceProfileInfo(compute, nvml.COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED)
			if ret != nvml.SUCCESS || of.SliceCount != info.SliceCount {
				continue
			}
			if _, ret = gi.CreateComputeInstance(&of); ret != nvml.SUCCESS {
				return ret
			}
			return nil
		}
	}
	return nvml.ERROR_INVALID_ARGUMENT
}

// Destroy destroys an instance as somebody else would.
func (g *GPU) Destroy(profileID, start uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	maps.DeleteFunc(g.instances, func(_ uint32, i *instance) bool {
		return i.info.ProfileId == profileID && i.info.Placement.Start == start
	})
}
