package cdi

import (
	"errors"
	"fmt"
	"slices"

	"tags.cncf.io/container-device-interface/pkg/cdi"
	"tags.cncf.io/container-device-interface/pkg/parser"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"
)

// complete sets the lowest CDI version that spec needs, since old runtimes refuse whole files of versions that they do
// not know, and validates spec with the parts of the CDI library that do so without a file. The tests hold it against
// the library's own reading of files.
func (d *Dir) complete(spec *cdispecs.Spec) error {
	if len(spec.Devices) == 0 {
		return errors.New("it has no devices")
	}
	if err := validateEdits(&spec.ContainerEdits); err != nil {
		return fmt.Errorf("edits for all devices: %w", err)
	}
	for i := range spec.Devices {
		if err := d.validateDevice(&spec.Devices[i]); err != nil {
			return fmt.Errorf("device %q: %w", spec.Devices[i].Name, err)
		}
		if i > 0 && spec.Devices[i-1].Name == spec.Devices[i].Name {
			return fmt.Errorf("device %q is there twice", spec.Devices[i].Name)
		}
	}
	var err error
	if spec.Version, err = cdispecs.MinimumRequiredVersion(spec); err != nil {
		return fmt.Errorf("tell the CDI version that it needs: %w", err)
	}
	return cdispecs.ValidateVersion(spec)
}

func (d *Dir) validateDevice(device *cdispecs.Device) error {
	if _, _, _, err := parser.ParseQualifiedName(d.ID(device.Name)); err != nil {
		return err
	}
	if len(device.Annotations) > 0 {
		return errors.New("it has annotations, for which there is no use")
	}
	if empty(&device.ContainerEdits) {
		return errors.New("it has no edits: container runtimes cannot resolve such a device")
	}
	return validateEdits(&device.ContainerEdits)
}

func validateEdits(edits *cdispecs.ContainerEdits) error {
	if slices.Contains(edits.DeviceNodes, nil) || slices.Contains(edits.Mounts, nil) ||
		slices.Contains(edits.Hooks, nil) || slices.Contains(edits.NetDevices, nil) {
		return errors.New("one of the edits is nil") // upon which the library panics
	}
	return (&cdi.ContainerEdits{ContainerEdits: edits}).Validate()
}

func empty(e *cdispecs.ContainerEdits) bool {
	return len(e.Env) == 0 && len(e.DeviceNodes) == 0 && len(e.NetDevices) == 0 && len(e.Hooks) == 0 &&
		len(e.Mounts) == 0 && len(e.AdditionalGIDs) == 0 && e.IntelRdt == nil
}
