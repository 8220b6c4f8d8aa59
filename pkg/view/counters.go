package view

import (
	"maps"
	"slices"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Counters is what is left of a pool's counter sets (KEP-4815): those of devices that claims hold are gone.
type Counters struct {
	pool *Pool
	sets map[string]*counterSet
	// overdrawn are the devices that hold more of a counter than there is, by name. As long as there is one, the scheduler
	// gives nothing away that consumes from any counter set of the pool.
	overdrawn map[string]bool
}

type counterSet struct {
	published *resourceapi.CounterSet
	left      map[string]resource.Quantity
	// holders are the held devices that consume from the set, in the order of the slices.
	holders []*resourceapi.Device
}

// NewCounters adds up what the held devices of the pool consume. What a held device consumes that no slice has any more
// is not known; the scheduler takes it for nothing, and so does this.
func NewCounters(p *Pool, a *Allocations) *Counters {
	c := &Counters{pool: p, sets: make(map[string]*counterSet)}
	for _, s := range p.Slices {
		for i := range s.Spec.SharedCounters {
			published := &s.Spec.SharedCounters[i]
			set := &counterSet{published: published, left: make(map[string]resource.Quantity, len(published.Counters))}
			for name, counter := range published.Counters {
				set.left[name] = counter.Value.DeepCopy()
			}
			c.sets[published.Name] = set
		}
	}
	if len(c.sets) == 0 {
		return c
	}
	for _, s := range p.Slices {
		for i := range s.Spec.Devices {
			d := &s.Spec.Devices[i]
			if len(d.ConsumesCounters) > 0 && a.Held(DeviceID{p.Driver, p.Name, d.Name}) {
				c.consume(d)
			}
		}
	}
	c.overdrawn = make(map[string]bool)
	for _, set := range c.sets {
		for name, left := range set.left {
			if left.Sign() < 0 {
				set.addHolders(c.overdrawn, name)
			}
		}
	}
	return c
}

func (c *Counters) consume(d *resourceapi.Device) {
	for _, consumption := range d.ConsumesCounters {
		set := c.sets[consumption.CounterSet]
		if set == nil {
			continue
		}
		set.holders = append(set.holders, d)
		for name, counter := range consumption.Counters {
			if left, ok := set.left[name]; ok {
				left.Sub(counter.Value)
				set.left[name] = left
			}
		}
	}
}

// clone returns a copy in which more can be consumed.
func (c *Counters) clone() *Counters {
	copied := &Counters{pool: c.pool, overdrawn: c.overdrawn, sets: make(map[string]*counterSet, len(c.sets))}
	for name, set := range c.sets {
		left := make(map[string]resource.Quantity, len(set.left))
		for counter, q := range set.left {
			left[counter] = q.DeepCopy()
		}
		copied.sets[name] = &counterSet{published: set.published, left: left, holders: slices.Clone(set.holders)}
	}
	return copied
}

// Fits says that what the device consumes is there: enough of each counter, and no held device with which it may not
// share a counter set. The device itself must not be held.
func (c *Counters) Fits(d *resourceapi.Device) bool {
	if len(c.overdrawn) > 0 && len(d.ConsumesCounters) > 0 {
		return false
	}
	for _, wanted := range d.ConsumesCounters {
		set := c.sets[wanted.CounterSet]
		if set != nil && (len(set.short(wanted)) > 0 || !set.admits(wanted)) {
			return false
		}
	}
	return true
}

// Blockers returns the held devices that keep a device from fitting: those that have what it needs of a counter, and
// those with which it has no compatibility group in common; in the order of the slices. None of a device that does not
// fit: the counter set never had enough.
func (c *Counters) Blockers(d *resourceapi.Device) []string {
	blocking := make(map[string]bool)
	if len(d.ConsumesCounters) > 0 {
		maps.Copy(blocking, c.overdrawn)
	}
	for _, wanted := range d.ConsumesCounters {
		if set := c.sets[wanted.CounterSet]; set != nil {
			set.addBlockers(blocking, wanted)
		}
	}
	delete(blocking, d.Name)
	if len(blocking) == 0 {
		return nil
	}
	var names []string
	for _, s := range c.pool.Slices {
		for i := range s.Spec.Devices {
			if name := s.Spec.Devices[i].Name; blocking[name] {
				names = append(names, name)
			}
		}
	}
	return names
}

func (s *counterSet) addBlockers(blocking map[string]bool, wanted resourceapi.DeviceCounterConsumption) {
	for _, name := range s.short(wanted) {
		s.addHolders(blocking, name)
	}
	if s.admits(wanted) {
		return
	}
	apart := 0
	for _, holder := range s.holders {
		if !shareGroup(groupsOf(holder, wanted.CounterSet), wanted.CompatibilityGroups) {
			blocking[holder.Name] = true
			apart++
		}
	}
	if apart == 0 { // one by one they have a group in common, all together they have none
		for _, holder := range s.holders {
			blocking[holder.Name] = true
		}
	}
}

// addHolders adds the devices that hold some of a counter.
func (s *counterSet) addHolders(to map[string]bool, counter string) {
	for _, holder := range s.holders {
		if value, ok := consumption(holder, s.published.Name).Counters[counter]; ok && value.Value.Sign() > 0 {
			to[holder.Name] = true
		}
	}
}

// short returns the counters of which less is left than wanted.
func (s *counterSet) short(wanted resourceapi.DeviceCounterConsumption) []string {
	var names []string
	for name, counter := range wanted.Counters {
		if left, ok := s.left[name]; ok && left.Cmp(counter.Value) < 0 {
			names = append(names, name)
		}
	}
	return names
}

// admits says whether the compatibility groups (KEP-5963) let a device join those that hold parts of the set: there
// must be one that all have. Devices without groups go with others without. Where the holders contradict each other,
// this counts as the scheduler does: by the first.
func (s *counterSet) admits(wanted resourceapi.DeviceCounterConsumption) bool {
	if len(s.holders) == 0 {
		return true
	}
	common := groupsOf(s.holders[0], wanted.CounterSet)
	if len(common) == 0 || len(wanted.CompatibilityGroups) == 0 {
		return len(common) == len(wanted.CompatibilityGroups)
	}
	for _, holder := range s.holders {
		if groups := groupsOf(holder, wanted.CounterSet); len(groups) > 0 {
			common = intersection(common, groups)
		}
	}
	return len(intersection(common, wanted.CompatibilityGroups)) > 0
}

func groupsOf(d *resourceapi.Device, set string) []string {
	return consumption(d, set).CompatibilityGroups
}

func intersection(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(group string) bool { return !slices.Contains(b, group) })
}

func shareGroup(a, b []string) bool {
	return len(a) == 0 && len(b) == 0 || len(intersection(a, b)) > 0
}

// consumption returns what the device consumes of the set; the zero value if nothing.
func consumption(d *resourceapi.Device, set string) resourceapi.DeviceCounterConsumption {
	for _, c := range d.ConsumesCounters {
		if c.CounterSet == set {
			return c
		}
	}
	return resourceapi.DeviceCounterConsumption{}
}
