//go:build cgo

package main

import "C"

import (
	"fmt"
	"unsafe"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"example.com/dragoman/e2e/fakegpu"
)

// bus returns the PCI bus: those of a DGX H100.
func (g gpu) bus() uint32 {
	buses := []uint32{0x1b, 0x43, 0x52, 0x61, 0x9d, 0xc3, 0xd1, 0xdf}
	if g.index < len(buses) {
		return buses[g.index]
	}
	return 0xe0 + uint32(g.index)
}

func (g gpu) busID() string { return fmt.Sprintf("00000000:%02X:00.0", g.bus()) }

//export nvmlDeviceGetUUID
func nvmlDeviceGetUUID(device unsafe.Pointer, uuid *C.char, length C.uint) C.uint {
	return on("nvmlDeviceGetUUID", device, func(g gpu, t thing) nvml.Return {
		if t.kind == migDevice {
			return text(uuid, length, library.machine.MIGUUID(t.gpu, t.gi, t.ci))
		}
		return text(uuid, length, g.uuid)
	}, wholeGPU, migDevice)
}

//export nvmlDeviceGetName
func nvmlDeviceGetName(device unsafe.Pointer, name *C.char, length C.uint) C.uint {
	return on("nvmlDeviceGetName", device, func(g gpu, _ thing) nvml.Return {
		return text(name, length, g.Name)
	}, wholeGPU, migDevice)
}

//export nvmlDeviceGetSerial
func nvmlDeviceGetSerial(device unsafe.Pointer, serial *C.char, length C.uint) C.uint {
	return onGPU("nvmlDeviceGetSerial", device, func(g gpu) nvml.Return {
		return text(serial, length, fmt.Sprintf("165102%07d", g.index))
	})
}

//export nvmlDeviceGetIndex
func nvmlDeviceGetIndex(device, index unsafe.Pointer) C.uint {
	return onGPU("nvmlDeviceGetIndex", device, func(g gpu) nvml.Return { return put(index, uint32(g.index)) })
}

//export nvmlDeviceGetMinorNumber
func nvmlDeviceGetMinorNumber(device, minor unsafe.Pointer) C.uint {
	return onGPU("nvmlDeviceGetMinorNumber", device, func(g gpu) nvml.Return { return put(minor, uint32(g.index)) })
}

//export nvmlDeviceGetModuleId
func nvmlDeviceGetModuleId(device, id unsafe.Pointer) C.uint {
	return onGPU("nvmlDeviceGetModuleId", device, func(g gpu) nvml.Return { return put(id, uint32(g.index+1)) })
}

//export nvmlDeviceGetBrand
func nvmlDeviceGetBrand(device, brand unsafe.Pointer) C.uint {
	return onGPU("nvmlDeviceGetBrand", device, func(g gpu) nvml.Return { return put(brand, uint32(g.Brand)) })
}

//export nvmlDeviceGetArchitecture
func nvmlDeviceGetArchitecture(device, architecture unsafe.Pointer) C.uint {
	return onGPU("nvmlDeviceGetArchitecture", device, func(g gpu) nvml.Return {
		return put(architecture, uint32(g.Architecture))
	})
}

//export nvmlDeviceGetCudaComputeCapability
func nvmlDeviceGetCudaComputeCapability(device, major, minor unsafe.Pointer) C.uint {
	return onGPU("nvmlDeviceGetCudaComputeCapability", device, func(g gpu) nvml.Return {
		if ret := put(major, int32(g.CudaMajor)); ret != nvml.SUCCESS {
			return ret
		}
		return put(minor, int32(g.CudaMinor))
	})
}

//export nvmlDeviceGetAddressingMode
func nvmlDeviceGetAddressingMode(device, mode unsafe.Pointer) C.uint {
	return onGPU("nvmlDeviceGetAddressingMode", device, func(gpu) nvml.Return {
		(*nvml.DeviceAddressingMode)(mode).Value = uint32(nvml.DEVICE_ADDRESSING_MODE_HMM)
		return nvml.SUCCESS
	})
}

//export nvmlDeviceGetVirtualizationMode
func nvmlDeviceGetVirtualizationMode(device, mode unsafe.Pointer) C.uint {
	return onGPU("nvmlDeviceGetVirtualizationMode", device, func(gpu) nvml.Return {
		return put(mode, uint32(nvml.GPU_VIRTUALIZATION_MODE_NONE))
	})
}

// memory returns the bytes of a GPU or of a MIG device.
func (g gpu) memory(t thing) (uint64, nvml.Return) {
	if t.kind != migDevice {
		return g.MemoryMB << 20, nvml.SUCCESS
	}
	attributes, ret := g.attributes(t)
	return attributes.MemorySizeMB << 20, ret
}

//export nvmlDeviceGetMemoryInfo
func nvmlDeviceGetMemoryInfo(device, memory unsafe.Pointer) C.uint {
	return on("nvmlDeviceGetMemoryInfo", device, func(g gpu, t thing) nvml.Return {
		total, ret := g.memory(t)
		if ret != nvml.SUCCESS {
			return ret
		}
		return put(memory, nvml.Memory{Total: total, Free: total})
	}, wholeGPU, migDevice)
}

//export nvmlDeviceGetMemoryInfo_v2
func nvmlDeviceGetMemoryInfo_v2(device, memory unsafe.Pointer) C.uint {
	return on("nvmlDeviceGetMemoryInfo_v2", device, func(g gpu, t thing) nvml.Return {
		total, ret := g.memory(t)
		if ret != nvml.SUCCESS {
			return ret
		}
		version := (*nvml.Memory_v2)(memory).Version
		return put(memory, nvml.Memory_v2{Version: version, Total: total, Free: total})
	}, wholeGPU, migDevice)
}

//export nvmlDeviceGetPciInfo_v3
func nvmlDeviceGetPciInfo_v3(device, info unsafe.Pointer) C.uint {
	return onGPU("nvmlDeviceGetPciInfo_v3", device, func(g gpu) nvml.Return {
		pci := nvml.PciInfo{Bus: g.bus(), PciDeviceId: g.PciDeviceId, PciSubSystemId: 0x16C110DE}
		for i, c := range []byte(g.busID()) {
			pci.BusId[i] = int8(c)
		}
		for i, c := range []byte(g.busID()[4:]) {
			pci.BusIdLegacy[i] = int8(c)
		}
		return put(info, pci)
	})
}

//export nvmlDeviceGetPciInfoExt
func nvmlDeviceGetPciInfoExt(device, info unsafe.Pointer) C.uint {
	return onGPU("nvmlDeviceGetPciInfoExt", device, func(g gpu) nvml.Return {
		pci := (*nvml.PciInfoExt)(info)
		pci.Domain, pci.Bus, pci.Device, pci.PciDeviceId = 0, g.bus(), 0, g.PciDeviceId
		pci.PciSubSystemId, pci.BaseClass, pci.SubClass = 0x16C110DE, 3, 2
		for i, c := range append([]byte(g.busID()), 0) {
			pci.BusId[i] = int8(c)
		}
		return nvml.SUCCESS
	})
}

//export nvmlDeviceGetComputeMode
func nvmlDeviceGetComputeMode(device, mode unsafe.Pointer) C.uint {
	return onGPU("nvmlDeviceGetComputeMode", device, func(g gpu) nvml.Return {
		state, ret := g.remembered()
		if ret != nvml.SUCCESS {
			return ret
		}
		return put(mode, uint32(state.ComputeMode))
	})
}

//export nvmlDeviceSetComputeMode
func nvmlDeviceSetComputeMode(device unsafe.Pointer, mode C.uint) C.uint {
	return onGPU("nvmlDeviceSetComputeMode", device, func(g gpu) nvml.Return {
		if mode > C.uint(nvml.COMPUTEMODE_EXCLUSIVE_PROCESS) {
			return nvml.ERROR_INVALID_ARGUMENT
		}
		return g.change(func(state *fakegpu.GPU) nvml.Return {
			state.ComputeMode = int(mode)
			return nvml.SUCCESS
		})
	})
}

// noProcesses is the answer to all questions about processes.
func noProcesses(call string, device, count unsafe.Pointer) C.uint {
	return on(call, device, func(gpu, thing) nvml.Return { return put(count, uint32(0)) }, wholeGPU, migDevice)
}

//export nvmlDeviceGetComputeRunningProcesses_v3
func nvmlDeviceGetComputeRunningProcesses_v3(device, count, _ unsafe.Pointer) C.uint {
	return noProcesses("nvmlDeviceGetComputeRunningProcesses_v3", device, count)
}

//export nvmlDeviceGetGraphicsRunningProcesses_v3
func nvmlDeviceGetGraphicsRunningProcesses_v3(device, count, _ unsafe.Pointer) C.uint {
	return noProcesses("nvmlDeviceGetGraphicsRunningProcesses_v3", device, count)
}

//export nvmlDeviceGetMPSComputeRunningProcesses_v3
func nvmlDeviceGetMPSComputeRunningProcesses_v3(device, count, _ unsafe.Pointer) C.uint {
	return noProcesses("nvmlDeviceGetMPSComputeRunningProcesses_v3", device, count)
}

//export nvmlDeviceGetFieldValues
func nvmlDeviceGetFieldValues(device unsafe.Pointer, count C.int, values unsafe.Pointer) C.uint {
	return onGPU("nvmlDeviceGetFieldValues", device, func(g gpu) nvml.Return {
		if values == nil || count < 1 {
			return nvml.ERROR_INVALID_ARGUMENT
		}
		for i := range unsafe.Slice((*nvml.FieldValue)(values), int(count)) {
			g.field(&unsafe.Slice((*nvml.FieldValue)(values), int(count))[i])
		}
		return nvml.SUCCESS
	})
}

func (g gpu) field(value *nvml.FieldValue) {
	if value.FieldId != nvml.FI_DEV_GET_GPU_RECOVERY_ACTION {
		value.NvmlReturn = uint32(nvml.ERROR_NOT_SUPPORTED)
		return
	}
	value.NvmlReturn, value.ValueType = uint32(nvml.SUCCESS), uint32(nvml.VALUE_TYPE_UNSIGNED_INT)
	*(*uint32)(unsafe.Pointer(&value.Value)) = library.readControl().RecoveryActions[g.index]
}
