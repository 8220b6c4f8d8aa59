//go:build cgo

package nvml

import (
	"slices"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/device/nvml/mig"
)

// part is what is cut from a GPU, or can be.
type part struct {
	// partition is where it lies.
	partition mig.Partition
	// static is the instance that somebody else made; nil for one that comes and goes with a claim.
	static *mig.Instance
}

// migState is what does not change of how a GPU can be cut while a session lasts.
type migState struct {
	session *session
	layout  mig.Layout
}

// layoutOf returns how a GPU can be cut.
func (b *Backend) layoutOf(s *session, g *gpu, handle nvml.Device) (mig.Layout, error) {
	g.mu.Lock()
	known := g.mig
	g.mu.Unlock()
	if known.session == s {
		return known.layout, nil
	}
	layout, err := mig.Read(handle)
	if err != nil {
		return nil, err
	}
	for _, profile := range layout {
		if profile.Name == "" {
			b.warnOnce("a MIG profile is newer than this program and is not offered", "gpu", g.uuid, "profile", profile.Index)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mig = migState{session: s, layout: layout}
	return layout, nil
}

// planOf decides what a GPU is offered as. It runs at every look, inside s.enter/leave and inside a deadline; what it
// cannot find out it warns of. Then the GPU stays what it was, or is whole if nobody knows.
func (b *Backend) planOf(s *session, g *gpu, handle nvml.Device, f facts) plan {
	if !s.has("nvmlDeviceGetMigMode") {
		return wholePlan(f)
	}
	planned, err := b.cut(s, g, handle, f)
	if err == nil {
		return planned
	}
	b.warnOnce("a GPU does not tell how it is cut", "gpu", g.uuid, "err", err)
	if before := g.planned(s); len(before.offers) > 0 {
		return before
	}
	return wholePlan(f)
}

func wholePlan(f facts) plan { return plan{offers: []offer{{device: whole(f)}}} }

// planned returns the plan that a look of this session has made before.
func (g *gpu) planned(s *session) plan {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.session != s {
		return plan{}
	}
	return g.plan
}

// cut asks a GPU how it is cut and can be. A GPU that is whole and stays whole is asked for its mode only.
func (b *Backend) cut(s *session, g *gpu, handle nvml.Device, f facts) (plan, error) {
	mode, err := mig.ReadMode(handle)
	if err != nil {
		return plan{}, err
	}
	state := mig.State{Mode: mode, Toggles: mig.Toggles(f.architecture)}
	var layout mig.Layout
	var own, foreign []mig.Instance
	if mode.Capable && (mode.Current || b.options.DynamicMIG) {
		if layout, err = b.layoutOf(s, g, handle); err != nil {
			return plan{}, err
		}
	}
	if mode.Current {
		if own, foreign, err = b.instances(g, handle, layout); err != nil {
			return plan{}, err
		}
	}
	state.Partitions, state.Foreign = len(layout.Partitions()), len(foreign)
	return assemble(mig.Decide(b.options.DynamicMIG, state), g, f, layout, own, foreign), nil
}

// instances returns the instances that this driver made and those that somebody else did. The book is read before and
// after the look: what is made meanwhile is in the book after it, what is destroyed meanwhile was in it before.
func (b *Backend) instances(g *gpu, handle nvml.Device, layout mig.Layout) (own, foreign []mig.Instance, err error) {
	before, err := b.workshop.Book.Entries(g.uuid)
	if err != nil {
		return nil, nil, err
	}
	all, err := mig.Instances(handle, layout)
	if err != nil {
		return nil, nil, err
	}
	after, err := b.workshop.Book.Entries(g.uuid)
	if err != nil {
		return nil, nil, err
	}
	own, foreign = mig.Divide(all, slices.Concat(before, after))
	return own, foreign, nil
}

// assemble makes devices of what was decided.
func assemble(decided mig.Offer, g *gpu, f facts, layout mig.Layout, own, foreign []mig.Instance) plan {
	var p plan
	health := device.Health{Unhealthy: decided.Unhealthy != "", Reason: decided.Unhealthy}
	parent := func() mig.Parent { return mig.Parent{UUID: f.uuid, Device: g.name, Attributes: attributesOf(f)} }
	set, counted := layout.CounterSet(g.name)
	counted = counted && decided.Partitions
	if counted {
		p.counters = append(p.counters, set)
	}
	if decided.Whole {
		d := whole(f)
		d.Health = health
		if counted {
			d.ConsumesCounters = mig.ConsumeAll(set)
		}
		p.offers = append(p.offers, offer{device: d})
	}
	if decided.Partitions {
		for _, partition := range layout.Partitions() {
			o := offer{part: &part{partition: partition}}
			o.device = device.Device{Device: partition.Device(parent()), Health: health, PartOf: g.name}
			if made, ok := mig.Find(own, partition); ok {
				o.instance = &made.GI
			}
			p.offers = append(p.offers, o)
		}
	}
	for _, instance := range foreign {
		d, usable := instance.Device(parent())
		if !decided.Static || !usable {
			continue
		}
		p.offers = append(p.offers, offer{
			device:   device.Device{Device: d, Health: health, PartOf: g.name},
			part:     &part{partition: instance.Partition, static: &instance},
			instance: &instance.GI,
		})
	}
	return p
}
