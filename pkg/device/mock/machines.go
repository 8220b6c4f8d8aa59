package mock

import (
	"fmt"

	configv1alpha1 "example.com/dragoman/api/config/v1alpha1"
	"example.com/dragoman/pkg/device"
)

// Machines returns what says which devices the machine of a node has by a profile, the name of a built-in one
// ([BuiltIn]) or the path of a MachineProfile file. The profile is read once: it is for who wants to know of many nodes
// what a Backend on each of them would see that nobody has told anything.
func Machines(profile string) (func(nodeName string) device.Snapshot, error) {
	from, err := find(profile)
	if err != nil {
		return nil, err
	}
	raw, err := from.read()
	if err != nil {
		return nil, fmt.Errorf("read machine profile: %w", err)
	}
	decoded, errs := configv1alpha1.DecodeMachineProfile(raw)
	if len(errs) > 0 {
		return nil, fmt.Errorf("machine profile %s: %w", from.name, errs.ToAggregate())
	}
	return func(nodeName string) device.Snapshot {
		return profileMachine{}.replaced(decoded.Devices(nodeName)).Snapshot
	}, nil
}
