//go:build cgo

package nvml

import (
	"context"
	"slices"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"example.com/dragoman/pkg/device/nvml/xid"
)

// wantedEvents are the events that say something about the health of a GPU. A correctable memory error does not.
const wantedEvents = nvml.EventTypeXidCriticalError | nvml.EventTypeDoubleBitEccError |
	nvml.EventTypeGpuUnavailableError | nvml.EventTypeGpuRecoveryAction

// monitor takes the events of a session in until it is over or ctx ends, then closes ended. It kicks whoever looks at
// the hardware when there is a reason to, and never waits for it.
func (b *Backend) monitor(ctx context.Context, s *session, ended chan<- struct{}) {
	defer close(ended)
	if !s.enter() {
		return
	}
	defer s.leave()
	set, code := s.lib.EventSetCreate()
	if code != nvml.SUCCESS {
		b.warnOnce("errors of GPUs are noticed only when a GPU stops answering",
			"err", called("nvmlEventSetCreate", code))
		return
	}
	defer func() { _ = set.Free() }()
	for registered := map[*gpu]bool{}; ctx.Err() == nil && !s.isOver(); {
		b.register(s, set, registered)
		event, code := set.Wait(uint32(waitForEvents.Milliseconds()))
		switch code {
		case nvml.SUCCESS:
			b.take(event)
			b.kick()
		case nvml.ERROR_TIMEOUT:
		default:
			// GPU_IS_LOST does not say which one is; looking at all of them does.
			b.warnOnce("waiting for errors of GPUs was interrupted", "err", called("nvmlEventSetWait", code))
			b.kick()
			pause(ctx, b.pollInterval)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// register asks for the events of GPUs that were not asked for yet.
func (b *Backend) register(s *session, set nvml.EventSet, registered map[*gpu]bool) {
	for _, g := range b.known() {
		of, handle, _ := g.grip()
		if of != s || registered[g] {
			continue
		}
		registered[g] = true
		supported, code := handle.GetSupportedEventTypes()
		if code == nvml.SUCCESS {
			if supported&wantedEvents == 0 {
				continue
			}
			code = handle.RegisterEvents(supported&wantedEvents, set)
		}
		if err := called("nvmlDeviceRegisterEvents", code); err != nil {
			b.warnOnce("errors of a GPU are noticed only when it stops answering", "gpu", g.uuid, "err", err)
		}
	}
}

// take notes what an event says against a GPU.
func (b *Backend) take(event nvml.EventData) {
	policy := b.judge(event)
	if policy.Severity == xid.Harmless || event.Device == nil {
		return
	}
	uuid, code := event.Device.GetUUID()
	if code != nvml.SUCCESS {
		b.warnOnce("a GPU reported an error and does not tell which one it is", "err", called("nvmlDeviceGetUUID", code),
			"what", policy.Sentence)
		return
	}
	b.mu.Lock()
	g := b.gpus[uuid]
	b.mu.Unlock()
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	m := mark{instance: event.GpuInstanceId, severity: policy.Severity, sentence: policy.Sentence, last: b.now()}
	if !g.plan.hasInstances() {
		m.instance = allInstances // a GPU that is not cut has none, whatever the event says
	}
	g.trouble.add(m)
}

// hasInstances tells whether the GPU is cut.
func (p plan) hasInstances() bool {
	return slices.ContainsFunc(p.offers, func(o offer) bool { return o.instance != nil })
}

// judge says how bad an event is.
func (b *Backend) judge(event nvml.EventData) xid.Policy {
	switch event.EventType {
	case nvml.EventTypeXidCriticalError:
		policy := xid.Decide(event.EventData)
		if slices.Contains(b.options.IgnoredXIDs, event.EventData) {
			policy.Severity = xid.Harmless
		}
		return policy
	case nvml.EventTypeDoubleBitEccError:
		return xid.Policy{
			Severity: xid.Fatal, Sentence: "a memory error that cannot be corrected (double-bit ECC); reset the GPU",
		}
	}
	return xid.Policy{} // what a GPU is unavailable for, and what it asks for, a look finds out
}
