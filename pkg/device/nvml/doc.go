//go:build cgo

// Package nvml is the backend for NVIDIA GPUs. It is the only door to go-nvml, which loads the driver's library when it
// runs and therefore needs cgo: a program built with CGO_ENABLED=0 does not have this backend.
package nvml

import (
	_ "github.com/NVIDIA/go-nvlib/pkg/nvlib/device"
	_ "github.com/NVIDIA/go-nvml/pkg/nvml"
	_ "github.com/NVIDIA/nvidia-container-toolkit/pkg/nvcdi"
)
