//go:build cgo

package mig

import (
	"fmt"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// Mode is the MIG mode of a GPU.
type Mode struct {
	// Capable is false for a GPU that knows no MIG; then the rest means nothing.
	Capable bool
	// Current is whether MIG is enabled; Pending is whether it will be after the next reset of the GPU.
	Current, Pending bool
}

// ReadMode asks a GPU for its MIG mode.
func ReadMode(gpu nvml.Device) (Mode, error) {
	current, pending, ret := gpu.GetMigMode()
	if absent(ret) {
		return Mode{}, nil
	}
	if ret != nvml.SUCCESS {
		return Mode{}, fmt.Errorf("read MIG mode: %w", ret)
	}
	const on = nvml.DEVICE_MIG_ENABLE
	return Mode{Capable: true, Current: current == on, Pending: pending == on}, nil
}

// Toggles tells whether the MIG mode of a GPU can be changed without a reset, which is so from Hopper on (NVIDIA's MIG
// user guide). Of an architecture that NVML cannot name nothing is expected.
func Toggles(architecture nvml.DeviceArchitecture) bool {
	return architecture >= nvml.DEVICE_ARCH_HOPPER && architecture != nvml.DEVICE_ARCH_UNKNOWN
}

// State is what there is to know of a GPU before it is offered.
type State struct {
	Mode    Mode
	Toggles bool
	// Partitions is how many partitions the layout has.
	Partitions int
	// Foreign is how many instances are there that this driver did not make.
	Foreign int
}

// Offer is as which devices a GPU is offered.
type Offer struct {
	// Whole offers the whole GPU.
	Whole bool
	// Partitions offers every possible partition. The whole GPU, if it is offered too, consumes all counters then.
	Partitions bool
	// Static offers the instances that somebody else made.
	Static bool
	// Unhealthy is the reason for which none of these can be used; empty if they can.
	Unhealthy string
}

// Decide says as what a GPU is offered; dynamic is whether this driver may make and destroy instances.
//
// What somebody else made is theirs: a GPU with such instances is never cut or taken out of MIG mode. On GPUs that
// change MIG mode only with a reset the mode is theirs too.
func Decide(dynamic bool, s State) Offer {
	if !s.Mode.Capable {
		return Offer{Whole: true}
	}
	var offer Offer
	switch {
	case s.Mode.Current && (!dynamic || s.Foreign > 0):
		offer = Offer{Static: true}
	case !dynamic || s.Partitions == 0:
		offer = Offer{Whole: !s.Mode.Current}
	case s.Toggles:
		offer = Offer{Whole: true, Partitions: true}
	default:
		offer = Offer{Whole: !s.Mode.Current, Partitions: s.Mode.Current}
	}
	if s.Mode.Current != s.Mode.Pending {
		offer.Unhealthy = fmt.Sprintf("MIG mode is %s and will be %s after the next reset of the GPU; reset it "+
			"(nvidia-smi --gpu-reset) or reboot the node, or set MIG mode back", word(s.Mode.Current), word(s.Mode.Pending))
	}
	return offer
}

func word(enabled bool) string {
	if enabled {
		return "enabled"
	}
	return "disabled"
}
