package mock

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"

	configv1alpha1 "example.com/dragoman/api/config/v1alpha1"
	"example.com/dragoman/pkg/device"
)

// maxKnown is of how many nodes a fabric knows the devices, and of how many attachments that they failed; then it
// begins anew. It is more than a cluster has at a time.
const maxKnown = 10000

// Fabric attaches the made-up devices that have binding conditions: it waits as long as the profile says, and fails as
// often.
type Fabric struct {
	driverName string
	source     source

	mu       sync.Mutex
	good     []byte // the last content that was a valid profile, which is
	profile  *configv1alpha1.MachineProfile
	bindings map[string]map[string]*configv1alpha1.Binding // by node and device; nodes are added when they are asked for
	failed   map[attachment]int
}

// attachment is what may be tried more than once.
type attachment struct {
	claim        types.UID
	pool, device string
}

// NewFabric returns the fabric of the machines that the profile describes: the name of a built-in one ([BuiltIn]) or
// the path of a file. Pools have the names of nodes.
func NewFabric(profile, driverName string) (device.Fabric, error) {
	from, err := find(profile)
	if err != nil {
		return nil, err
	}
	f := &Fabric{driverName: driverName, source: from, failed: map[attachment]int{}}
	if err := f.load(); err != nil {
		return nil, err
	}
	return f, nil
}

// load reads the profile. A bad one is an error and changes nothing. It is called with the lock, except when f is new.
func (f *Fabric) load() error {
	raw, err := f.source.read()
	if err != nil {
		return fmt.Errorf("read machine profile: %w", err)
	}
	if f.good != nil && bytes.Equal(raw, f.good) {
		return nil
	}
	profile, errs := configv1alpha1.DecodeMachineProfile(raw)
	if len(errs) > 0 {
		return fmt.Errorf("machine profile %s: %w", f.source.name, errs.ToAggregate())
	}
	f.good, f.profile, f.bindings = raw, profile, map[string]map[string]*configv1alpha1.Binding{}
	return nil
}

// Attach waits as long as the profile says that attaching takes. Whether it fails depends on the claim, the device and
// how often that has failed before, and on nothing else. As long as the profile is bad, what it said before holds.
func (f *Fabric) Attach(ctx context.Context, c device.Claim, r resourceapi.DeviceRequestAllocationResult) error {
	binding, err := f.binding(r)
	if err != nil || binding == nil {
		return err
	}
	timer := time.NewTimer(binding.Delay.Duration)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	}
	if attempt := (attachment{c.UID, r.Pool, r.Device}); f.fails(attempt, binding.FailurePercent) {
		return fmt.Errorf("the fabric could not attach device %s to node %s: its machine profile says that %d of 100 "+
			"attempts fail", r.Device, r.Pool, binding.FailurePercent)
	}
	return nil
}

// binding returns how a device is attached, nil if there is nothing to attach: it is always there, or it is one that
// the machine was told to have ([Backend.Tell]).
func (f *Fabric) binding(r resourceapi.DeviceRequestAllocationResult) (*configv1alpha1.Binding, error) {
	if r.Driver != f.driverName {
		return nil, fmt.Errorf("device %s is one of driver %s, the fabric has those of %s", r.Device, r.Driver, f.driverName)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.load() // the agents of the nodes tell of it
	known, ok := f.bindings[r.Pool]
	if !ok {
		known = map[string]*configv1alpha1.Binding{}
		for _, d := range f.profile.Devices(r.Pool) {
			if d.Binding != nil {
				known[d.Name] = d.Binding
			}
		}
		if len(f.bindings) >= maxKnown {
			clear(f.bindings) // nodes come and go
		}
		f.bindings[r.Pool] = known
	}
	return known[r.Device], nil
}

// fails says whether the next attempt fails, and counts that.
func (f *Fabric) fails(a attachment, percent int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	attempt := f.failed[a]
	if !unlucky(a, attempt, percent) {
		delete(f.failed, a)
		return false
	}
	if len(f.failed) >= maxKnown {
		clear(f.failed)
	}
	f.failed[a] = attempt + 1
	return true
}

// unlucky says whether an attempt is among those of 100 that fail.
func unlucky(a attachment, attempt, percent int) bool {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%d", a.claim, a.pool, a.device, attempt))
	return binary.BigEndian.Uint64(sum[:8])%100 < uint64(percent)
}
