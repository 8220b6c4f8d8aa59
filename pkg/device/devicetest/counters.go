package devicetest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/resource"

	"example.com/dragoman/pkg/device"
)

// counters are what is left of the shared counters of a snapshot, by set and name.
type counters map[string]map[string]resource.Quantity

func countersOf(snapshot device.Snapshot) counters {
	all := counters{}
	for _, set := range snapshot.SharedCounters {
		all[set.Name] = map[string]resource.Quantity{}
		for name, counter := range set.Counters {
			all[set.Name][name] = counter.Value.DeepCopy()
		}
	}
	return all
}

// take gives a device out as the scheduler does (KEP-4815): false, and nothing is taken, if not enough is left.
func (c counters) take(d device.Device) bool {
	for _, consumes := range d.ConsumesCounters {
		for name, counter := range consumes.Counters {
			if left, ok := c[consumes.CounterSet][name]; !ok || left.Cmp(counter.Value) < 0 {
				return false
			}
		}
	}
	for _, consumes := range d.ConsumesCounters {
		for name, counter := range consumes.Counters {
			left := c[consumes.CounterSet][name]
			left.Sub(counter.Value)
			c[consumes.CounterSet][name] = left
		}
	}
	return true
}

// fitting returns the names of devices that can be given out at the same time: all of them if no counters are shared.
// Of the devices that have parts, every other one is given out in parts.
func fitting(snapshot device.Snapshot) []string {
	var wholes []string
	for _, d := range snapshot.Devices {
		if d.PartOf != "" && !slices.Contains(wholes, d.PartOf) {
			wholes = append(wholes, d.PartOf)
		}
	}
	cut := func(d device.Device) bool { return slices.Index(wholes, d.PartOf)%2 == 0 } // not for -1
	var names []string
	left := countersOf(snapshot)
	for _, first := range []bool{true, false} {
		for _, d := range snapshot.Devices {
			if cut(d) == first && left.take(d) {
				names = append(names, d.Name)
			}
		}
	}
	return names
}

// partsExcludeTheWhole: nobody may get a device while somebody has a part of it.
func partsExcludeTheWhole(ctx context.Context, s subject) error {
	snapshot, err := s.Devices(ctx)
	if err != nil {
		return fmt.Errorf("devices: %w", err)
	}
	var problems []error
	for _, part := range snapshot.Devices {
		left := countersOf(snapshot)
		if !left.take(part) {
			problems = append(problems, fmt.Errorf("device %s consumes more than there is", part.Name))
			continue
		}
		for _, whole := range snapshot.Devices {
			if part.PartOf == whole.Name && left.take(whole) {
				problems = append(problems, fmt.Errorf("devices %s and %s can be had together, though one is part of the other",
					part.Name, whole.Name))
			}
		}
	}
	return errors.Join(problems...)
}
