//go:build cgo

package main

import "C"

import (
	"slices"
	"unsafe"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"example.com/dragoman/e2e/fakegpu"
)

// computeProfile returns a compute instance profile of a GPU instance, by index, which is its id too.
func (g gpu) computeProfile(gi *fakegpu.Instance, index uint32) (nvml.ComputeInstanceProfileInfo, nvml.Return) {
	p, ok := g.byID(gi.Profile)
	if !ok {
		return nvml.ComputeInstanceProfileInfo{}, nvml.ERROR_NOT_FOUND
	}
	info, ok := g.MIGProfiles.ComputeInstanceProfiles[p.index][int(index)]
	if !ok {
		return nvml.ComputeInstanceProfileInfo{}, nvml.ERROR_NOT_SUPPORTED
	}
	info.SharedCopyEngineCount, info.SharedDecoderCount = p.info.CopyEngineCount, p.info.DecoderCount
	info.SharedEncoderCount, info.SharedJpegCount = p.info.EncoderCount, p.info.JpegCount
	info.SharedOfaCount = p.info.OfaCount
	return info, nvml.SUCCESS
}

// onInstance runs a call about a GPU instance that is there.
func onInstance(
	call string, handle unsafe.Pointer, do func(g gpu, t thing, gi *fakegpu.Instance) nvml.Return,
) C.uint {
	return on(call, handle, func(g gpu, t thing) nvml.Return {
		state, ret := g.remembered()
		if ret != nvml.SUCCESS {
			return ret
		}
		gi, ret := t.instance(state)
		if ret != nvml.SUCCESS {
			return ret
		}
		return do(g, t, gi)
	}, gpuInstance)
}

//export nvmlGpuInstanceGetComputeInstanceProfileInfo
func nvmlGpuInstanceGetComputeInstanceProfileInfo(
	handle unsafe.Pointer, index, engine C.uint, to unsafe.Pointer,
) C.uint {
	const call = "nvmlGpuInstanceGetComputeInstanceProfileInfo"
	return onInstance(call, handle, func(g gpu, _ thing, gi *fakegpu.Instance) nvml.Return {
		if index >= nvml.COMPUTE_INSTANCE_PROFILE_COUNT || engine >= nvml.COMPUTE_INSTANCE_ENGINE_PROFILE_COUNT {
			return nvml.ERROR_INVALID_ARGUMENT
		}
		info, ret := g.computeProfile(gi, uint32(index))
		if ret != nvml.SUCCESS {
			return ret
		}
		return put(to, info)
	})
}

// places returns where a compute instance of a profile can be in a GPU instance.
func (g gpu) places(
	gi *fakegpu.Instance, info nvml.ComputeInstanceProfileInfo,
) (places []nvml.ComputeInstancePlacement) {
	p, _ := g.byID(gi.Profile)
	for start := uint32(0); start+info.SliceCount <= p.info.SliceCount; start += info.SliceCount {
		places = append(places, nvml.ComputeInstancePlacement{Start: start, Size: info.SliceCount})
	}
	return places
}

//export nvmlGpuInstanceGetComputeInstancePossiblePlacements
func nvmlGpuInstanceGetComputeInstancePossiblePlacements(
	handle unsafe.Pointer, id C.uint, to, count unsafe.Pointer,
) C.uint {
	const call = "nvmlGpuInstanceGetComputeInstancePossiblePlacements"
	return onInstance(call, handle, func(g gpu, _ thing, gi *fakegpu.Instance) nvml.Return {
		info, ret := g.computeProfile(gi, uint32(id))
		if ret != nvml.SUCCESS {
			return ret
		}
		return list(to, count, g.places(gi, info))
	})
}

//export nvmlGpuInstanceCreateComputeInstance
func nvmlGpuInstanceCreateComputeInstance(handle unsafe.Pointer, id C.uint, to unsafe.Pointer) C.uint {
	return createCompute("nvmlGpuInstanceCreateComputeInstance", handle, id, nil, to)
}

//export nvmlGpuInstanceCreateComputeInstanceWithPlacement
func nvmlGpuInstanceCreateComputeInstanceWithPlacement(
	handle unsafe.Pointer, id C.uint, where, to unsafe.Pointer,
) C.uint {
	const call = "nvmlGpuInstanceCreateComputeInstanceWithPlacement"
	return createCompute(call, handle, id, (*nvml.ComputeInstancePlacement)(where), to)
}

// createCompute makes a compute instance; where nil, at the first free place.
func createCompute(
	call string, handle unsafe.Pointer, id C.uint, where *nvml.ComputeInstancePlacement, to unsafe.Pointer,
) C.uint {
	return on(call, handle, func(g gpu, t thing) nvml.Return {
		ret := g.change(func(state *fakegpu.GPU) nvml.Return {
			gi, ret := t.instance(state)
			if ret != nvml.SUCCESS {
				return ret
			}
			info, ret := g.computeProfile(gi, uint32(id))
			if ret != nvml.SUCCESS {
				return ret
			}
			for _, place := range g.places(gi, info) {
				if (where != nil && *where != place) || !isFree(gi.Instances, place.Start, place.Size) {
					continue
				}
				for t.ci = 0; slices.ContainsFunc(gi.Instances, t.isCompute); t.ci++ { //nolint:revive // finds the number
				}
				gi.Instances = append(gi.Instances,
					fakegpu.Instance{ID: t.ci, Profile: info.Id, Start: place.Start, Size: place.Size})
				return g.addCapability(t.gi, t.ci)
			}
			return nvml.ERROR_INSUFFICIENT_RESOURCES
		})
		if ret != nvml.SUCCESS {
			return ret
		}
		t.kind = computeInstance
		return put(to, library.handle(t))
	}, gpuInstance)
}

// isCompute says whether an instance is the compute instance of the thing.
func (t thing) isCompute(i fakegpu.Instance) bool { return i.ID == t.ci }

//export nvmlComputeInstanceDestroy
func nvmlComputeInstanceDestroy(handle unsafe.Pointer) C.uint {
	return on("nvmlComputeInstanceDestroy", handle, func(g gpu, t thing) nvml.Return {
		return g.change(func(state *fakegpu.GPU) nvml.Return {
			gi, _, ret := t.computeInstance(state)
			if ret != nvml.SUCCESS {
				return ret
			}
			gi.Instances = slices.DeleteFunc(gi.Instances, t.isCompute)
			return g.removeCapability(t.gi, t.ci)
		})
	}, computeInstance)
}

//export nvmlGpuInstanceGetComputeInstances
func nvmlGpuInstanceGetComputeInstances(handle unsafe.Pointer, id C.uint, to, count unsafe.Pointer) C.uint {
	const call = "nvmlGpuInstanceGetComputeInstances"
	return onInstance(call, handle, func(_ gpu, t thing, gi *fakegpu.Instance) nvml.Return {
		var handles []unsafe.Pointer
		for _, ci := range gi.Instances {
			if ci.Profile == uint32(id) {
				handles = append(handles, library.handle(thing{kind: computeInstance, gpu: t.gpu, gi: t.gi, ci: ci.ID}))
			}
		}
		return list(to, count, handles)
	})
}

//export nvmlGpuInstanceGetComputeInstanceById
func nvmlGpuInstanceGetComputeInstanceById(handle unsafe.Pointer, id C.uint, to unsafe.Pointer) C.uint {
	const call = "nvmlGpuInstanceGetComputeInstanceById"
	return onInstance(call, handle, func(_ gpu, t thing, gi *fakegpu.Instance) nvml.Return {
		t.kind, t.ci = computeInstance, int(id)
		if !slices.ContainsFunc(gi.Instances, t.isCompute) {
			return nvml.ERROR_NOT_FOUND
		}
		return put(to, library.handle(t))
	})
}

//export nvmlComputeInstanceGetInfo_v2
func nvmlComputeInstanceGetInfo_v2(handle, info unsafe.Pointer) C.uint {
	return on("nvmlComputeInstanceGetInfo_v2", handle, func(g gpu, t thing) nvml.Return {
		state, ret := g.remembered()
		if ret != nvml.SUCCESS {
			return ret
		}
		_, ci, ret := t.computeInstance(state)
		if ret != nvml.SUCCESS {
			return ret
		}
		t.kind = migDevice
		return put(info, struct {
			device, gi               unsafe.Pointer
			id, profile, start, size uint32
		}{
			library.handle(t), library.handle(thing{kind: gpuInstance, gpu: t.gpu, gi: t.gi}),
			uint32(ci.ID), ci.Profile, ci.Start, ci.Size,
		})
	}, computeInstance)
}

// migDevices returns the MIG devices of the GPU in the order of their indices.
func (g gpu) migDevices() (all []thing, ret nvml.Return) {
	state, ret := g.remembered()
	if ret != nvml.SUCCESS || !state.MIG {
		return nil, ret
	}
	for _, gi := range state.Instances {
		for _, ci := range gi.Instances {
			all = append(all, thing{kind: migDevice, gpu: g.index, gi: gi.ID, ci: ci.ID})
		}
	}
	return all, nvml.SUCCESS
}

//export nvmlDeviceIsMigDeviceHandle
func nvmlDeviceIsMigDeviceHandle(device, is unsafe.Pointer) C.uint {
	return on("nvmlDeviceIsMigDeviceHandle", device, func(_ gpu, t thing) nvml.Return {
		return put(is, mode(t.kind == migDevice))
	}, wholeGPU, migDevice)
}

//export nvmlDeviceGetMaxMigDeviceCount
func nvmlDeviceGetMaxMigDeviceCount(device, count unsafe.Pointer) C.uint {
	return onGPU("nvmlDeviceGetMaxMigDeviceCount", device, func(g gpu) nvml.Return { return put(count, g.maxInstances()) })
}

//export nvmlDeviceGetMigDeviceHandleByIndex
func nvmlDeviceGetMigDeviceHandleByIndex(device unsafe.Pointer, index C.uint, to unsafe.Pointer) C.uint {
	return onGPU("nvmlDeviceGetMigDeviceHandleByIndex", device, func(g gpu) nvml.Return {
		devices, ret := g.migDevices()
		switch {
		case ret != nvml.SUCCESS:
			return ret
		case int(index) >= len(devices):
			return nvml.ERROR_NOT_FOUND
		}
		return put(to, library.handle(devices[index]))
	})
}

//export nvmlDeviceGetDeviceHandleFromMigDeviceHandle
func nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device, to unsafe.Pointer) C.uint {
	return on("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", device, func(g gpu, _ thing) nvml.Return {
		return put(to, library.handle(thing{kind: wholeGPU, gpu: g.index}))
	}, migDevice)
}

//export nvmlDeviceGetGpuInstanceId
func nvmlDeviceGetGpuInstanceId(device, id unsafe.Pointer) C.uint {
	return on("nvmlDeviceGetGpuInstanceId", device, func(_ gpu, t thing) nvml.Return {
		return put(id, uint32(t.gi))
	}, migDevice)
}

//export nvmlDeviceGetComputeInstanceId
func nvmlDeviceGetComputeInstanceId(device, id unsafe.Pointer) C.uint {
	return on("nvmlDeviceGetComputeInstanceId", device, func(_ gpu, t thing) nvml.Return {
		return put(id, uint32(t.ci))
	}, migDevice)
}

// attributes returns what a MIG device has.
func (g gpu) attributes(t thing) (nvml.DeviceAttributes, nvml.Return) {
	state, ret := g.remembered()
	if ret != nvml.SUCCESS {
		return nvml.DeviceAttributes{}, ret
	}
	gi, ci, ret := t.computeInstance(state)
	if ret != nvml.SUCCESS {
		return nvml.DeviceAttributes{}, ret
	}
	p, _ := g.byID(gi.Profile)
	info, ret := g.computeProfile(gi, ci.Profile)
	return nvml.DeviceAttributes{
		MultiprocessorCount: info.MultiprocessorCount, SharedCopyEngineCount: info.SharedCopyEngineCount,
		SharedDecoderCount: info.SharedDecoderCount, SharedEncoderCount: info.SharedEncoderCount,
		SharedJpegCount: info.SharedJpegCount, SharedOfaCount: info.SharedOfaCount,
		GpuInstanceSliceCount: p.info.SliceCount, ComputeInstanceSliceCount: info.SliceCount,
		MemorySizeMB: p.info.MemorySizeMB,
	}, ret
}

//export nvmlDeviceGetAttributes_v2
func nvmlDeviceGetAttributes_v2(device, to unsafe.Pointer) C.uint {
	return on("nvmlDeviceGetAttributes_v2", device, func(g gpu, t thing) nvml.Return {
		attributes, ret := g.attributes(t)
		if ret != nvml.SUCCESS {
			return ret
		}
		return put(to, attributes)
	}, migDevice)
}
