//go:build nvml

// Package nvml is where the backend for NVIDIA GPUs will be. There is none yet, and no build contains this package: the
// file pins the version of go-nvml, which needs cgo, so that the whole module is resolved against it from the start.
package nvml

import _ "github.com/NVIDIA/go-nvml/pkg/nvml"
