package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
)

// driver is the kubelet's side.
type driver struct {
	name, node, broken string
	fatal              chan error // what it cannot go on with
	memory             claims     // of a driver that forgets on restart
}

var _ kubeletplugin.DRAPlugin = (*driver)(nil)

// PrepareResourceClaims remembers each claim and writes its CDI file, also if both were done before.
func (d *driver) PrepareResourceClaims(
	_ context.Context, all []*resourceapi.ResourceClaim,
) (map[types.UID]kubeletplugin.PrepareResult, error) {
	known, err := d.load()
	if err != nil {
		return nil, err
	}
	answer := map[types.UID]kubeletplugin.PrepareResult{}
	for _, claim := range all {
		devices, err := d.prepare(known, claim)
		if d.broken == answersFirstClaimOnly && len(answer) > 0 {
			continue
		}
		answer[claim.UID] = kubeletplugin.PrepareResult{Devices: devices, Err: err}
	}
	return answer, nil
}

func (d *driver) prepare(known claims, claim *resourceapi.ResourceClaim) ([]kubeletplugin.Device, error) {
	prepared, before := known[claim.UID]
	if !before {
		var err error
		if prepared, err = d.decide(claim); err != nil {
			return nil, err
		}
		if err := known.free(claim.UID, prepared); err != nil && d.broken != looksAtNobody {
			return nil, err
		}
		// Remembered first: what is not remembered is never taken back.
		known[claim.UID] = prepared
		if err := d.save(known); err != nil {
			delete(known, claim.UID)
			return nil, err
		}
	}
	if !before || d.broken != noCDIRecreation {
		if err := d.writeCDI(claim.UID, prepared); err != nil {
			return nil, err
		}
	}
	var devices []kubeletplugin.Device
	for _, p := range prepared {
		devices = append(devices, kubeletplugin.Device{
			Requests: []string{p.Request}, PoolName: p.Pool, DeviceName: p.Device, ShareID: p.ShareID,
			CDIDeviceIDs: []string{d.cdiID(claim.UID, p)},
		})
	}
	return devices, nil
}

// decide says which devices of the claim are ours, and with which colour.
func (d *driver) decide(claim *resourceapi.ResourceClaim) ([]prepared, error) {
	var all []prepared
	for _, result := range claim.Status.Allocation.Devices.Results {
		if result.Driver != d.name {
			continue
		}
		p := prepared{
			Request: result.Request, Pool: result.Pool, Device: result.Device, ShareID: result.ShareID,
			Admin: result.AdminAccess != nil && *result.AdminAccess, Takes: result.ConsumedCapacity[room],
		}
		for _, config := range resourceclaim.ConfigForResult(claim.Status.Allocation.Devices.Config, result) {
			if config.Opaque.Driver != d.name || p.Admin {
				continue
			}
			var parameters map[string]string
			if err := json.Unmarshal(config.Opaque.Parameters.Raw, &parameters); err != nil {
				return nil, fmt.Errorf("read the parameters for request %s: %w", result.Request, err)
			}
			p.Colour = parameters[colour]
		}
		all = append(all, p)
	}
	return all, nil
}

// UnprepareResourceClaims forgets each claim, its CDI file first.
func (d *driver) UnprepareResourceClaims(
	_ context.Context, all []kubeletplugin.NamespacedObject,
) (map[types.UID]error, error) {
	known, err := d.load()
	if err != nil {
		return nil, err
	}
	answer := map[types.UID]error{}
	for _, claim := range all {
		err := d.unprepare(known, claim.UID)
		if d.broken == answersFirstClaimOnly && len(answer) > 0 {
			continue
		}
		answer[claim.UID] = err
	}
	return answer, nil
}

func (d *driver) unprepare(known claims, uid types.UID) error {
	if _, is := known[uid]; !is {
		return nil
	}
	if err := d.removeCDI(uid); err != nil {
		return err
	}
	delete(known, uid)
	return d.save(known)
}

// HandleError ends the driver if going on makes no sense.
func (d *driver) HandleError(_ context.Context, err error, msg string) {
	fmt.Printf("%s: %v\n", msg, err)
	if errors.Is(err, kubeletplugin.ErrRecoverable) {
		return
	}
	select {
	case d.fatal <- fmt.Errorf("%s: %w", msg, err):
	default: // the first one is enough
	}
}

// WatchHealthStatus says every two seconds that all is well.
func (d *driver) WatchHealthStatus(ctx context.Context, reports chan<- kubeletplugin.DeviceHealthReport) error {
	again := time.NewTicker(2 * time.Second)
	defer again.Stop()
	for {
		var report kubeletplugin.DeviceHealthReport
		for _, device := range made() {
			report.Devices = append(report.Devices, kubeletplugin.DeviceHealth{
				PoolName: d.node, DeviceName: device.Name, Health: kubeletplugin.HealthStatusHealthy, LastUpdated: time.Now(),
			})
		}
		select {
		case reports <- report:
		case <-ctx.Done():
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// prepared is a device of a claim.
type prepared struct {
	Request, Pool, Device, Colour string
	Admin                         bool
	ShareID                       *types.UID
	Takes                         resource.Quantity // of the room of the device that is shared
}

// claims are all that are prepared.
type claims map[types.UID][]prepared

// free says whether a claim may have its devices: nobody else has one, unless it is shared or only looked at.
func (c claims) free(uid types.UID, wanted []prepared) error {
	for owner, has := range c {
		for _, w := range wanted {
			taken := slices.ContainsFunc(has, func(h prepared) bool {
				return h.Pool == w.Pool && h.Device == w.Device && !h.Admin && h.ShareID == nil
			})
			if taken && owner != uid && !w.Admin && w.ShareID == nil {
				return fmt.Errorf("device %s is held by claim %s", w.Device, owner)
			}
		}
	}
	left := resource.MustParse(allRoom)
	for _, shares := range append(slices.Collect(maps.Values(c)), wanted) {
		for _, share := range shares {
			left.Sub(share.Takes)
		}
	}
	if left.Sign() < 0 {
		return errors.New("other claims have too much of the device that is shared")
	}
	return nil
}
