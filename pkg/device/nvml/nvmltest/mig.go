//go:build cgo

package nvmltest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
)

// complete sets the functions that the mock lacks, or has without the rules of the hardware.
func (g *GPU) complete() {
	g.completeModes()
	g.GetGpuInstanceProfileInfoFunc = func(index int) (nvml.GpuInstanceProfileInfo, nvml.Return) {
		info, ok := g.config.MIGProfiles.GpuInstanceProfiles[index]
		if !ok {
			return info, nvml.ERROR_NOT_SUPPORTED
		}
		return info, nvml.SUCCESS
	}
	g.GetGpuInstancePossiblePlacementsFunc = func(
		info *nvml.GpuInstanceProfileInfo,
	) ([]nvml.GpuInstancePlacement, nvml.Return) {
		index, ok := g.profile(info.Id)
		if !ok {
			return nil, nvml.ERROR_INVALID_ARGUMENT
		}
		return g.config.MIGProfiles.GpuInstancePlacements[index], nvml.SUCCESS
	}
	g.CreateGpuInstanceWithPlacementFunc = g.create
	g.GetGpuInstancesFunc = func(info *nvml.GpuInstanceProfileInfo) ([]nvml.GpuInstance, nvml.Return) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.mode == nvml.DEVICE_MIG_DISABLE {
			return nil, nvml.ERROR_NOT_SUPPORTED
		}
		var found []nvml.GpuInstance
		for _, id := range slices.Sorted(maps.Keys(g.instances)) {
			if i := g.instances[id]; i.info.ProfileId == info.Id {
				found = append(found, i)
			}
		}
		return found, nvml.SUCCESS
	}
	g.GetGpuInstanceByIdFunc = func(id int) (nvml.GpuInstance, nvml.Return) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if i, ok := g.instances[uint32(id)]; ok {
			return i, nvml.SUCCESS
		}
		return nil, nvml.ERROR_NOT_FOUND
	}
	g.completeHandles()
}

func (g *GPU) completeModes() {
	g.GetMigModeFunc = func() (int, int, nvml.Return) {
		g.mu.Lock()
		defer g.mu.Unlock()
		ret := g.call("GetMigMode")
		if len(g.config.MIGProfiles.GpuInstanceProfiles) == 0 {
			ret = nvml.ERROR_NOT_SUPPORTED
		}
		return g.mode, g.pending, ret
	}
	g.SetMigModeFunc = func(mode int) (nvml.Return, nvml.Return) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if ret := g.call("SetMigMode"); ret != nvml.SUCCESS {
			return ret, ret
		}
		if len(g.instances) > 0 {
			return nvml.ERROR_IN_USE, nvml.ERROR_IN_USE
		}
		g.pending = mode
		if g.config.Architecture < nvml.DEVICE_ARCH_HOPPER && g.mode != mode {
			return nvml.ERROR_RESET_REQUIRED, nvml.SUCCESS
		}
		g.mode = mode
		return nvml.SUCCESS, nvml.SUCCESS
	}
	g.GetComputeModeFunc = func() (nvml.ComputeMode, nvml.Return) {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.compute, g.call("GetComputeMode")
	}
	g.SetComputeModeFunc = func(mode nvml.ComputeMode) nvml.Return {
		g.mu.Lock()
		defer g.mu.Unlock()
		if ret := g.call("SetComputeMode"); ret != nvml.SUCCESS {
			return ret
		}
		g.compute = mode
		return nvml.SUCCESS
	}
}

// completeHandles gives each compute instance a device handle, as NVML does.
func (g *GPU) completeHandles() {
	const most = 7
	g.GetMaxMigDeviceCountFunc = func() (int, nvml.Return) { return most, nvml.SUCCESS }
	g.IsMigDeviceHandleFunc = func() (bool, nvml.Return) { return false, nvml.SUCCESS }
	g.GetMigDeviceHandleByIndexFunc = func(index int) (nvml.Device, nvml.Return) {
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, id := range slices.Sorted(maps.Keys(g.instances)) {
			if i := g.instances[id]; i.compute != nil {
				if index--; index < 0 {
					return i.device(), nvml.SUCCESS
				}
			}
		}
		return nil, nvml.ERROR_NOT_FOUND
	}
}

// device is the MIG device that a compute instance is. Its UUID says which, so that it is the same when it is made
// again with the same numbers, as that of NVML.
func (i *instance) device() *mock.Device {
	return &mock.Device{
		GetUUIDFunc: func() (string, nvml.Return) {
			return fmt.Sprintf("MIG-%s-%d", i.gpu.UUID[len("GPU-"):], i.info.Id), nvml.SUCCESS
		},
		IsMigDeviceHandleFunc:    func() (bool, nvml.Return) { return true, nvml.SUCCESS },
		GetGpuInstanceIdFunc:     func() (int, nvml.Return) { return int(i.info.Id), nvml.SUCCESS },
		GetComputeInstanceIdFunc: func() (int, nvml.Return) { return 0, nvml.SUCCESS },
		GetDeviceHandleFromMigDeviceHandleFunc: func() (nvml.Device, nvml.Return) {
			return i.gpu.Device, nvml.SUCCESS
		},
	}
}

// profile returns the index of the profile with an ID.
func (g *GPU) profile(id uint32) (int, bool) {
	for index, info := range g.config.MIGProfiles.GpuInstanceProfiles {
		if info.Id == id {
			return index, true
		}
	}
	return 0, false
}

func (g *GPU) create(
	info *nvml.GpuInstanceProfileInfo, placement *nvml.GpuInstancePlacement,
) (nvml.GpuInstance, nvml.Return) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if ret := g.call("CreateGpuInstance"); ret != nvml.SUCCESS {
		return nil, ret
	}
	index, ok := g.profile(info.Id)
	switch {
	case !ok, !slices.Contains(g.config.MIGProfiles.GpuInstancePlacements[index], *placement):
		return nil, nvml.ERROR_INVALID_ARGUMENT
	case g.mode == nvml.DEVICE_MIG_DISABLE:
		return nil, nvml.ERROR_NOT_SUPPORTED
	case !g.fits(index, *placement):
		return nil, nvml.ERROR_INSUFFICIENT_RESOURCES
	}
	id := uint32(1)
	for g.instances[id] != nil {
		id++
	}
	i := &instance{gpu: g, index: index, info: nvml.GpuInstanceInfo{
		Device: g.Device, Id: id, ProfileId: info.Id, Placement: *placement,
	}}
	i.GpuInstance = i.mock()
	g.instances[i.info.Id] = i
	return i, g.afterCreate
}

// fits says whether neither the memory slices nor the number of instances stand against one more.
func (g *GPU) fits(index int, at nvml.GpuInstancePlacement) bool {
	same := uint32(1)
	for _, i := range g.instances {
		there := i.info.Placement
		if at.Start < there.Start+there.Size && there.Start < at.Start+at.Size {
			return false
		}
		if i.index == index {
			same++
		}
	}
	return same <= g.config.MIGProfiles.GpuInstanceProfiles[index].InstanceCount
}

func (i *instance) mock() *mock.GpuInstance {
	return &mock.GpuInstance{
		GetInfoFunc: func() (nvml.GpuInstanceInfo, nvml.Return) { return i.info, nvml.SUCCESS },
		GetComputeInstanceProfileInfoFunc: func(index, _ int) (nvml.ComputeInstanceProfileInfo, nvml.Return) {
			info, ok := i.gpu.config.MIGProfiles.ComputeInstanceProfiles[i.index][index]
			if !ok {
				return info, nvml.ERROR_NOT_SUPPORTED
			}
			return info, nvml.SUCCESS
		},
		GetComputeInstancesFunc: func(info *nvml.ComputeInstanceProfileInfo) ([]nvml.ComputeInstance, nvml.Return) {
			i.gpu.mu.Lock()
			defer i.gpu.mu.Unlock()
			if i.compute == nil {
				return nil, nvml.SUCCESS
			}
			if of, _ := i.compute.GetInfo(); of.ProfileId != info.Id {
				return nil, nvml.SUCCESS
			}
			return []nvml.ComputeInstance{i.compute}, nvml.SUCCESS
		},
		CreateComputeInstanceFunc: i.createCompute,
		DestroyFunc: func() nvml.Return {
			i.gpu.mu.Lock()
			defer i.gpu.mu.Unlock()
			switch ret := i.gpu.call("DestroyGpuInstance"); {
			case ret != nvml.SUCCESS:
				return ret
			case i.compute != nil:
				return nvml.ERROR_IN_USE
			case i.gpu.instances[i.info.Id] != i:
				return nvml.ERROR_NOT_FOUND
			}
			delete(i.gpu.instances, i.info.Id)
			return nvml.SUCCESS
		},
	}
}

func (i *instance) createCompute(info *nvml.ComputeInstanceProfileInfo) (nvml.ComputeInstance, nvml.Return) {
	i.gpu.mu.Lock()
	defer i.gpu.mu.Unlock()
	ret := i.gpu.call("CreateComputeInstance")
	if i.compute != nil {
		ret = cmp.Or(ret, nvml.ERROR_INSUFFICIENT_RESOURCES)
	}
	if ret != nvml.SUCCESS {
		return nil, ret
	}
	of := nvml.ComputeInstanceInfo{Device: i.device(), GpuInstance: i, ProfileId: info.Id}
	of.Placement.Size = info.SliceCount
	i.compute = &mock.ComputeInstance{
		GetInfoFunc: func() (nvml.ComputeInstanceInfo, nvml.Return) { return of, nvml.SUCCESS },
		DestroyFunc: func() nvml.Return {
			i.gpu.mu.Lock()
			defer i.gpu.mu.Unlock()
			if ret := i.gpu.call("DestroyComputeInstance"); ret != nvml.SUCCESS {
				return ret
			}
			i.compute = nil
			return nvml.SUCCESS
		},
	}
	return i.compute, nvml.SUCCESS
}
