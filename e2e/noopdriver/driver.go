package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
)

// driver is the kubelet's side.
type driver struct {
	name  string
	fatal chan error // what it cannot go on with
}

var _ kubeletplugin.DRAPlugin = (*driver)(nil)

// PrepareResourceClaims answers with what is allocated.
func (d *driver) PrepareResourceClaims(
	_ context.Context, claims []*resourceapi.ResourceClaim,
) (map[types.UID]kubeletplugin.PrepareResult, error) {
	answer := make(map[types.UID]kubeletplugin.PrepareResult, len(claims))
	for _, claim := range claims {
		var devices []kubeletplugin.Device
		for _, result := range claim.Status.Allocation.Devices.Results {
			if result.Driver == d.name {
				devices = append(devices, kubeletplugin.Device{
					Requests: []string{result.Request}, PoolName: result.Pool, DeviceName: result.Device, ShareID: result.ShareID,
				})
			}
		}
		answer[claim.UID] = kubeletplugin.PrepareResult{Devices: devices}
	}
	return answer, nil
}

// UnprepareResourceClaims has nothing to undo.
func (d *driver) UnprepareResourceClaims(
	_ context.Context, claims []kubeletplugin.NamespacedObject,
) (map[types.UID]error, error) {
	answer := make(map[types.UID]error, len(claims))
	for _, claim := range claims {
		answer[claim.UID] = nil
	}
	return answer, nil
}

// WatchHealthStatus is not called: the service is off.
func (d *driver) WatchHealthStatus(context.Context, chan<- kubeletplugin.DeviceHealthReport) error {
	return kubeletplugin.ErrHealthNotSupported
}

// HandleError ends the driver if going on makes no sense.
func (d *driver) HandleError(_ context.Context, err error, msg string) {
	if errors.Is(err, kubeletplugin.ErrRecoverable) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", msg, err)
		return
	}
	select {
	case d.fatal <- fmt.Errorf("%s: %w", msg, err):
	default: // the first one is enough
	}
}
