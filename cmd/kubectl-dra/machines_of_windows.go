package main

import (
	"fmt"

	"example.com/dragoman/pkg/device"
)

// machinesOf has no machines: the room that makes them up keeps their state in files as only Unix has them.
func machinesOf(profile string) (func(nodeName string) device.Snapshot, error) {
	return nil, fmt.Errorf("make up machines of profile %s: not on Windows; --slices takes what \"kubectl get "+
		"resourceslices,deviceclasses -o yaml\" prints", profile)
}

// machineProfiles are none: see machinesOf.
func machineProfiles() []string { return nil }
