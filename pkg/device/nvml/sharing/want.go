//go:build cgo

package sharing

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
)

// Want is what a configuration asks for. What is nil is left as it is.
type Want struct {
	ComputeMode *nvml.ComputeMode
	TimeSlice   *TimeSlice
	MPS         *gpuv1alpha1.MPSConfig
}

// Nothing tells whether there is nothing to do.
func (w Want) Nothing() bool { return w.ComputeMode == nil && w.TimeSlice == nil && w.MPS == nil }

// TimeSlice is an interval as nvidia-smi counts them.
type TimeSlice int

// The time slices of nvidia-smi compute-policy.
const (
	DefaultSlice TimeSlice = iota
	ShortSlice
	MediumSlice
	LongSlice
)

func (s TimeSlice) String() string {
	names := []string{"Default", "Short", "Medium", "Long"}
	if s < 0 || int(s) >= len(names) {
		return strconv.Itoa(int(s))
	}
	return names[s]
}

// Group says of which kind the devices are that one configuration applies to.
type Group struct {
	// Devices are how many there are, and MIG how many of them are MIG devices.
	Devices, MIG int
	// Admin is whether one of them is there for admin access.
	Admin bool
}

// WantOf returns what a configuration asks for, or an error for the user if devices of this kind cannot be shared so.
func WantOf(config *gpuv1alpha1.GpuConfig, of Group) (Want, error) {
	sharing := config.Sharing
	if sharing == nil {
		return Want{}, nil
	}
	want, err := wantOf(sharing)
	switch {
	case err != nil:
		return Want{}, err
	case want.Nothing():
		return want, nil
	case of.Admin:
		return Want{}, fmt.Errorf("strategy %s: admin access never changes a device, because somebody else may be using it",
			sharing.Strategy)
	case of.MIG == 0:
		return want, nil
	case want.MPS == nil:
		return Want{}, fmt.Errorf("strategy %s%s: is a setting of a whole GPU, whose other parts belong to others; "+
			"a MIG device can have the strategy MPS or none", sharing.Strategy, interval(sharing))
	case of.Devices > 1:
		return Want{}, errors.New("strategy MPS: a daemon can serve one MIG device only, and the configuration applies to " +
			strconv.Itoa(of.Devices) + " devices; give each a claim of its own")
	}
	want.ComputeMode = nil // MIG devices have none
	return want, nil
}

func wantOf(sharing *gpuv1alpha1.GpuSharing) (Want, error) {
	switch sharing.Strategy {
	case gpuv1alpha1.ExclusiveStrategy:
		return Want{ComputeMode: new(nvml.COMPUTEMODE_EXCLUSIVE_PROCESS)}, nil
	case gpuv1alpha1.MPSStrategy:
		mps := sharing.MPSConfig
		if mps == nil {
			mps = &gpuv1alpha1.MPSConfig{}
		}
		return Want{ComputeMode: new(nvml.COMPUTEMODE_EXCLUSIVE_PROCESS), MPS: mps}, nil
	case gpuv1alpha1.TimeSlicingStrategy:
		slice, ok := timeSlices()[intervalOf(sharing)]
		switch {
		case !ok:
			return Want{}, fmt.Errorf("strategy TimeSlicing: unknown interval %q", intervalOf(sharing))
		case slice == DefaultSlice:
			return Want{}, nil
		}
		return Want{ComputeMode: new(nvml.COMPUTEMODE_DEFAULT), TimeSlice: &slice}, nil
	default:
		return Want{}, fmt.Errorf("strategy %s: these GPUs do not have it; use MPS, or a MIG device, which is a part of "+
			"a GPU", sharing.Strategy)
	}
}

func timeSlices() map[gpuv1alpha1.TimeSliceInterval]TimeSlice {
	return map[gpuv1alpha1.TimeSliceInterval]TimeSlice{
		gpuv1alpha1.DefaultTimeSlice: DefaultSlice,
		gpuv1alpha1.ShortTimeSlice:   ShortSlice,
		gpuv1alpha1.MediumTimeSlice:  MediumSlice,
		gpuv1alpha1.LongTimeSlice:    LongSlice,
	}
}

func intervalOf(sharing *gpuv1alpha1.GpuSharing) gpuv1alpha1.TimeSliceInterval {
	if sharing.TimeSlicingConfig == nil || sharing.TimeSlicingConfig.Interval == "" {
		return gpuv1alpha1.DefaultTimeSlice
	}
	return sharing.TimeSlicingConfig.Interval
}

func interval(sharing *gpuv1alpha1.GpuSharing) string {
	if sharing.Strategy != gpuv1alpha1.TimeSlicingStrategy {
		return ""
	}
	return " with interval " + string(intervalOf(sharing))
}
