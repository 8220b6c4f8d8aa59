package view

import (
	"cmp"
	"slices"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
)

// profileOf returns the kind of part that a device is: the attribute that the slice names for it (its
// partitionTypeAttribute, KEP-4815 from Kubernetes 1.37), or an attribute "profile", which drivers of such parts have.
// Empty if there is none.
func profileOf(slice *resourceapi.ResourceSlice, d *resourceapi.Device) string {
	if named := slice.Spec.PartitionTypeAttribute; named != nil {
		if a, ok := d.Attributes[resourceapi.QualifiedName(*named)]; ok {
			return AttributeText(a)
		}
		// The slice may leave out the driver's own domain.
		if domain, base, _ := strings.Cut(string(*named), "/"); domain == slice.Spec.Driver {
			if a, ok := d.Attributes[resourceapi.QualifiedName(base)]; ok {
				return AttributeText(a)
			}
		}
	}
	if a, ok := Named(d.Attributes, "profile"); ok && len(d.ConsumesCounters) > 0 {
		return AttributeText(a)
	}
	return ""
}

// member is a device of a counter set.
type member struct {
	device  *resourceapi.Device
	profile string
	// open says that a claim could have it, but for its counters.
	open bool
}

// gives counts the parts of each kind that the counters can still give, if no others are taken: first come, first
// served in the order of the slices, as the scheduler takes them. The largest kinds come first.
func (c *Counters) gives(members []member) []Parts {
	var kinds [][]member
	at := make(map[string]int)
	for _, m := range members {
		key := m.profile
		if key == "" {
			key = "\x00" + m.device.Name // its own kind, called like the device
		}
		if _, known := at[key]; !known {
			at[key] = len(kinds)
			kinds = append(kinds, nil)
		}
		kinds[at[key]] = append(kinds[at[key]], m)
	}
	slices.SortStableFunc(kinds, func(a, b []member) int { return cmp.Compare(c.size(b[0].device), c.size(a[0].device)) })
	var parts []Parts
	for _, kind := range kinds {
		if n := c.most(kind); n > 0 {
			parts = append(parts, Parts{Profile: cmp.Or(kind[0].profile, kind[0].device.Name), Count: n})
		}
	}
	return parts
}

// size says how much of its counter sets a device takes: what it takes of each counter, added up.
func (c *Counters) size(d *resourceapi.Device) float64 {
	size := 0.0
	for _, consumption := range d.ConsumesCounters {
		set := c.sets[consumption.CounterSet]
		if set == nil {
			continue
		}
		for _, name := range sortedKeys(consumption.Counters) { // in order: additions of floats are not associative
			value, total := consumption.Counters[name].Value, set.published.Counters[name].Value
			if total.Sign() > 0 {
				size += value.AsApproximateFloat64() / total.AsApproximateFloat64()
			}
		}
	}
	return size
}

// most is how many of the devices fit together.
func (c *Counters) most(devices []member) int {
	rest, n := c, 0
	for _, m := range devices {
		if !m.open || !rest.Fits(m.device) {
			continue
		}
		if n == 0 {
			rest = c.clone()
		}
		rest.consume(m.device)
		n++
	}
	return n
}

// whole says that the device consumes all that the set has.
func (s *counterSet) whole(d *resourceapi.Device) bool {
	consumed := consumption(d, s.published.Name).Counters
	for name, counter := range s.published.Counters {
		if value, ok := consumed[name]; !ok || value.Value.Cmp(counter.Value) < 0 {
			return false
		}
	}
	return len(s.published.Counters) > 0
}

// counters returns the counters of the set, by name, numbers in names by their value.
func (s *counterSet) counters() []Counter {
	all := make([]Counter, 0, len(s.published.Counters))
	for _, name := range sortedKeys(s.published.Counters) {
		all = append(all, Counter{Name: name, Total: s.published.Counters[name].Value, Left: s.left[name]})
	}
	return all
}
