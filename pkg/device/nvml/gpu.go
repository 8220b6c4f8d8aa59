//go:build cgo

package nvml

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/device"
)

// gpu is one GPU, from when it was seen first until it is taken out of the machine.
type gpu struct {
	uuid string // "GPU-…"
	name string // of the whole GPU as a device

	// turn has room for the one who changes the GPU: its MIG layout or how programs share it.
	turn chan struct{}

	mu      sync.Mutex
	session *session // in which the next four were found out
	handle  nvml.Device
	facts   facts
	done    map[string]bool // facts that need not be asked for again
	plan    plan
	absent  string // why the last look did not find it, a sentence; empty if it did
	trouble trouble
	mig     migState
}

// plan is what a GPU is offered as.
type plan struct {
	offers   []offer
	counters []resourceapi.CounterSet
}

// offer is one device that a GPU is offered as: the GPU itself or a part of it.
type offer struct {
	device device.Device
	// part is what it is made of; nil for the whole GPU.
	part *part
	// instance is the GPU instance in which the part is now; nil for a whole GPU and for what nobody has got.
	instance *uint32
}

func newGPU(uuid string) *gpu {
	return &gpu{uuid: uuid, name: gpuName(uuid), turn: make(chan struct{}, 1)}
}

// take waits until nobody else changes the GPU. Whoever got it says so when it is done.
func (g *gpu) take(ctx context.Context) (release func(), err error) {
	select {
	case g.turn <- struct{}{}:
		return func() { <-g.turn }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for others who change GPU %s: %w", g.uuid, ctx.Err())
	}
}

// known returns what was found out in a session so far.
func (g *gpu) known(s *session) (facts, map[string]bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.session != s {
		return facts{}, map[string]bool{}
	}
	return g.facts, maps.Clone(g.done)
}

// found notes what a look found.
func (g *gpu) found(s *session, handle nvml.Device, f facts, done map[string]bool, p plan) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.session != s {
		g.trouble.restarted()
	}
	g.session, g.handle, g.facts, g.done, g.plan, g.absent = s, handle, f, done, p, ""
}

// missing notes why a look did not find the GPU.
func (g *gpu) missing(why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.absent = why
}

// grip returns the handle and facts of the GPU and the session that they belong to.
func (g *gpu) grip() (*session, nvml.Device, facts) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.session, g.handle, g.facts
}

// offered returns the devices that the GPU is offered as, with their health.
func (g *gpu) offered() plan {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := plan{counters: g.plan.counters}
	for _, o := range g.plan.offers {
		o.device.Device = *o.device.DeepCopy()
		if health := g.healthOf(o.isHitBy); health.Unhealthy {
			o.device.Health = health
		}
		p.offers = append(p.offers, o)
	}
	return p
}

// offers returns the device with a name that the GPU is offered as. It is shared: nobody may change it.
func (g *gpu) offers(name string) (offer, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, o := range g.plan.offers {
		if o.device.Name == name {
			return o, true
		}
	}
	return offer{}, false
}

// isHitBy tells whether an error in a GPU instance, or in allInstances, is one of the device: of a whole GPU every one
// is, of a part those in its own instance, if it has one now.
func (o offer) isHitBy(instance uint32) bool {
	return o.part == nil || instance == allInstances || o.instance != nil && *o.instance == instance
}

// healthOf says whether the GPU works, or what is hit by errors in some instances of it. The lock is held.
func (g *gpu) healthOf(hit func(instance uint32) bool) device.Health {
	if g.absent != "" {
		return device.Health{Unhealthy: true, Reason: g.absent}
	}
	return g.trouble.health(hit)
}

// lookAt asks the GPU with an index everything that may have changed, and what is not known yet.
func (b *Backend) lookAt(s *session, index int) (*gpu, error) {
	if !s.enter() {
		return nil, errOver
	}
	defer s.leave()
	handle, code := s.lib.DeviceGetHandleByIndex(index)
	if code != nvml.SUCCESS {
		return nil, called("nvmlDeviceGetHandleByIndex", code)
	}
	uuid, code := handle.GetUUID()
	if code != nvml.SUCCESS {
		return nil, called("nvmlDeviceGetUUID", code)
	}
	g := b.gpuOf(uuid)
	b.place(index, uuid)
	p := b.probe(s, g, handle)
	f, done := b.learn(s, g, handle, index)
	planned := b.planOf(s, g, handle, f)
	g.found(s, handle, f, done, planned)
	g.probed(p, b.now())
	return g, nil
}

// forget forgets the errors of an instance that was destroyed.
func (g *gpu) forget(instance uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.trouble.forget(instance)
}

// probed notes whether the GPU works.
func (g *gpu) probed(p probe, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.trouble.probed(p, now)
}
