//go:build cgo

// Package mig cuts NVIDIA GPUs into GPU instances (Multi-Instance GPU): which partitions are possible, what the
// scheduler must know so that it never gives two that overlap, which devices a GPU is offered as, and the making and
// destroying of instances.
//
// Planning is pure: [Read] and [Instances] look once, everything else is computed. Changing goes through a [Workshop],
// which writes down what it makes before it makes it, in files that end with the boot, as instances do.
//
// Two numbers are easily mixed up: the index of a profile is the argument with which NVML is asked for it
// (GPU_INSTANCE_PROFILE_*), its ID is what instances and capability files carry.
//
// It is larger than other rooms because NVML reports success and failure of a change less surely than the state after
// it, so that each change is followed by a look.
package mig
