//go:build cgo

package mig

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// Instance is a GPU instance that exists, with one of its compute instances; a GPU instance with several of them is
// several instances here.
type Instance struct {
	// Partition is the profile and the place of the GPU instance.
	Partition
	// GI is the ID of the GPU instance.
	GI uint32
	// CI is the ID of the compute instance; nil if the GPU instance has none.
	CI *uint32
	// Slices, CIStart and Multiprocessors are how many compute slices the compute instance takes, from which one on, and
	// how many multiprocessors it has.
	Slices, CIStart, Multiprocessors uint32
	// UUID is NVML's for the compute instance: "MIG-…".
	UUID string
}

// whole tells whether the compute instance takes all of the GPU instance.
func (i Instance) whole() bool { return i.Slices == i.Info.SliceCount }

// Name is NVIDIA's name for it: "1g.24gb", or "1c.2g.48gb" if it takes a part of the GPU instance only.
func (i Instance) Name() string { return computeName(i.Profile, i.Slices) }

// DeviceName is the name of the device that it is: that of its partition if it takes all of it.
func (i Instance) DeviceName(parentUUID string) string {
	if i.whole() {
		return DeviceName(parentUUID, i.Partition)
	}
	return fmt.Sprintf("%s-%dc-%s-%d-%d", prefix(parentUUID), i.Slices, i.Label, i.Start, i.CIStart)
}

// Instances returns what a GPU is cut into now, by start, GI and CI. It asks NVML by profile instead of walking all MIG
// devices, which takes seconds on a busy node.
func Instances(gpu nvml.Device, layout Layout) ([]Instance, error) {
	var all []Instance
	for _, profile := range layout {
		gis, ret := gpu.GetGpuInstances(&profile.Info)
		if absent(ret) || ret == nvml.ERROR_NOT_FOUND {
			continue
		}
		if ret != nvml.SUCCESS {
			return nil, fmt.Errorf("list the GPU instances of MIG profile %s: %w", profile.show(), ret)
		}
		for _, gi := range gis {
			found, err := read(gpu, gi, profile)
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
	}
	slices.SortFunc(all, func(a, b Instance) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.GI, b.GI), cmp.Compare(a.ci(), b.ci()))
	})
	return all, nil
}

// ci is the ID of the compute instance as text that can be compared and shown.
func (i Instance) ci() string {
	if i.CI == nil {
		return "none"
	}
	return fmt.Sprint(*i.CI)
}

func (p Profile) show() string { return cmp.Or(p.Name, fmt.Sprintf("number %d", p.Index)) }

// read returns a GPU instance once for each of its compute instances, or once if it has none. An instance that goes
// away meanwhile is none.
func read(gpu nvml.Device, gi nvml.GpuInstance, profile Profile) ([]Instance, error) {
	info, ret := gi.GetInfo()
	if ret == nvml.ERROR_NOT_FOUND {
		return nil, nil
	}
	if ret != nvml.SUCCESS {
		return nil, fmt.Errorf("read a GPU instance of MIG profile %s: %w", profile.show(), ret)
	}
	base := Instance{Partition: Partition{profile, Placement(info.Placement)}, GI: info.Id}
	var all []Instance
	for index := range nvml.COMPUTE_INSTANCE_PROFILE_COUNT {
		compute, ret := gi.GetComputeInstanceProfileInfo(index, nvml.COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED)
		if absent(ret) || ret == nvml.SUCCESS && compute.InstanceCount == 0 {
			continue
		}
		if ret != nvml.SUCCESS {
			return nil, fmt.Errorf("read compute instance profile %d of GPU instance %d: %w", index, info.Id, ret)
		}
		cis, ret := gi.GetComputeInstances(&compute)
		if ret != nvml.SUCCESS && !absent(ret) && ret != nvml.ERROR_NOT_FOUND {
			return nil, fmt.Errorf("list the compute instances of GPU instance %d: %w", info.Id, ret)
		}
		for _, ci := range cis {
			i := base
			i.Slices, i.Multiprocessors = compute.SliceCount, compute.MultiprocessorCount
			if err := i.readCompute(gpu, ci); err != nil {
				return nil, err
			}
			if !slices.ContainsFunc(all, func(other Instance) bool { return *other.CI == *i.CI }) {
				all = append(all, i)
			}
		}
	}
	if len(all) == 0 {
		all = []Instance{base}
	}
	return all, nil
}

func (i *Instance) readCompute(gpu nvml.Device, ci nvml.ComputeInstance) error {
	info, ret := ci.GetInfo()
	if ret != nvml.SUCCESS {
		return fmt.Errorf("read a compute instance of GPU instance %d: %w", i.GI, ret)
	}
	i.CI, i.CIStart = &info.Id, info.Placement.Start
	if info.Device != nil {
		uuid, ret := info.Device.GetUUID()
		if ret == nvml.SUCCESS && strings.HasPrefix(uuid, "MIG-") {
			i.UUID = uuid
			return nil
		}
	}
	return i.searchUUID(gpu)
}

// searchUUID is for libraries whose answer for a compute instance names the GPU: it walks the MIG devices.
func (i *Instance) searchUUID(gpu nvml.Device) error {
	most, ret := gpu.GetMaxMigDeviceCount()
	if ret != nvml.SUCCESS {
		return fmt.Errorf("count the MIG devices: %w", ret)
	}
	for index := range most {
		handle, ret := gpu.GetMigDeviceHandleByIndex(index)
		if ret == nvml.ERROR_NOT_FOUND || absent(ret) {
			continue
		}
		if ret != nvml.SUCCESS {
			return fmt.Errorf("find MIG device %d: %w", index, ret)
		}
		gi, ret := handle.GetGpuInstanceId()
		if ret != nvml.SUCCESS || uint32(gi) != i.GI {
			continue
		}
		if ci, ret := handle.GetComputeInstanceId(); ret != nvml.SUCCESS || uint32(ci) != *i.CI {
			continue
		}
		if i.UUID, ret = handle.GetUUID(); ret != nvml.SUCCESS {
			return fmt.Errorf("read the UUID of MIG device %d: %w", index, ret)
		}
		return nil
	}
	return nil // it was destroyed meanwhile
}
