package driver

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/klog/v2"

	"example.com/dragoman/pkg/claim"
	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/prepare"
)

// parallelClaims bounds how many claims of one call are worked on at once.
const parallelClaims = 16

var _ kubeletplugin.DRAPlugin = (*Driver)(nil)

// PrepareResourceClaims gives one answer for each claim. What is wrong with one claim is the answer for that claim and
// does not touch the others.
func (d *Driver) PrepareResourceClaims(
	ctx context.Context, claims []*resourceapi.ResourceClaim,
) (map[types.UID]kubeletplugin.PrepareResult, error) {
	answers := make([]kubeletplugin.PrepareResult, len(claims))
	inParallel(len(claims), func(i int) {
		logger := klog.LoggerWithValues(klog.FromContext(ctx), "claim", klog.KObj(claims[i]), "claimUID", claims[i].UID)
		devices, err := guarded(klog.NewContext(ctx, logger), claims[i], d.prepare)
		took := time.Since(startOf(ctx))
		d.options.Observe.Prepared(took, err)
		if err != nil {
			logger.Error(err, "Prepare claim")
			d.Tell(ctx, device.Claim{Namespace: claims[i].Namespace, Name: claims[i].Name, UID: claims[i].UID}, err)
		} else {
			d.shown.changed(device.Claim{Namespace: claims[i].Namespace, Name: claims[i].Name, UID: claims[i].UID}, claims[i])
			logger.V(2).Info("Prepared claim", "devices", namesOf(devices), "took", took)
		}
		answers[i] = kubeletplugin.PrepareResult{Devices: devices, Err: err}
	})
	result := make(map[types.UID]kubeletplugin.PrepareResult, len(claims))
	for i, c := range claims {
		result[c.UID] = answers[i]
	}
	return result, nil
}

func (d *Driver) prepare(ctx context.Context, c *resourceapi.ResourceClaim) ([]kubeletplugin.Device, error) {
	if err := fetchError(ctx, c); err != nil {
		return nil, err
	}
	d.unsettled.exists(c.UID)
	plan, err := d.options.Decide(c)
	if err != nil && !errors.Is(err, claim.ErrNotAllocated) {
		return nil, &invalidError{err}
	}
	if err != nil {
		return nil, err
	}
	prepared, err := d.options.Preparer.Prepare(ctx, plan)
	if err != nil {
		return nil, err
	}
	answer := answerOf(prepared)
	d.told.add(ctx, answer, prepared)
	return answer, nil
}

// answerOf keeps the order, which is that of the allocation.
func answerOf(prepared []prepare.Device) []kubeletplugin.Device {
	devices := make([]kubeletplugin.Device, 0, len(prepared))
	for _, p := range prepared {
		devices = append(devices, kubeletplugin.Device{
			Requests:     []string{p.Request},
			PoolName:     p.Pool,
			DeviceName:   p.Device,
			ShareID:      p.ShareID,
			CDIDeviceIDs: p.CDIDeviceIDs,
		})
	}
	return devices
}

// UnprepareResourceClaims gives one answer for each claim, nil where nothing of it is left on the node. It does not
// need the API server.
func (d *Driver) UnprepareResourceClaims(
	ctx context.Context, claims []kubeletplugin.NamespacedObject,
) (map[types.UID]error, error) {
	answers := make([]error, len(claims))
	inParallel(len(claims), func(i int) {
		logger := klog.LoggerWithValues(klog.FromContext(ctx),
			"claim", klog.KRef(claims[i].Namespace, claims[i].Name), "claimUID", claims[i].UID)
		_, err := guarded(klog.NewContext(ctx, logger), claims[i].UID, d.unprepare)
		took := time.Since(startOf(ctx))
		d.options.Observe.Unprepared(took, err)
		if err != nil {
			logger.Error(err, "Unprepare claim")
		} else {
			c := device.Claim{Namespace: claims[i].Namespace, Name: claims[i].Name, UID: claims[i].UID}
			d.shown.changed(c, nil)
			d.told.unprepared(ctx, c)
			logger.V(2).Info("Unprepared claim", "took", took)
		}
		answers[i] = err
	})
	result := make(map[types.UID]error, len(claims))
	for i, c := range claims {
		result[c.UID] = answers[i]
	}
	return result, nil
}

func (d *Driver) unprepare(ctx context.Context, uid types.UID) (struct{}, error) {
	return struct{}{}, d.options.Preparer.Unprepare(ctx, uid)
}

// HandleError is told by the helper of errors in the background. One that it cannot recover from ends Run, which then
// returns it.
func (d *Driver) HandleError(ctx context.Context, err error, msg string) {
	if errors.Is(err, kubeletplugin.ErrRecoverable) {
		klog.FromContext(ctx).Error(err, msg)
		return
	}
	select {
	case d.fatal <- fmt.Errorf("%s: %w", msg, err):
	default: // Run ends already because of another one
	}
}

// guarded turns a panic of do into an error. The helper lets a panic end the process, and the kubelet would repeat the
// call that caused it: anybody who may create a claim could keep the driver from running.
func guarded[In, Out any](ctx context.Context, in In, do func(context.Context, In) (Out, error)) (out Out, err error) {
	defer func() {
		if r := recover(); r != nil {
			logger := klog.FromContext(ctx)
			logger.Error(nil, "Panic while working on a claim", "panic", r, "stack", string(debug.Stack()))
			err = &internalError{
				fmt.Errorf("internal error: %v; the driver's log on this node says where, please report it", r)}
		}
	}()
	return do(ctx, in)
}

// inParallel calls do with 0 to n-1, several at once, and returns when all have returned. One alone, the usual case, is
// not worth waking another thread for.
func inParallel(n int, do func(i int)) {
	if n == 1 {
		do(0)
		return
	}
	var group errgroup.Group
	group.SetLimit(parallelClaims)
	for i := range n {
		group.Go(func() error {
			do(i)
			return nil
		})
	}
	_ = group.Wait() // none returns an error
}

func namesOf(devices []kubeletplugin.Device) []string {
	names := make([]string, len(devices))
	for i, d := range devices {
		names[i] = d.DeviceName
	}
	return names
}
