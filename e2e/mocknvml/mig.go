//go:build cgo

package main

import "C"

import (
	"slices"
	"unsafe"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"example.com/dragoman/e2e/fakegpu"
)

//export nvmlDeviceGetMigMode
func nvmlDeviceGetMigMode(device, current, pending unsafe.Pointer) C.uint {
	return onGPU("nvmlDeviceGetMigMode", device, func(g gpu) nvml.Return {
		if !g.migCapable() {
			return nvml.ERROR_NOT_SUPPORTED
		}
		state, ret := g.remembered()
		if ret != nvml.SUCCESS {
			return ret
		}
		if ret := put(current, mode(state.MIG)); ret != nvml.SUCCESS {
			return ret
		}
		return put(pending, mode(state.PendingMIG))
	})
}

func mode(enabled bool) uint32 {
	if enabled {
		return nvml.DEVICE_MIG_ENABLE
	}
	return nvml.DEVICE_MIG_DISABLE
}

//export nvmlDeviceSetMigMode
func nvmlDeviceSetMigMode(device unsafe.Pointer, wanted C.uint, activation unsafe.Pointer) C.uint {
	return onGPU("nvmlDeviceSetMigMode", device, func(g gpu) nvml.Return {
		if !g.migCapable() {
			return nvml.ERROR_NOT_SUPPORTED
		}
		status := nvml.SUCCESS
		ret := g.change(func(state *fakegpu.GPU) nvml.Return {
			enable := wanted == nvml.DEVICE_MIG_ENABLE
			if !enable && len(state.Instances) > 0 {
				return nvml.ERROR_IN_USE
			}
			state.PendingMIG = enable
			switch {
			case g.togglesFreely():
				state.MIG = enable
			case state.MIG != enable:
				status = nvml.ERROR_RESET_REQUIRED
			}
			return nvml.SUCCESS
		})
		if ret != nvml.SUCCESS {
			return ret
		}
		return put(activation, uint32(status))
	})
}

//export nvmlDeviceGetGpuInstanceProfileInfo
func nvmlDeviceGetGpuInstanceProfileInfo(device unsafe.Pointer, index C.uint, info unsafe.Pointer) C.uint {
	return onGPU("nvmlDeviceGetGpuInstanceProfileInfo", device, func(g gpu) nvml.Return {
		if index >= nvml.GPU_INSTANCE_PROFILE_COUNT {
			return nvml.ERROR_INVALID_ARGUMENT
		}
		for _, p := range g.profiles() {
			if p.index == int(index) {
				return put(info, p.info)
			}
		}
		return nvml.ERROR_NOT_SUPPORTED
	})
}

//export nvmlDeviceGetGpuInstancePossiblePlacements_v2
func nvmlDeviceGetGpuInstancePossiblePlacements_v2(device unsafe.Pointer, id C.uint, to, count unsafe.Pointer) C.uint {
	return onGPU("nvmlDeviceGetGpuInstancePossiblePlacements_v2", device, func(g gpu) nvml.Return {
		p, ok := g.byID(uint32(id))
		if !ok {
			return nvml.ERROR_NOT_SUPPORTED
		}
		var placements []nvml.GpuInstancePlacement
		for _, start := range p.cut.starts {
			placements = append(placements, nvml.GpuInstancePlacement{Start: start, Size: p.cut.size})
		}
		return list(to, count, placements)
	})
}

// list writes an answer of several values; where to is nil, only how many there are.
func list[T any](to, count unsafe.Pointer, values []T) nvml.Return {
	if count == nil {
		return nvml.ERROR_INVALID_ARGUMENT
	}
	room := *(*uint32)(count)
	*(*uint32)(count) = uint32(len(values))
	switch {
	case to == nil || len(values) == 0:
		return nvml.SUCCESS
	case int(room) < len(values):
		return nvml.ERROR_INSUFFICIENT_SIZE
	}
	copy(unsafe.Slice((*T)(to), len(values)), values)
	return nvml.SUCCESS
}

// free returns where an instance of a profile can be made now.
func (g gpu) free(state *fakegpu.GPU, p profile) (starts []uint32) {
	ofProfile, slices := uint32(0), p.info.SliceCount
	for _, made := range state.Instances {
		if made.Profile == p.info.Id {
			ofProfile++
		}
		if other, ok := g.byID(made.Profile); ok {
			slices += other.info.SliceCount
		}
	}
	if ofProfile >= p.info.InstanceCount || slices > g.computeSlices() {
		return nil
	}
	for _, start := range p.cut.starts {
		if isFree(state.Instances, start, p.cut.size) {
			starts = append(starts, start)
		}
	}
	return starts
}

// isFree says whether no instance overlaps the place.
func isFree(made []fakegpu.Instance, start, size uint32) bool {
	return !slices.ContainsFunc(made, func(i fakegpu.Instance) bool {
		return start < i.Start+i.Size && i.Start < start+size
	})
}

//export nvmlDeviceGetGpuInstanceRemainingCapacity
func nvmlDeviceGetGpuInstanceRemainingCapacity(device unsafe.Pointer, id C.uint, count unsafe.Pointer) C.uint {
	return onGPU("nvmlDeviceGetGpuInstanceRemainingCapacity", device, func(g gpu) nvml.Return {
		state, ret := g.remembered()
		if ret != nvml.SUCCESS {
			return ret
		}
		p, ok := g.byID(uint32(id))
		if !ok || !state.MIG {
			return nvml.ERROR_NOT_SUPPORTED
		}
		return put(count, uint32(len(g.free(state, p))))
	})
}

//export nvmlDeviceCreateGpuInstance
func nvmlDeviceCreateGpuInstance(device unsafe.Pointer, id C.uint, handle unsafe.Pointer) C.uint {
	return onGPU("nvmlDeviceCreateGpuInstance", device, func(g gpu) nvml.Return {
		return g.create(uint32(id), nil, handle)
	})
}

//export nvmlDeviceCreateGpuInstanceWithPlacement
func nvmlDeviceCreateGpuInstanceWithPlacement(device unsafe.Pointer, id C.uint, where, handle unsafe.Pointer) C.uint {
	return onGPU("nvmlDeviceCreateGpuInstanceWithPlacement", device, func(g gpu) nvml.Return {
		return g.create(uint32(id), (*nvml.GpuInstancePlacement)(where), handle)
	})
}

// create makes a GPU instance; where nil, at the first free place.
func (g gpu) create(id uint32, where *nvml.GpuInstancePlacement, handle unsafe.Pointer) nvml.Return {
	p, ok := g.byID(id)
	if !ok {
		return nvml.ERROR_NOT_SUPPORTED
	}
	made := fakegpu.Instance{Profile: id, Size: p.cut.size}
	ret := g.change(func(state *fakegpu.GPU) nvml.Return {
		if !state.MIG {
			return nvml.ERROR_NOT_SUPPORTED
		}
		free := g.free(state, p)
		switch {
		case where != nil && (where.Size != p.cut.size || !slices.Contains(p.cut.starts, where.Start)):
			return nvml.ERROR_INVALID_ARGUMENT
		case where != nil && slices.Contains(free, where.Start):
			made.Start = where.Start
		case where == nil && len(free) > 0:
			made.Start = free[0]
		default:
			return nvml.ERROR_INSUFFICIENT_RESOURCES
		}
		made.ID = g.instanceID(made.Start, made.Size)
		state.Instances = append(state.Instances, made)
		slices.SortFunc(state.Instances, func(a, b fakegpu.Instance) int { return a.ID - b.ID })
		return g.addCapability(made.ID)
	})
	if ret != nvml.SUCCESS {
		return ret
	}
	return put(handle, library.handle(thing{kind: gpuInstance, gpu: g.index, gi: made.ID}))
}

// instance returns the GPU instance of a thing.
func (t thing) instance(state *fakegpu.GPU) (*fakegpu.Instance, nvml.Return) {
	for i := range state.Instances {
		if state.Instances[i].ID == t.gi {
			return &state.Instances[i], nvml.SUCCESS
		}
	}
	return nil, nvml.ERROR_NOT_FOUND
}

// computeInstance returns the compute instance of a thing and the GPU instance in which it is.
func (t thing) computeInstance(state *fakegpu.GPU) (gi, ci *fakegpu.Instance, ret nvml.Return) {
	if gi, ret = t.instance(state); ret != nvml.SUCCESS {
		return nil, nil, ret
	}
	for i := range gi.Instances {
		if gi.Instances[i].ID == t.ci {
			return gi, &gi.Instances[i], nvml.SUCCESS
		}
	}
	return nil, nil, nvml.ERROR_NOT_FOUND
}

//export nvmlGpuInstanceDestroy
func nvmlGpuInstanceDestroy(handle unsafe.Pointer) C.uint {
	return on("nvmlGpuInstanceDestroy", handle, func(g gpu, t thing) nvml.Return {
		return g.change(func(state *fakegpu.GPU) nvml.Return {
			made, ret := t.instance(state)
			switch {
			case ret != nvml.SUCCESS:
				return ret
			case len(made.Instances) > 0:
				return nvml.ERROR_IN_USE
			}
			state.Instances = slices.DeleteFunc(state.Instances, func(i fakegpu.Instance) bool { return i.ID == t.gi })
			return g.removeCapability(t.gi)
		})
	}, gpuInstance)
}

//export nvmlDeviceGetGpuInstances
func nvmlDeviceGetGpuInstances(device unsafe.Pointer, id C.uint, to, count unsafe.Pointer) C.uint {
	return onGPU("nvmlDeviceGetGpuInstances", device, func(g gpu) nvml.Return {
		if _, ok := g.byID(uint32(id)); !ok {
			return nvml.ERROR_NOT_SUPPORTED
		}
		state, ret := g.remembered()
		if ret != nvml.SUCCESS {
			return ret
		}
		var handles []unsafe.Pointer
		for _, made := range state.Instances {
			if made.Profile == uint32(id) {
				handles = append(handles, library.handle(thing{kind: gpuInstance, gpu: g.index, gi: made.ID}))
			}
		}
		return list(to, count, handles)
	})
}

//export nvmlDeviceGetGpuInstanceById
func nvmlDeviceGetGpuInstanceById(device unsafe.Pointer, id C.uint, handle unsafe.Pointer) C.uint {
	return onGPU("nvmlDeviceGetGpuInstanceById", device, func(g gpu) nvml.Return {
		t := thing{kind: gpuInstance, gpu: g.index, gi: int(id)}
		state, ret := g.remembered()
		if ret != nvml.SUCCESS {
			return ret
		}
		if _, ret := t.instance(state); ret != nvml.SUCCESS {
			return ret
		}
		return put(handle, library.handle(t))
	})
}

//export nvmlGpuInstanceGetInfo
func nvmlGpuInstanceGetInfo(handle, info unsafe.Pointer) C.uint {
	return on("nvmlGpuInstanceGetInfo", handle, func(g gpu, t thing) nvml.Return {
		state, ret := g.remembered()
		if ret != nvml.SUCCESS {
			return ret
		}
		made, ret := t.instance(state)
		if ret != nvml.SUCCESS {
			return ret
		}
		return put(info, struct {
			device                   unsafe.Pointer
			id, profile, start, size uint32
		}{
			library.handle(thing{kind: wholeGPU, gpu: g.index}),
			uint32(made.ID), made.Profile, made.Start, made.Size,
		})
	}, gpuInstance)
}
