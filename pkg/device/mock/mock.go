package mock

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	configv1alpha1 "example.com/dragoman/api/config/v1alpha1"
	"example.com/dragoman/pkg/device"
)

var (
	_ device.Backend = (*Backend)(nil)
	_ device.Watcher = (*Backend)(nil)
	_ device.Sweeper = (*Backend)(nil)
)

// Options say which machine is made up and where.
type Options struct {
	// Profile is the name of a built-in profile ([BuiltIn]) or the path of a MachineProfile file.
	Profile string
	// NodeName chooses the variation of the profile and makes the UUIDs of the devices.
	NodeName string
	// DriverName is the name of the DRA driver.
	DriverName string
	// Dir is a directory for nobody but this backend, with the same path in this process and for the container
	// runtime. It is made when it is needed, and again if somebody removes it.
	Dir string
}

// Backend is a made-up machine.
type Backend struct {
	options Options
	source  source

	mu       sync.RWMutex
	last     []byte // what the profile contained when it was read last, nil if it could not be read
	good     []byte // the last content that was a valid profile, from which comes
	profiled profileMachine

	told told
}

// New returns the machine that the profile describes. A bad profile is an error that lists everything wrong with it.
func New(options Options) (*Backend, error) {
	from, err := find(options.Profile)
	if err != nil {
		return nil, err
	}
	if options.Dir, err = filepath.Abs(options.Dir); err != nil {
		return nil, fmt.Errorf("directory of the mock backend: %w", err)
	}
	b := &Backend{options: options, source: from}
	if err := b.load(); err != nil {
		return nil, err
	}
	return b, nil
}

// Devices returns the devices of the profile, and what they were told to be ([Backend.Tell]). Both are read again each
// time; as long as one of them is bad, that is an error, and the devices that there were before can still be prepared.
func (b *Backend) Devices(ctx context.Context) (device.Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return device.Snapshot{}, err
	}
	if err := b.obey(ctx, callLook); err != nil {
		return device.Snapshot{}, err
	}
	if b.source.file {
		if err := b.load(); err != nil {
			return device.Snapshot{}, err
		}
	}
	return b.look()
}

// ofProfile is the machine that the profile describes.
func (b *Backend) ofProfile() device.Snapshot {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.profiled.Snapshot // load replaces it and changes nothing
}

// differs tells whether there may be other devices than when they were looked at last.
func (b *Backend) differs() bool { return b.source.file && b.profileDiffers() || b.toldMore() }

func (b *Backend) profileDiffers() bool {
	raw, err := b.source.read()
	if err != nil {
		raw = nil
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	return !bytes.Equal(raw, b.last)
}

// load reads the profile. A bad one is an error and changes nothing.
func (b *Backend) load() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	raw, err := b.source.read()
	if err != nil {
		b.last = nil
		return fmt.Errorf("read machine profile: %w", err)
	}
	b.last = raw
	if b.good != nil && bytes.Equal(raw, b.good) {
		return nil
	}
	profile, errs := configv1alpha1.DecodeMachineProfile(raw)
	if len(errs) > 0 {
		return fmt.Errorf("machine profile %s: %w", b.source.name, errs.ToAggregate())
	}
	b.good, b.profiled = raw, b.profiled.replaced(profile.Devices(b.options.NodeName))
	return nil
}

// find returns the devices with the given names, or an error that says which of them the machine does not have.
func (b *Backend) find(names []string) ([]device.Device, error) {
	now, byName := b.there()
	var found []device.Device
	for _, name := range names {
		i, ok := byName[name]
		if !ok {
			return nil, fmt.Errorf("device %q is not on node %s: %s", name, b.options.NodeName, inventoryOf(now))
		}
		found = append(found, now.Devices[i])
	}
	return found, nil
}

// inventoryOf names the first devices.
func inventoryOf(s device.Snapshot) string {
	const most = 16
	if len(s.Devices) == 0 {
		return "it has no devices"
	}
	var names []string
	for _, d := range s.Devices[:min(len(s.Devices), most)] {
		names = append(names, d.Name)
	}
	text := "it has " + strings.Join(names, ", ")
	if more := len(s.Devices) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
