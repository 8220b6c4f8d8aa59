package mock

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/dynamic-resource-allocation/deviceattribute"

	"example.com/dragoman/pkg/device"
)

// indexAttribute is the attribute of built-in profiles that counts devices.
const indexAttribute = "index"

// uuidInText finds what tells one device of a kind from another.
var uuidInText = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// over returns what there is instead of the machine of the profile, in the same order, with devices that were added at
// the end. The given snapshot is not changed.
//
// What is told of a device holds for its parts, too: who cuts them from it gets what is broken or away.
func (c controls) over(profile device.Snapshot, nodeName string) device.Snapshot {
	if len(c.Devices) == 0 {
		return profile
	}
	result := device.Snapshot{SharedCounters: profile.SharedCounters}
	there := make(map[string]bool, len(profile.Devices))
	var removed []device.Device
	for _, d := range profile.Devices {
		there[d.Name] = true
		whole, own := c.Devices[d.PartOf], c.Devices[d.Name]
		if whole.Removed || own.Removed {
			removed = append(removed, d)
			continue
		}
		whole.change(&d)
		own.change(&d)
		result.Devices = append(result.Devices, d)
	}
	result.SharedCounters = stillConsumed(result, removed)
	for _, name := range slices.Sorted(maps.Keys(c.Devices)) {
		if told := c.Devices[name]; told.Like != "" && !there[name] {
			d := added(profile, name, told.Like, nodeName)
			told.change(&d)
			result.Devices = append(result.Devices, d)
		}
	}
	return result
}

// change makes another device what this one was told to be.
func (d deviceControl) change(other *device.Device) {
	if d.Health != nil {
		other.Health = device.Health{Unhealthy: d.Health.Unhealthy, Reason: d.Health.Reason}
	}
	if d.Taints == nil {
		return
	}
	other.Taints = nil // those of the profile are shared with other snapshots
	for _, t := range *d.Taints {
		other.Taints = append(other.Taints, resourceapi.DeviceTaint{Key: t.Key, Value: t.Value, Effect: t.Effect})
	}
}

// stillConsumed returns the counter sets without those of which only removed devices consumed: with the last device of
// a set the hardware that it counts is away.
func stillConsumed(s device.Snapshot, removed []device.Device) []resourceapi.CounterSet {
	consumed, before := setsOf(s.Devices), setsOf(removed)
	return slices.DeleteFunc(slices.Clone(s.SharedCounters), func(set resourceapi.CounterSet) bool {
		return before[set.Name] && !consumed[set.Name]
	})
}

func setsOf(devices []device.Device) map[string]bool {
	sets := map[string]bool{}
	for _, d := range devices {
		for _, consumption := range d.ConsumesCounters {
			sets[consumption.CounterSet] = true
		}
	}
	return sets
}

// added returns a whole device of the given name that is like another one of the profile, or like its first one if
// there is none of that name any more: healthy, at no place on the PCI bus, with a UUID of its own, and with the number
// that its name ends in as its index. It is where it is, and not attached by a fabric, which does not know it.
func added(profile device.Snapshot, name, like, nodeName string) device.Device {
	d := device.Device{Device: resourceapi.Device{Name: name}}
	model, ok := modelOf(profile, like)
	if !ok {
		return d
	}
	d.Capacity, d.AllowMultipleAllocations = model.Capacity, model.AllowMultipleAllocations
	d.Attributes = maps.Clone(model.Attributes)
	delete(d.Attributes, deviceattribute.StandardDeviceAttributePCIBusID)
	for key, attribute := range d.Attributes {
		if s := attribute.StringValue; s != nil && uuidInText.MatchString(*s) {
			attribute.StringValue = new(uuidInText.ReplaceAllString(*s, uuidOf(nodeName, name)))
			d.Attributes[key] = attribute
		}
	}
	if index, ok := numberAtEnd(name); ok && d.Attributes[indexAttribute].IntValue != nil {
		d.Attributes[indexAttribute] = resourceapi.DeviceAttribute{IntValue: &index}
	} else {
		delete(d.Attributes, indexAttribute)
	}
	return d
}

// modelOf returns the device of that name, or else the first whole one.
func modelOf(s device.Snapshot, name string) (device.Device, bool) {
	for _, fits := range []func(device.Device) bool{
		func(d device.Device) bool { return d.Name == name },
		func(d device.Device) bool { return d.PartOf == "" },
	} {
		if at := slices.IndexFunc(s.Devices, fits); at >= 0 {
			return s.Devices[at], true
		}
	}
	return device.Device{}, false
}

// numberAtEnd is the number that a name ends in.
func numberAtEnd(name string) (int64, bool) {
	n, err := strconv.ParseInt(name[len(strings.TrimRight(name, "0123456789")):], 10, 64)
	return n, err == nil
}

// uuidOf is a version 8 UUID, which is the same after every restart and different on every node.
func uuidOf(nodeName, name string) string {
	sum := sha256.Sum256([]byte("dragoman.example.com/added device\x00" + nodeName + "\x00" + name))
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// tainted returns the taints of a device in the words of commands.
func tainted(d device.Device) []taintControl {
	taints := []taintControl{}
	for _, t := range d.Taints {
		taints = append(taints, taintControl{Key: t.Key, Value: t.Value, Effect: t.Effect})
	}
	slices.SortFunc(taints, func(a, b taintControl) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Effect, b.Effect))
	})
	return taints
}
