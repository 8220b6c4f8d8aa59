//go:build cgo

package nvml

import (
	"errors"
	"fmt"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// callError says which call of the library ended how. Its text does not come from the library, which may be closed by
// the time somebody reads it.
type callError struct {
	call string
	code nvml.Return
}

func (e *callError) Error() string { return e.call + ": " + meaning(e.code) }

// Is makes errors.Is(err, nvml.ERROR_…) work.
func (e *callError) Is(target error) bool {
	code, ok := target.(nvml.Return)
	return ok && code == e.code
}

// called returns nil for success.
func called(call string, code nvml.Return) error {
	if code == nvml.SUCCESS {
		return nil
	}
	return &callError{call, code}
}

// meaning is what a code of the library means, for people, with its name for those who search.
func meaning(code nvml.Return) string {
	texts := map[nvml.Return]string{
		nvml.ERROR_UNINITIALIZED:           "the library is not initialised (UNINITIALIZED)",
		nvml.ERROR_INVALID_ARGUMENT:        "the library refuses an argument (INVALID_ARGUMENT)",
		nvml.ERROR_NOT_SUPPORTED:           "not supported here (NOT_SUPPORTED)",
		nvml.ERROR_NO_PERMISSION:           "no permission (NO_PERMISSION)",
		nvml.ERROR_NOT_FOUND:               "not found (NOT_FOUND)",
		nvml.ERROR_INSUFFICIENT_SIZE:       "the answer is too long (INSUFFICIENT_SIZE)",
		nvml.ERROR_INSUFFICIENT_POWER:      "a power cable is not connected (INSUFFICIENT_POWER)",
		nvml.ERROR_DRIVER_NOT_LOADED:       "the kernel driver is not loaded (DRIVER_NOT_LOADED)",
		nvml.ERROR_TIMEOUT:                 "timed out (TIMEOUT)",
		nvml.ERROR_IRQ_ISSUE:               "the kernel sees an interrupt problem of a GPU (IRQ_ISSUE)",
		nvml.ERROR_LIBRARY_NOT_FOUND:       "the library cannot be loaded (LIBRARY_NOT_FOUND)",
		nvml.ERROR_FUNCTION_NOT_FOUND:      "the library does not have it (FUNCTION_NOT_FOUND)",
		nvml.ERROR_CORRUPTED_INFOROM:       "the GPU's infoROM is damaged (CORRUPTED_INFOROM)",
		nvml.ERROR_GPU_IS_LOST:             "the GPU is lost (GPU_IS_LOST)",
		nvml.ERROR_RESET_REQUIRED:          "the GPU needs a reset (RESET_REQUIRED)",
		nvml.ERROR_OPERATING_SYSTEM:        "the operating system refuses it (OPERATING_SYSTEM)",
		nvml.ERROR_LIB_RM_VERSION_MISMATCH: "library and kernel driver have different versions (LIB_RM_VERSION_MISMATCH)",
		nvml.ERROR_IN_USE:                  "somebody uses the GPU (IN_USE)",
		nvml.ERROR_MEMORY:                  "out of memory (MEMORY)",
		nvml.ERROR_INSUFFICIENT_RESOURCES:  "the GPU has not enough left (INSUFFICIENT_RESOURCES)",
		nvml.ERROR_NOT_READY:               "not ready (NOT_READY)",
		nvml.ERROR_GPU_NOT_FOUND:           "there is no GPU (GPU_NOT_FOUND)",
		nvml.ERROR_INVALID_STATE:           "not possible in this state (INVALID_STATE)",
		nvml.ERROR_UNKNOWN:                 "an unknown error (UNKNOWN)",
	}
	if text, ok := texts[code]; ok {
		return text
	}
	return fmt.Sprintf("NVML code %d", int(code))
}

// isUnsupported tells whether an error says that there is nothing to know, which is no problem.
func isUnsupported(err error) bool {
	return errors.Is(err, nvml.ERROR_NOT_SUPPORTED) || errors.Is(err, nvml.ERROR_FUNCTION_NOT_FOUND)
}

// endsSession tells whether an error says that nothing can be asked any more before the library is initialised again.
func endsSession(err error) bool {
	for _, code := range []nvml.Return{
		nvml.ERROR_UNINITIALIZED, nvml.ERROR_DRIVER_NOT_LOADED, nvml.ERROR_LIB_RM_VERSION_MISMATCH,
		nvml.ERROR_LIBRARY_NOT_FOUND,
	} {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}

// meansSick tells whether an error says that the GPU itself does not work, whatever was asked.
func meansSick(err error) bool {
	for _, code := range []nvml.Return{
		nvml.ERROR_GPU_IS_LOST, nvml.ERROR_RESET_REQUIRED, nvml.ERROR_GPU_NOT_FOUND, nvml.ERROR_NOT_FOUND,
		nvml.ERROR_INSUFFICIENT_POWER, nvml.ERROR_IRQ_ISSUE,
	} {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}
