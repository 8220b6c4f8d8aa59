//go:build cgo

package nvml

import (
	"context"
	"encoding/json"

	"k8s.io/apimachinery/pkg/types"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	"example.com/dragoman/pkg/device"
)

// share applies the request's configuration to its devices and returns what containers need for each of them because
// of it, in the order of the devices; nil for one that needs nothing.
func (b *Backend) share(
	_ context.Context, r device.Request, _ []target, _ func(i int, undo json.RawMessage) error,
) ([]*cdispecs.ContainerEdits, error) {
	return make([]*cdispecs.ContainerEdits, len(r.Devices)), nil
}

// unshare takes back what share did for a device; undo may be nil.
func (b *Backend) unshare(context.Context, device.Grant, json.RawMessage) error { return nil }

// sweepShares takes back what was shared for claims that nobody knows.
func (b *Backend) sweepShares(context.Context, func(claim types.UID) bool) error { return nil }
