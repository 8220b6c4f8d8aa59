package cluster

import (
	"context"
	"fmt"
	"slices"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// held is a device that a claim has.
type held struct{ pool, device string }

// NotEnough says that the driver has not the devices that were asked for.
type NotEnough struct{ Want, Have int }

func (e NotEnough) Error() string {
	return fmt.Sprintf("needs %d free devices that a claim may have for itself; the driver publishes %d", e.Want, e.Have)
}

// Free returns so many devices that no claim of ours has, and that may be had at once: without taints, for one claim
// alone, with the counters for all of them. The error is NotEnough if there are not so many.
func (c *Cluster) Free(ctx context.Context, n int) ([]Device, error) {
	all, err := c.Devices(ctx)
	if err != nil {
		return nil, err
	}
	left, err := c.countersLeft(ctx, all)
	if err != nil {
		return nil, err
	}
	var free []Device
	for _, device := range all {
		if len(free) == n {
			break
		}
		if device.usable() && !device.Shared() && !c.has(device) && left.take(device) {
			free = append(free, device)
		}
	}
	if len(free) < n {
		return nil, NotEnough{n, len(free)}
	}
	return free, nil
}

// Shareable returns the first device that several claims may have at once, with room for two.
func (c *Cluster) Shareable(ctx context.Context) (Device, bool, error) {
	all, err := c.Devices(ctx)
	if err != nil {
		return Device{}, false, err
	}
	i := slices.IndexFunc(all, func(d Device) bool {
		return d.usable() && d.Shared() && len(d.ConsumesCounters) == 0 && twoFit(d)
	})
	if i < 0 {
		return Device{}, false, nil
	}
	return all[i], true, nil
}

// Parts returns two free devices that consume counters of the same set, and of which there is enough for both.
func (c *Cluster) Parts(ctx context.Context) (parts [2]Device, found bool, err error) {
	all, err := c.Devices(ctx)
	if err != nil {
		return parts, false, err
	}
	for i, one := range all {
		if len(one.ConsumesCounters) == 0 || !one.usable() || one.Shared() || c.has(one) {
			continue
		}
		left, err := c.countersLeft(ctx, all)
		if err != nil {
			return parts, false, err
		}
		if !left.take(one) {
			continue
		}
		for _, other := range all[i+1:] {
			if other.usable() && !other.Shared() && !c.has(other) && siblings(one, other) && left.take(other) {
				return [2]Device{one, other}, true, nil
			}
		}
	}
	return parts, false, nil
}

// siblings says whether two devices consume counters of the same set.
func siblings(one, other Device) bool {
	return one.Pool == other.Pool && slices.ContainsFunc(one.ConsumesCounters, func(a consumption) bool {
		return slices.ContainsFunc(other.ConsumesCounters, func(b consumption) bool { return a.CounterSet == b.CounterSet })
	})
}

type consumption = resourceapi.DeviceCounterConsumption

func (c *Cluster) has(d Device) bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for _, devices := range c.held {
		if slices.Contains(devices, held{d.Pool, d.Name}) {
			return true
		}
	}
	return false
}

// counters is what is left of each counter, by pool, set and name.
type counters map[[3]string]resource.Quantity

func (c *Cluster) countersLeft(ctx context.Context, all []Device) (counters, error) {
	published, err := c.Slices(ctx)
	if err != nil {
		return nil, err
	}
	left := counters{}
	for _, slice := range published {
		for _, set := range slice.Spec.SharedCounters {
			for name, counter := range set.Counters {
				left[[3]string{slice.Spec.Pool.Name, set.Name, name}] = counter.Value
			}
		}
	}
	for _, device := range all {
		if c.has(device) {
			left.take(device)
		}
	}
	return left, nil
}

// take takes a device's counters, all or none.
func (left counters) take(d Device) bool {
	for _, needed := range amounts(d) {
		if has, known := left[needed.counter]; !known || has.Cmp(needed.value) < 0 {
			return false
		}
	}
	for _, needed := range amounts(d) {
		has := left[needed.counter]
		has.Sub(needed.value)
		left[needed.counter] = has
	}
	return true
}

type amount struct {
	counter [3]string
	value   resource.Quantity
}

func amounts(d Device) []amount {
	var all []amount
	for _, consumption := range d.ConsumesCounters {
		for name, counter := range consumption.Counters {
			all = append(all, amount{[3]string{d.Pool, consumption.CounterSet, name}, counter.Value})
		}
	}
	return all
}

// consumed is what one of two shares takes of a device: the default of its request policy, or half where there is none.
func consumed(d Device) map[resourceapi.QualifiedName]resource.Quantity {
	all := map[resourceapi.QualifiedName]resource.Quantity{}
	for name, capacity := range d.Capacity {
		if policy := capacity.RequestPolicy; policy != nil && policy.Default != nil {
			all[name] = *policy.Default
			continue
		}
		all[name] = *resource.NewQuantity(capacity.Value.Value()/2, capacity.Value.Format)
	}
	return all
}

// twoFit says whether a device has room for two shares.
func twoFit(d Device) bool {
	for name, share := range consumed(d) {
		both := share.DeepCopy()
		both.Add(share)
		if has := d.Capacity[name].Value; both.Cmp(has) > 0 {
			return false
		}
	}
	return true
}
