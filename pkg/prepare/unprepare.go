package prepare

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/checkpoint"
	"example.com/dragoman/pkg/claim"
	"example.com/dragoman/pkg/device"
)

// Unprepare takes back all that was done for a claim, and nothing that was done for others. After nil nothing of it is
// left. A claim that is not known is not an error. After an error the record stays, and the next Unprepare goes on.
func (p *Preparer) Unprepare(ctx context.Context, uid types.UID) error {
	c := p.begin(checkpoint.Claim{UID: uid}, claim.Plan{})
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return c.run(ctx, append([]step{{"read record", "", c.readWhatIsLeft}}, c.takingBack()...)...)
}

// readWhatIsLeft finds what is known of the claim. If there is no record, but a marker or a CDI file of the claim, then
// somebody removed the record, and the claim is taken back as if it could not be read.
func (c *call) readWhatIsLeft(ctx context.Context) error {
	if err := c.read(ctx); err != nil || c.record != nil {
		return err
	}
	spec, _ := c.o.CDI.Has(c.claim.UID) // without which the markers still tell
	if err := c.readMarkers(); err != nil {
		return err
	}
	if len(c.record.Devices) == 0 && !spec {
		c.record, c.lost = nil, false
	}
	return nil
}

// takingBack is Prepare backwards. Each step takes what is missing for done.
func (c *call) takingBack() []step {
	return []step{
		{"record taking back", "", c.recordTakingBack},
		{"remove CDI file", "", c.removeCDIFile},
		{"take devices back", "", c.takeDevicesBack},
		{"release devices", "", c.releaseDevices},
		{"forget claim", "", c.forgetClaim},
	}
}

// recordTakingBack may fail, since the record says what is to be undone in any state: the disk may be full.
func (c *call) recordTakingBack(context.Context) error {
	if c.record == nil || c.lost || c.record.State == checkpoint.Unpreparing {
		return nil
	}
	c.record.State = checkpoint.Unpreparing
	_ = c.o.Records.Put(c.record)
	return nil
}

func (c *call) removeCDIFile(context.Context) error { return c.o.CDI.Remove(c.claim.UID) }

// takeDevicesBack asks the backend for each device, last one first, also if it cannot take another one back.
func (c *call) takeDevicesBack(ctx context.Context) error {
	if c.record == nil {
		return nil
	}
	var problems []error
	for _, d := range slices.Backward(c.record.Devices) {
		others, err := c.belongsToAnother(d)
		if others {
			continue
		}
		if err == nil {
			err = c.guard("unprepare", func() error { return c.o.Backend.Unprepare(ctx, c.grantOf(d)) })
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("take back %s: %w", d.DeviceKey, err))
		}
	}
	return errors.Join(append(problems, c.sweepWhatWasLost(ctx))...)
}

// belongsToAnother says whether another claim holds the device: then this one was recorded for it and never got it. If
// nobody does, this claim holds it from now on, so that nobody else gets it while the backend takes it back. The disk
// may be too full for that, which keeps nobody from taking it back; not knowing whose it is does.
func (c *call) belongsToAnother(d checkpoint.Device) (bool, error) {
	if d.AdminAccess {
		return false, nil
	}
	err := c.o.Records.Hold(d, c.claim)
	var held *checkpoint.HeldError
	switch {
	case errors.As(err, &held):
		return held.By.UID != "", nil
	case errors.Is(err, checkpoint.ErrOwnerUnknown):
		return false, err
	}
	return false, nil
}

func (c *call) grantOf(d checkpoint.Device) device.Grant {
	result := resourceapi.DeviceRequestAllocationResult{
		Request: d.Request, Driver: c.o.DriverName, Pool: d.Pool, Device: d.Device,
	}
	if d.ShareID != "" {
		result.ShareID = new(types.UID(d.ShareID))
		result.ConsumedCapacity = capacityOf(d.Consumed)
	}
	if d.AdminAccess {
		result.AdminAccess = new(true)
	}
	return device.Grant{Claim: device.Claim(c.claim), Result: result, Undo: d.Undo}
}

// sweepWhatWasLost has a backend that can do so look for what the unreadable record would have said.
func (c *call) sweepWhatWasLost(ctx context.Context) error {
	if !c.lost {
		return nil
	}
	return c.sweep(ctx, func(uid types.UID) bool { return uid != c.claim.UID }) // what others have is theirs to lose
}

func (c *call) sweep(ctx context.Context, known func(types.UID) bool) error {
	sweeper, ok := c.o.Backend.(device.Sweeper)
	if !ok {
		return nil
	}
	return c.guard("sweep", func() error { return sweeper.Sweep(ctx, known) })
}

// mayBeKnown needs no lock: an effect of a claim is never there without a record.
func (p *Preparer) mayBeKnown(uid types.UID) bool {
	known, err := p.o.Records.Has(uid)
	return known || err != nil
}

func (c *call) releaseDevices(context.Context) error {
	if c.lost {
		return c.o.Records.ReleaseAll(c.claim.UID)
	}
	return c.o.Records.Release(c.claim.UID, keysOf(c.owned())...)
}

func (c *call) forgetClaim(context.Context) error { return c.o.Records.Delete(c.claim.UID) }

// PanicError means that the backend panicked. It is the error of the claim that it was working for.
type PanicError struct {
	// During is the method of the backend.
	During string
	Claim  device.Claim
	Value  any
	Stack  []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("backend panicked in %s for claim %s: %v; this is a bug of the driver, please report it",
		e.During, checkpoint.Claim(e.Claim), e.Value)
}

// guard makes a panic of the backend the error of this claim.
func (c *call) guard(during string, do func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{During: during, Claim: device.Claim(c.claim), Value: v, Stack: debug.Stack()}
		}
	}()
	return do()
}
