package main

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/device/mock"
)

// backendDir is where the backend keeps what it must keep.
func backendDir(config *driverConfig) string {
	return filepath.Join(config.StateDir, config.DriverName, "backend")
}

// openBackend makes a backend that keeps what it must keep in dir, which need not exist yet.
type openBackend func(ctx context.Context, config *driverConfig, dir string) (device.Backend, error)

// backends are the kinds of hardware. A new kind is a folder below pkg/device and a line here.
func backends() map[string]openBackend {
	return map[string]openBackend{
		"mock": openMock,
		"nvml": openNVML,
	}
}

// openFabric makes what attaches the devices of a backend before pods are bound.
type openFabric func(config *driverConfig) (device.Fabric, error)

// fabrics are the backends with devices that are attached before pods are bound.
func fabrics() map[string]openFabric {
	return map[string]openFabric{
		"mock": openMockFabric,
	}
}

func openMockFabric(config *driverConfig) (device.Fabric, error) {
	fabric, err := mock.NewFabric(config.MockProfile, config.DriverName)
	if err != nil {
		return nil, fmt.Errorf("--mock-profile: %w", err)
	}
	return fabric, nil
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
	if dir == "" { // nothing will be written, but there may be something to read
		dir = backendDir(config)
	}
	return newMock(config, dir)
}

func newMock(config *driverConfig, dir string) (*mock.Backend, error) {
	backend, err := mock.New(mock.Options{
		Profile: config.MockProfile, NodeName: config.NodeName, DriverName: config.DriverName, Dir: dir,
	})
	if err != nil {
		return nil, fmt.Errorf("--mock-profile: %w", err)
	}
	return backend, nil
}
