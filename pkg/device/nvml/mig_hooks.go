//go:build cgo

package nvml

import (
	"context"
	"encoding/json"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"k8s.io/apimachinery/pkg/types"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	"example.com/dragoman/pkg/device"
)

// part is what is cut from a GPU, or can be.
type part struct{}

// planOf decides what a GPU is offered as. It runs at every look, inside s.enter/leave and inside a deadline; what it
// cannot find out it warns of.
func (b *Backend) planOf(_ *session, _ *gpu, _ nvml.Device, f facts) plan {
	return plan{offers: []offer{{device: whole(f)}}}
}

// makePart makes the part exist and returns what a container needs for it besides its GPU's edits. For admin access it
// changes nothing.
func (b *Backend) makePart(
	context.Context, device.Request, int, target, func(undo json.RawMessage) error,
) (*cdispecs.ContainerEdits, error) {
	return nil, nil
}

// unmakePart takes back what makePart did for a device of the grant's name; undo may be nil.
func (b *Backend) unmakePart(context.Context, device.Grant, json.RawMessage) error { return nil }

// sweepParts destroys the parts of claims that nobody knows.
func (b *Backend) sweepParts(context.Context, func(claim types.UID) bool) error { return nil }
