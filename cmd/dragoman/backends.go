package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/device/mock"
)

// openBackend makes a backend that keeps what it must keep in dir, which need not exist yet.
type openBackend func(ctx context.Context, config *driverConfig, dir string) (device.Backend, error)

// backends are the kinds of hardware. A new kind is a folder below pkg/device and a line here.
func backends() map[string]openBackend {
	return map[string]openBackend{
		"mock": openMock,
		"nvml": openNVML,
	}
}

func backendNames() []string { return slices.Sorted(maps.Keys(backends())) }

// backendOf opens the configured backend.
func backendOf(ctx context.Context, config *driverConfig, dir string) (device.Backend, error) {
	open, ok := backends()[config.Backend]
	if !ok {
		return nil, fmt.Errorf("unknown backend %q; there are: %s; see --backend", config.Backend,
			strings.Join(backendNames(), ", "))
	}
	return open(ctx, config, dir)
}

func openMock(_ context.Context, config *driverConfig, dir string) (device.Backend, error) {
	backend, err := mock.New(mock.Options{
		Profile: config.MockProfile, NodeName: config.NodeName, DriverName: config.DriverName, Dir: dir,
	})
	if err != nil {
		return nil, fmt.Errorf("--mock-profile: %w", err)
	}
	return backend, nil
}
