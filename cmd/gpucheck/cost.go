//go:build cgo

package main

import (
	"context"
	"errors"

	golib "github.com/NVIDIA/go-nvml/pkg/nvml"
)

// cost measures each call of NVML that the backend uses while nothing changes, in a session of its own.
func (c *check) cost(context.Context) {
	c.say("\n## Cost of the calls\n\n| call | time |\n|---|---|\n")
	var options []golib.LibraryOption
	if c.library != "" {
		options = append(options, golib.WithLibraryPath(c.library))
	}
	lib := golib.New(options...)
	if code := lib.Init(); code != golib.SUCCESS {
		c.say("\nNot measured: the library is not where the linker finds it (name it with --library).\n")
		return
	}
	defer func() { _ = lib.Shutdown() }()
	gpu, code := lib.DeviceGetHandleByIndex(0)
	if code != golib.SUCCESS {
		c.fail("handle of GPU 0: %s", code)
		return
	}
	for _, one := range calls(lib, gpu) {
		c.say("| %s | %s |\n", one.name, c.timed(func() error {
			switch code := one.do(); code {
			case golib.SUCCESS:
				return nil
			default:
				return errors.New(code.String())
			}
		}))
	}
}

// call is one call of the library.
type call struct {
	name string
	do   func() golib.Return
}

func calls(lib golib.Interface, gpu golib.Device) []call {
	uuid, _ := gpu.GetUUID()
	all := []call{
		{"nvmlInit (again)", func() golib.Return {
			if code := lib.Init(); code != golib.SUCCESS {
				return code
			}
			return lib.Shutdown()
		}},
		{"nvmlSystemGetDriverVersion", func() golib.Return { _, code := lib.SystemGetDriverVersion(); return code }},
		{"nvmlDeviceGetCount", func() golib.Return { _, code := lib.DeviceGetCount(); return code }},
		{"nvmlDeviceGetHandleByIndex", func() golib.Return { _, code := lib.DeviceGetHandleByIndex(0); return code }},
		{"nvmlDeviceGetHandleByUUID", func() golib.Return { _, code := lib.DeviceGetHandleByUUID(uuid); return code }},
		{"nvmlDeviceGetUUID", func() golib.Return { _, code := gpu.GetUUID(); return code }},
		{"nvmlDeviceGetIndex", func() golib.Return { _, code := gpu.GetIndex(); return code }},
		{"nvmlDeviceGetMinorNumber", func() golib.Return { _, code := gpu.GetMinorNumber(); return code }},
		{"nvmlDeviceGetName", func() golib.Return { _, code := gpu.GetName(); return code }},
		{"nvmlDeviceGetBrand", func() golib.Return { _, code := gpu.GetBrand(); return code }},
		{"nvmlDeviceGetArchitecture", func() golib.Return { _, code := gpu.GetArchitecture(); return code }},
		{"nvmlDeviceGetCudaComputeCapability", func() golib.Return {
			_, _, code := gpu.GetCudaComputeCapability()
			return code
		}},
		{"nvmlDeviceGetMemoryInfo", func() golib.Return { _, code := gpu.GetMemoryInfo(); return code }},
		{"nvmlDeviceGetPciInfo", func() golib.Return { _, code := gpu.GetPciInfo(); return code }},
		{"nvmlDeviceGetMigMode", func() golib.Return { _, _, code := gpu.GetMigMode(); return code }},
		{"nvmlDeviceGetComputeMode", func() golib.Return { _, code := gpu.GetComputeMode(); return code }},
		{"nvmlDeviceGetSupportedEventTypes", func() golib.Return { _, code := gpu.GetSupportedEventTypes(); return code }},
		{"recovery action (field value)", func() golib.Return {
			values := []golib.FieldValue{{FieldId: golib.FI_DEV_GET_GPU_RECOVERY_ACTION}}
			if code := gpu.GetFieldValues(values); code != golib.SUCCESS {
				return code
			}
			return golib.Return(values[0].NvmlReturn)
		}},
		{"all MIG profiles with their placements", func() golib.Return { return profiles(gpu) }},
	}
	const addressing = "nvmlDeviceGetAddressingMode" // not in older libraries, where calling it ends the process
	if lib.Extensions().LookupSymbol(addressing) == nil {
		all = append(all, call{addressing, func() golib.Return { _, code := gpu.GetAddressingMode(); return code }})
	}
	return all
}

func profiles(gpu golib.Device) golib.Return {
	for i := range golib.GPU_INSTANCE_PROFILE_COUNT {
		info, code := gpu.GetGpuInstanceProfileInfo(i)
		if code == golib.ERROR_NOT_SUPPORTED || code == golib.ERROR_INVALID_ARGUMENT {
			continue
		}
		if code != golib.SUCCESS {
			return code
		}
		if _, code := gpu.GetGpuInstancePossiblePlacements(&info); code != golib.SUCCESS {
			return code
		}
	}
	return golib.SUCCESS
}
