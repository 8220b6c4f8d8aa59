//go:build cgo

package main

import "C"

import (
	"errors"
	"strings"
	"sync"
	"unsafe"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// errUnchanged makes a change of the state not happen; it is seen by nobody.
var errUnchanged = errors.New("unchanged")

//export nvmlInit
func nvmlInit() C.uint { return C.uint(library.start("nvmlInit")) }

//export nvmlInit_v2
func nvmlInit_v2() C.uint { return C.uint(library.start("nvmlInit_v2")) }

//export nvmlInitWithFlags
func nvmlInitWithFlags(C.uint) C.uint { return C.uint(library.start("nvmlInitWithFlags")) }

//export nvmlShutdown
func nvmlShutdown() C.uint { return C.uint(library.stop()) }

//export nvmlErrorString
func nvmlErrorString(ret C.uint) *C.char {
	errorStrings.Lock()
	defer errorStrings.Unlock()
	if errorStrings.of[ret] == nil {
		name, ok := returns()[nvml.Return(ret)]
		if !ok {
			name = "UNKNOWN"
		}
		errorStrings.of[ret] = cString(sentence(name))
	}
	return errorStrings.of[ret]
}

// errorStrings are what nvmlErrorString returned, which callers never free.
var errorStrings = struct { //nolint:gochecknoglobals // one per process, like the library
	sync.Mutex
	of map[C.uint]*C.char
}{of: map[C.uint]*C.char{}}

// sentence makes "GPU is lost" of GPU_IS_LOST.
func sentence(name string) string {
	words := strings.Split(name, "_")
	for i, word := range words {
		switch {
		case word == "GPU" || word == "RM" || word == "IRQ":
		case i == 0:
			words[i] = word[:1] + strings.ToLower(word[1:])
		default:
			words[i] = strings.ToLower(word)
		}
	}
	return strings.Join(words, " ")
}

// returns are the names of the return values, as the control file has them.
func returns() map[nvml.Return]string {
	return map[nvml.Return]string{
		nvml.SUCCESS:                         "SUCCESS",
		nvml.ERROR_UNINITIALIZED:             "UNINITIALIZED",
		nvml.ERROR_INVALID_ARGUMENT:          "INVALID_ARGUMENT",
		nvml.ERROR_NOT_SUPPORTED:             "NOT_SUPPORTED",
		nvml.ERROR_NO_PERMISSION:             "NO_PERMISSION",
		nvml.ERROR_ALREADY_INITIALIZED:       "ALREADY_INITIALIZED",
		nvml.ERROR_NOT_FOUND:                 "NOT_FOUND",
		nvml.ERROR_INSUFFICIENT_SIZE:         "INSUFFICIENT_SIZE",
		nvml.ERROR_INSUFFICIENT_POWER:        "INSUFFICIENT_POWER",
		nvml.ERROR_DRIVER_NOT_LOADED:         "DRIVER_NOT_LOADED",
		nvml.ERROR_TIMEOUT:                   "TIMEOUT",
		nvml.ERROR_IRQ_ISSUE:                 "IRQ_ISSUE",
		nvml.ERROR_LIBRARY_NOT_FOUND:         "LIBRARY_NOT_FOUND",
		nvml.ERROR_FUNCTION_NOT_FOUND:        "FUNCTION_NOT_FOUND",
		nvml.ERROR_CORRUPTED_INFOROM:         "CORRUPTED_INFOROM",
		nvml.ERROR_GPU_IS_LOST:               "GPU_IS_LOST",
		nvml.ERROR_RESET_REQUIRED:            "RESET_REQUIRED",
		nvml.ERROR_OPERATING_SYSTEM:          "OPERATING_SYSTEM",
		nvml.ERROR_LIB_RM_VERSION_MISMATCH:   "LIB_RM_VERSION_MISMATCH",
		nvml.ERROR_IN_USE:                    "IN_USE",
		nvml.ERROR_MEMORY:                    "MEMORY",
		nvml.ERROR_NO_DATA:                   "NO_DATA",
		nvml.ERROR_INSUFFICIENT_RESOURCES:    "INSUFFICIENT_RESOURCES",
		nvml.ERROR_FREQ_NOT_SUPPORTED:        "FREQ_NOT_SUPPORTED",
		nvml.ERROR_ARGUMENT_VERSION_MISMATCH: "ARGUMENT_VERSION_MISMATCH",
		nvml.ERROR_DEPRECATED:                "DEPRECATED",
		nvml.ERROR_NOT_READY:                 "NOT_READY",
		nvml.ERROR_GPU_NOT_FOUND:             "GPU_NOT_FOUND",
		nvml.ERROR_INVALID_STATE:             "INVALID_STATE",
		nvml.ERROR_UNKNOWN:                   "UNKNOWN",
	}
}

//export nvmlSystemGetDriverVersion
func nvmlSystemGetDriverVersion(version *C.char, length C.uint) C.uint {
	return onSystem("nvmlSystemGetDriverVersion", func() nvml.Return {
		if other := library.readControl().DriverVersion; other != "" {
			return text(version, length, other)
		}
		return text(version, length, library.machine.DriverVersion)
	})
}

//export nvmlSystemGetNVMLVersion
func nvmlSystemGetNVMLVersion(version *C.char, length C.uint) C.uint {
	return onSystem("nvmlSystemGetNVMLVersion", func() nvml.Return {
		return text(version, length, library.machine.NVMLVersion)
	})
}

//export nvmlSystemGetCudaDriverVersion
func nvmlSystemGetCudaDriverVersion(version unsafe.Pointer) C.uint {
	return onSystem("nvmlSystemGetCudaDriverVersion", func() nvml.Return {
		return put(version, int32(library.machine.CUDAVersion))
	})
}

//export nvmlSystemGetCudaDriverVersion_v2
func nvmlSystemGetCudaDriverVersion_v2(version unsafe.Pointer) C.uint {
	return onSystem("nvmlSystemGetCudaDriverVersion_v2", func() nvml.Return {
		return put(version, int32(library.machine.CUDAVersion))
	})
}

//export nvmlDeviceGetCount_v2
func nvmlDeviceGetCount_v2(count unsafe.Pointer) C.uint {
	return onSystem("nvmlDeviceGetCount_v2", func() nvml.Return { return put(count, uint32(len(library.gpus))) })
}

//export nvmlGetExcludedDeviceCount
func nvmlGetExcludedDeviceCount(count unsafe.Pointer) C.uint {
	return onSystem("nvmlGetExcludedDeviceCount", func() nvml.Return { return put(count, uint32(0)) })
}

// getHandle finds a GPU and returns its handle; one that is lost has none.
func getHandle(call string, handle unsafe.Pointer, is func(gpu) bool) C.uint {
	return onSystem(call, func() nvml.Return {
		for _, g := range library.gpus {
			if !is(g) {
				continue
			}
			if ret := library.enter(call, g.index); ret != nvml.SUCCESS {
				return ret
			}
			return put(handle, library.handle(thing{kind: wholeGPU, gpu: g.index}))
		}
		return nvml.ERROR_NOT_FOUND
	})
}

//export nvmlDeviceGetHandleByIndex_v2
func nvmlDeviceGetHandleByIndex_v2(index C.uint, handle unsafe.Pointer) C.uint {
	if int(index) >= len(library.gpus) {
		return onSystem("nvmlDeviceGetHandleByIndex_v2", func() nvml.Return { return nvml.ERROR_INVALID_ARGUMENT })
	}
	return getHandle("nvmlDeviceGetHandleByIndex_v2", handle, func(g gpu) bool { return g.index == int(index) })
}

//export nvmlDeviceGetHandleByUUID
func nvmlDeviceGetHandleByUUID(uuid *C.char, handle unsafe.Pointer) C.uint {
	wanted := C.GoString(uuid)
	if strings.HasPrefix(wanted, "MIG-") {
		return onSystem("nvmlDeviceGetHandleByUUID", func() nvml.Return {
			for _, g := range library.gpus {
				devices, ret := g.migDevices()
				if ret != nvml.SUCCESS {
					return ret
				}
				for _, t := range devices {
					if library.machine.MIGUUID(t.gpu, t.gi, t.ci) == wanted {
						return put(handle, library.handle(t))
					}
				}
			}
			return nvml.ERROR_NOT_FOUND
		})
	}
	return getHandle("nvmlDeviceGetHandleByUUID", handle, func(g gpu) bool { return g.uuid == wanted })
}

//export nvmlDeviceGetHandleByPciBusId_v2
func nvmlDeviceGetHandleByPciBusId_v2(id *C.char, handle unsafe.Pointer) C.uint {
	wanted := strings.ToUpper(C.GoString(id))
	return getHandle("nvmlDeviceGetHandleByPciBusId_v2", handle, func(g gpu) bool {
		return strings.HasSuffix(g.busID(), wanted)
	})
}
