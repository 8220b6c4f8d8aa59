package view

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/version"
)

// Pool is what a driver offers under one name, as the scheduler sees it: the slices of the newest generation.
type Pool struct {
	Driver, Name string
	Generation   int64
	// Slices are those of the newest generation, by name: the order in which the scheduler tries their devices.
	Slices []*resourceapi.ResourceSlice
	// Stale are slices of older generations, by name. Their devices are not offered any more.
	Stale []*resourceapi.ResourceSlice
	// Node is the node that all slices name; empty if they are for several, or none.
	Node string
	// Complete says that all slices are there which the driver says there are. From a pool that is not complete the
	// scheduler takes nothing; that of Kubernetes 1.34 does, unless a request is for all devices.
	Complete bool
	// Problem is why the scheduler takes nothing from the pool; empty if it does.
	Problem string
}

// Usable says that the scheduler takes devices from the pool.
func (p *Pool) Usable() bool { return p.Problem == "" }

type poolID struct{ driver, name string }

// Pools returns all pools, by driver and name.
func (c *Cluster) Pools() []Pool {
	byID := make(map[poolID][]*resourceapi.ResourceSlice)
	for _, s := range c.Slices {
		id := poolID{s.Spec.Driver, s.Spec.Pool.Name}
		byID[id] = append(byID[id], s)
	}
	lenient := c.olderThan(1, 35)
	pools := make([]Pool, 0, len(byID))
	for id, all := range byID {
		pools = append(pools, newPool(id, all, lenient))
	}
	slices.SortFunc(pools, func(a, b Pool) int {
		return cmp.Or(strings.Compare(a.Driver, b.Driver), strings.Compare(a.Name, b.Name))
	})
	return pools
}

// olderThan says that the cluster's version is known, and older.
func (c *Cluster) olderThan(major, minor uint) bool {
	v, err := version.ParseGeneric(c.Version)
	return err == nil && v.LessThan(version.MajorMinor(major, minor))
}

func newPool(id poolID, all []*resourceapi.ResourceSlice, lenient bool) Pool {
	p := Pool{Driver: id.driver, Name: id.name}
	for i, s := range all {
		if i == 0 || s.Spec.Pool.Generation > p.Generation {
			p.Generation = s.Spec.Pool.Generation
		}
	}
	slices.SortFunc(all, func(a, b *resourceapi.ResourceSlice) int { return strings.Compare(a.Name, b.Name) })
	for _, s := range all {
		if s.Spec.Pool.Generation == p.Generation {
			p.Slices = append(p.Slices, s)
		} else {
			p.Stale = append(p.Stale, s)
		}
	}
	p.Node = commonNode(p.Slices)
	p.Complete = true
	for _, s := range p.Slices {
		if want := s.Spec.Pool.ResourceSliceCount; want != int64(len(p.Slices)) {
			p.Complete = false
			if !lenient {
				p.Problem = fmt.Sprintf("the pool has %d of %d slices of generation %d", len(p.Slices), want, p.Generation)
				return p
			}
		}
	}
	p.Problem = invalid(&p)
	return p
}

func commonNode(all []*resourceapi.ResourceSlice) string {
	node := ""
	for i, s := range all {
		if s.Spec.NodeName == nil || i > 0 && *s.Spec.NodeName != node {
			return ""
		}
		node = *s.Spec.NodeName
	}
	return node
}

// invalid says why a pool with all its slices is refused by the scheduler: names that occur twice, and counters that
// are not there (structured.GatherPools).
func invalid(p *Pool) string {
	sets := make(map[string]resourceapi.CounterSet)
	names := make(map[string]bool)
	for _, s := range p.Slices {
		for _, set := range s.Spec.SharedCounters {
			if _, twice := sets[set.Name]; twice {
				return fmt.Sprintf("the pool has two counter sets %q", set.Name)
			}
			sets[set.Name] = set
		}
		for i := range s.Spec.Devices {
			name := s.Spec.Devices[i].Name
			if names[name] {
				return fmt.Sprintf("the pool has two devices %q", name)
			}
			names[name] = true
		}
	}
	for _, s := range p.Slices {
		for i := range s.Spec.Devices {
			if problem := missingCounter(&s.Spec.Devices[i], sets); problem != "" {
				return problem
			}
		}
	}
	return ""
}

func missingCounter(d *resourceapi.Device, sets map[string]resourceapi.CounterSet) string {
	for _, consumption := range d.ConsumesCounters {
		set, ok := sets[consumption.CounterSet]
		if !ok {
			return fmt.Sprintf("device %q consumes from counter set %q, which the pool does not have", d.Name,
				consumption.CounterSet)
		}
		for _, name := range sortedKeys(consumption.Counters) {
			if _, ok := set.Counters[name]; !ok {
				return fmt.Sprintf("device %q consumes counter %q, which counter set %q does not have", d.Name, name, set.Name)
			}
		}
	}
	return ""
}
