package why

import (
	"fmt"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"example.com/dragoman/pkg/view"
)

// counterSets is what is left in each counter of a pool, by the names of set and counter.
type counterSets map[string]map[string]resource.Quantity

// countersLeft takes what allocated devices consume from the shared counters of their pools, as the allocator does:
// a device that is shared consumes once.
func countersLeft(w *world) map[poolID]counterSets {
	left := make(map[poolID]counterSets)
	for i := range w.pools {
		for _, slice := range w.pools[i].Slices {
			for _, set := range slice.Spec.SharedCounters {
				id := poolID{w.pools[i].Driver, w.pools[i].Name}
				if left[id] == nil {
					left[id] = make(counterSets)
				}
				left[id][set.Name] = make(map[string]resource.Quantity)
				for name, c := range set.Counters {
					left[id][set.Name][name] = c.Value.DeepCopy()
				}
			}
		}
	}
	for _, d := range w.devices {
		if w.allocations.Held(d.id) {
			left[poolID{d.id.Driver, d.id.Pool}].take(d.spec)
		}
	}
	return left
}

func (s counterSets) take(d *resourceapi.Device) {
	for _, consumption := range d.ConsumesCounters {
		for name, c := range consumption.Counters {
			if q, known := s[consumption.CounterSet][name]; known {
				q.Sub(c.Value)
				s[consumption.CounterSet][name] = q
			}
		}
	}
}

// lackingCounter is a counter that a device needs more of than is left.
type lackingCounter struct {
	set, name  string
	need, left resource.Quantity
}

func (l lackingCounter) String() string {
	return fmt.Sprintf("%s of %s: needs %s, %s left", l.name, l.set, l.need.String(), l.left.String())
}

// lacking returns the first counter, by name, that is not enough for the device.
func (s counterSets) lacking(d *resourceapi.Device) (lackingCounter, bool) {
	for _, consumption := range d.ConsumesCounters {
		for _, name := range sortedKeys(consumption.Counters) {
			need := consumption.Counters[name].Value
			left, known := s[consumption.CounterSet][name]
			if known && left.Cmp(need) < 0 {
				if left.Sign() < 0 {
					left = resource.Quantity{}
				}
				return lackingCounter{set: consumption.CounterSet, name: name, need: need, left: left}, true
			}
		}
	}
	return lackingCounter{}, false
}

// consumers returns the devices of the pool that hold something of the counter set.
func (w *world) consumers(pool *view.Pool, set string) []*device {
	var found []*device
	for _, d := range w.devices {
		if d.pool != pool || !w.allocations.Held(d.id) {
			continue
		}
		for _, consumption := range d.spec.ConsumesCounters {
			if consumption.CounterSet == set {
				found = append(found, d)
				break
			}
		}
	}
	return found
}
