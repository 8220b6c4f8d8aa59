package mock

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	"example.com/dragoman/pkg/device"
)

const (
	descriptionsInContainer = "/run/dragoman/devices"
	devicesInContainer      = "/dev/dragoman"
)

// undo is what taking a device back needs.
type undo struct {
	// Files are paths below Options.Dir.
	Files []string `json:"files"`
}

// description is what the file in the container says.
type description struct {
	Claim            claimName                                                 `json:"claim"`
	Request          string                                                    `json:"request"`
	Driver           string                                                    `json:"driver"`
	Pool             string                                                    `json:"pool"`
	Device           string                                                    `json:"device"`
	PartOf           string                                                    `json:"partOf,omitempty"`
	ShareID          *types.UID                                                `json:"shareID,omitempty"`
	AdminAccess      bool                                                      `json:"adminAccess"`
	Attributes       map[resourceapi.QualifiedName]resourceapi.DeviceAttribute `json:"attributes,omitempty"`
	Capacity         map[resourceapi.QualifiedName]resourceapi.DeviceCapacity  `json:"capacity,omitempty"`
	ConsumedCapacity map[resourceapi.QualifiedName]resource.Quantity           `json:"consumedCapacity,omitempty"`
	Network          *resourceapi.NetworkDeviceData                            `json:"network,omitempty"`
	Config           runtime.Object                                            `json:"config"`
}

// data is what the status of the claim says of the device.
type data struct {
	Backend          string                                          `json:"backend"`
	UUID             *string                                         `json:"uuid,omitempty"`
	PartOf           string                                          `json:"partOf,omitempty"`
	ConsumedCapacity map[resourceapi.QualifiedName]resource.Quantity `json:"consumedCapacity,omitempty"`
}

type claimName struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid"`
}

// Prepare writes a description of each device for the container. Admin access differs in nothing but what the
// description and the variables say, since no device is ever changed.
func (b *Backend) Prepare(ctx context.Context, r device.Request) ([]device.Grant, error) {
	names := make([]string, len(r.Devices))
	for i, result := range r.Devices {
		if !nameable(r.Claim.UID, result.ShareID) {
			return nil, &device.RefusedError{Reason: fmt.Errorf(
				"device %q: claim UID %q and share ID %q must be at most 64 letters, digits and dashes",
				result.Device, r.Claim.UID, ptr.Deref(result.ShareID, ""))}
		}
		names[i] = result.Device
	}
	if err := b.obey(ctx, callPrepare); err != nil {
		return nil, err
	}
	devices, err := b.find(names)
	if err != nil {
		return nil, err
	}
	var grants []device.Grant
	for i := range r.Devices {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("prepare device %s: %w", names[i], err)
		}
		grant, err := b.prepare(r, i, devices[i])
		if err != nil {
			return nil, fmt.Errorf("prepare device %s: %w", names[i], err)
		}
		grants = append(grants, grant)
	}
	return grants, nil
}

func (b *Backend) prepare(r device.Request, i int, of device.Device) (device.Grant, error) {
	result, network := r.Devices[i], b.network(of.Name)
	file := fileOf(r.Claim.UID, result)
	remember, err := json.Marshal(undo{Files: []string{file}})
	if err != nil {
		return device.Grant{}, err
	}
	content, err := json.MarshalIndent(description{
		Claim:            claimName(r.Claim),
		Request:          result.Request,
		Driver:           b.options.DriverName,
		Pool:             result.Pool,
		Device:           result.Device,
		PartOf:           of.PartOf,
		ShareID:          result.ShareID,
		AdminAccess:      ptr.Deref(result.AdminAccess, false),
		Attributes:       of.Attributes,
		Capacity:         of.Capacity,
		ConsumedCapacity: result.ConsumedCapacity,
		Network:          network,
		Config:           r.Config,
	}, "", "  ")
	if err != nil {
		return device.Grant{}, fmt.Errorf("describe it: %w", err)
	}
	status, err := json.Marshal(data{
		Backend: "mock", UUID: of.Attributes["uuid"].StringValue, PartOf: of.PartOf,
		ConsumedCapacity: result.ConsumedCapacity,
	})
	if err != nil {
		return device.Grant{}, fmt.Errorf("describe it: %w", err)
	}
	if err := r.Remember(i, remember); err != nil {
		return device.Grant{}, fmt.Errorf("remember how to undo it: %w", err)
	}
	if err := b.write(file, append(content, '\n')); err != nil {
		return device.Grant{}, fmt.Errorf("write its description: %w", err)
	}
	return device.Grant{
		Claim: r.Claim, Result: result, Edits: b.edits(r, i, file), Undo: remember, Network: network, Data: status,
	}, nil
}

// network returns what the profile says of a network device.
func (b *Backend) network(name string) *resourceapi.NetworkDeviceData {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.profiled.networks[name].DeepCopy()
}

// edits need nothing on the node but the description: a device node with type and numbers is made by the container
// runtime without looking for one on the host.
func (b *Backend) edits(r device.Request, i int, file string) *cdispecs.ContainerEdits {
	const major, minor = 1, 3 // /dev/null
	name := inContainer(r.All, r.Devices[i])
	return &cdispecs.ContainerEdits{
		Env: device.Environment(r, i),
		DeviceNodes: []*cdispecs.DeviceNode{{
			Path:        path.Join(devicesInContainer, name),
			Type:        "c",
			Major:       major,
			Minor:       minor,
			FileMode:    new(os.FileMode(0o666)),
			Permissions: "rw",
		}},
		Mounts: []*cdispecs.Mount{{
			HostPath:      filepath.Join(b.options.Dir, file),
			ContainerPath: path.Join(descriptionsInContainer, name+".json"),
			Options:       []string{"ro", "nosuid", "nodev", "noexec", "bind"},
		}},
	}
}

// Unprepare removes the description of a device and, after the last one, the directory of the claim.
func (b *Backend) Unprepare(ctx context.Context, g device.Grant) error {
	if !uidPattern.MatchString(string(g.Claim.UID)) {
		return nil // Prepare has refused it
	}
	if err := b.obey(ctx, callUnprepare); err != nil {
		return err
	}
	for _, file := range filesOf(g) {
		if err := b.remove(file); err != nil {
			return fmt.Errorf("unprepare device %s: %w", g.Result.Device, err)
		}
	}
	return nil
}
