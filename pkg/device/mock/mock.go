package mock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"sync"

	"github.com/fsnotify/fsnotify"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/utils/ptr"

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

	mu      sync.RWMutex
	last    []byte // what the profile contained when it was read last, nil if it could not be read
	good    []byte // the last content that was a valid profile, from which come
	devices []device.Device
	byName  map[string]int
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

// Devices returns the devices of the profile. A profile file is read again each time; as long as it is bad, that is an
// error, and the devices that it described before can still be prepared.
func (b *Backend) Devices(ctx context.Context) (device.Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return device.Snapshot{}, err
	}
	if b.source.file {
		if err := b.load(); err != nil {
			return device.Snapshot{}, err
		}
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	return device.Snapshot{Devices: b.devices}, nil // load replaces them and changes none
}

// Watch reports when the content of the profile file changed, also when it is part of a mounted ConfigMap, which
// Kubernetes replaces as a whole. A built-in profile never changes.
func (b *Backend) Watch(ctx context.Context, changed func()) error {
	if !b.source.file {
		<-ctx.Done()
		return nil
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch machine profile %s: %w", b.source.name, err)
	}
	defer func() { _ = watcher.Close() }()
	dir := filepath.Dir(b.source.name)
	if err := watcher.Add(dir); err != nil {
		return fmt.Errorf("watch machine profile %s: %w", b.source.name, err)
	}
	for {
		if b.differs() {
			changed()
		}
		select {
		case <-ctx.Done():
			return nil
		case event := <-watcher.Events:
			if event.Name == dir && event.Has(fsnotify.Remove) {
				return fmt.Errorf("watch machine profile %s: its directory was removed", b.source.name)
			}
		case err := <-watcher.Errors:
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("watch machine profile %s: %w", b.source.name, err)
			}
		}
	}
}

// differs tells whether the profile is not what it was when it was read last.
func (b *Backend) differs() bool {
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
	devices := profile.Devices(b.options.NodeName)
	before, beforeByName := b.devices, b.byName
	b.good, b.devices, b.byName = raw, make([]device.Device, 0, len(devices)), make(map[string]int, len(devices))
	for i, d := range devices {
		made := deviceOf(d)
		if was, ok := beforeByName[d.Name]; ok {
			shareWith(before[was], &made)
		} else if i > 0 {
			shareWith(b.devices[i-1], &made)
		}
		b.devices = append(b.devices, made)
		b.byName[d.Name] = i
	}
	return nil
}

// find returns the devices with the given names, or an error that says which of them the machine does not have.
func (b *Backend) find(names []string) ([]resourceapi.Device, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var found []resourceapi.Device
	for _, name := range names {
		i, ok := b.byName[name]
		if !ok {
			return nil, fmt.Errorf("device %q is not on node %s: %s", name, b.options.NodeName, b.inventory())
		}
		found = append(found, b.devices[i].Device)
	}
	return found, nil
}

func (b *Backend) inventory() string {
	const most = 16
	if len(b.devices) == 0 {
		return "it has no devices"
	}
	var names []string
	for _, d := range b.devices[:min(len(b.devices), most)] {
		names = append(names, d.Name)
	}
	text := "it has " + strings.Join(names, ", ")
	if more := len(b.devices) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// shareWith lets d share with another device what is the same, so that it is in memory once: most of a device in a
// group of thousands, and usually all of it if the other one is the same device before the profile changed.
func shareWith(other device.Device, d *device.Device) {
	if maps.EqualFunc(d.Attributes, other.Attributes, sameAttribute) {
		d.Attributes = other.Attributes
	} else {
		for name, attribute := range d.Attributes {
			if o, ok := other.Attributes[name]; ok && sameAttribute(attribute, o) {
				d.Attributes[name] = o
			}
		}
	}
	if maps.Equal(d.Capacity, other.Capacity) {
		d.Capacity = other.Capacity
	}
}

// sameAttribute compares the types that a profile knows.
func sameAttribute(a, b resourceapi.DeviceAttribute) bool {
	return ptr.Equal(a.IntValue, b.IntValue) && ptr.Equal(a.BoolValue, b.BoolValue) &&
		ptr.Equal(a.StringValue, b.StringValue) && ptr.Equal(a.VersionValue, b.VersionValue)
}

func deviceOf(d configv1alpha1.MachineDevice) device.Device {
	result := device.Device{
		Device: resourceapi.Device{Name: d.Name},
		Health: device.Health{Unhealthy: d.Health.Unhealthy, Reason: d.Health.Reason},
	}
	if len(d.Attributes) > 0 {
		result.Attributes = map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{}
	}
	for name, a := range d.Attributes {
		attribute := resourceapi.DeviceAttribute{StringValue: a.String, BoolValue: a.Bool, VersionValue: a.Version}
		if a.Int != nil {
			attribute.IntValue = new(a.Int.Int64())
		}
		result.Attributes[resourceapi.QualifiedName(name)] = attribute
	}
	if len(d.Capacity) > 0 {
		result.Capacity = map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{}
	}
	for name, c := range d.Capacity {
		value := c.Value.DeepCopy()
		result.Capacity[resourceapi.QualifiedName(name)] = resourceapi.DeviceCapacity{Value: value}
	}
	return result
}
