//go:build !cgo

package main

import (
	"context"
	"errors"

	"example.com/dragoman/pkg/device"
)

// openNVML says why there is no such backend: it loads a C library when it runs.
func openNVML(context.Context, *driverConfig, string) (device.Backend, error) {
	return nil, errors.New("backend nvml: this program was built without cgo (CGO_ENABLED=0) and cannot load NVIDIA's " +
		"library; use the image of \"make image-nvml\" or the program bin/nvml/dragoman of \"make build-nvml\"")
}

func helperCommands() []subcommand { return nil }
