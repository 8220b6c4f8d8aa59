//go:build !windows

package main

import (
	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/device/mock"
)

// machinesOf says which devices the machine of a node has by a profile: a built-in one, or a file.
func machinesOf(profile string) (func(nodeName string) device.Snapshot, error) {
	return mock.Machines(profile)
}

// machineProfiles are the names of the built-in ones.
func machineProfiles() []string { return mock.BuiltIn() }
