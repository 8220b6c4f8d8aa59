package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/klog/v2"

	configv1alpha1 "example.com/dragoman/api/config/v1alpha1"
	"example.com/dragoman/pkg/inventory"
	"example.com/dragoman/pkg/publish"
)

const (
	// probeTimeout bounds one attempt at asking.
	probeTimeout = 10 * time.Second
	// firstProbeRetry is the pause after the first attempt that failed; it doubles.
	firstProbeRetry = time.Second
	// lastProbeRetry bounds that pause while the API server does not answer.
	lastProbeRetry = 30 * time.Second
	// refusals is how many refusals in a row are taken for the last word. A few come while an API server or the
	// driver's rights are being set up.
	refusals = 3
	// probeInterval is how often a cluster that keeps not everything is asked again, so that enabling a feature gate is
	// enough. A refusal counts as such a cluster.
	probeInterval = time.Hour
	// probePause is the least time between two questions for which trouble with publishing is the reason.
	probePause = 5 * time.Minute
)

// probing finds out which optional fields of ResourceSlices the API server keeps, and notices when that changes.
type probing struct {
	ask  func(context.Context) (publish.Features, error)
	tell func(publish.Features)

	trouble chan struct{} // holds a token when publishing had trouble that a change may be the reason of

	mu      sync.Mutex
	waiting error // why nothing was told yet; nil once something was
}

func newProbing(ask func(context.Context) (publish.Features, error), tell func(publish.Features)) *probing {
	return &probing{ask: ask, tell: tell, trouble: make(chan struct{}, 1), waiting: errors.New("not asked yet")}
}

// Run asks at once, and again while something is missing or when publishing has trouble, until ctx ends. Then it
// returns nil.
func (p *probing) Run(ctx context.Context) error {
	logger := klog.FromContext(ctx)
	var known *publish.Features
	refused, retry := 0, firstProbeRetry
	for {
		attempt, cancel := context.WithTimeout(ctx, probeTimeout)
		now, err := p.ask(attempt)
		cancel()
		if ctx.Err() != nil {
			return nil //nolint:nilerr // that is how it was asked to end
		}
		if err == nil {
			if known == nil || *known != now {
				logFeatures(logger, now)
			}
			known, refused, retry = &now, 0, firstProbeRetry
			p.told(now)
			p.await(ctx, now)
			continue
		}
		if isRefusal(err) {
			refused++
		}
		logger.Error(err, "Ask which optional fields of ResourceSlices the API server keeps; will ask again",
			"after", retry)
		p.note(err)
		if known == nil && refused == refusals {
			logger.Info("Warning: publishing no optional fields of ResourceSlices until the API server can be asked")
			p.told(publish.Features{Counters: publish.CountersDropped})
		}
		sleep(ctx, retry)
		longest := lastProbeRetry
		if refused >= refusals {
			longest = probeInterval
		}
		retry = min(2*retry, longest)
	}
}

// isRefusal says whether an error is the API server's answer, so that asking again soon helps little.
func isRefusal(err error) bool {
	var problem *publish.Problem
	if !errors.As(err, &problem) {
		return false
	}
	return problem.Reason == publish.Invalid || problem.Reason == publish.Forbidden || problem.Reason == publish.Other
}

func logFeatures(logger klog.Logger, f publish.Features) {
	if gates := f.Missing(); len(gates) > 0 {
		// What becomes of devices for want of one is a warning of its own.
		logger.V(2).Info("The API server drops some optional fields of ResourceSlices; feature gates would change that",
			"gates", gates, "counters", f.Counters)
		return
	}
	logger.V(2).Info("The API server keeps all optional fields of ResourceSlices", "counters", f.Counters)
}

// await returns when it is time to ask again after an answer.
func (p *probing) await(ctx context.Context, f publish.Features) {
	sleep(ctx, probePause)
	var again <-chan time.Time
	if !f.Complete() {
		timer := time.NewTimer(probeInterval - probePause)
		defer timer.Stop()
		again = timer.C
	}
	select {
	case <-ctx.Done():
	case <-again:
	case <-p.trouble:
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// noticed is told what happens while publishing. Slices of which fields are dropped, or that are refused, may be good
// ones for an API server that was another one when it was asked.
func (p *probing) noticed(e publish.Event) {
	if e.Type != publish.Failed ||
		e.Problem.Reason != publish.DroppedFields && e.Problem.Reason != publish.Invalid {
		return
	}
	select {
	case p.trouble <- struct{}{}:
	default: // There is one already.
	}
}

func (p *probing) told(f publish.Features) {
	p.note(nil)
	p.tell(f)
}

func (p *probing) note(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting != nil {
		p.waiting = err
	}
}

// Known returns nil once it is known what the API server keeps, else why it is not.
func (p *probing) Known() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting != nil {
		return fmt.Errorf("the API server has not said yet which fields of ResourceSlices it keeps: %w", p.waiting)
	}
	return nil
}

// offerOf says what may be published on a cluster that keeps f.
func offerOf(f publish.Features, policy configv1alpha1.HealthPolicy) inventory.Offer {
	return inventory.Offer{
		Counters: map[publish.Counters]inventory.CounterLayout{
			publish.CountersBeside: inventory.CountersBeside, publish.CountersApart: inventory.CountersApart,
		}[f.Counters],
		Shares: f.Shares, BindingConditions: f.BindingConditions,
		Taints: f.Taints, NoneTaints: f.NoneTaints, TaintEffect: taintEffect(policy),
		LeaveOutUnhealthy: policy.WithoutTaints == configv1alpha1.LeaveOutDevice,
	}
}

// taintEffect is empty for no taint.
func taintEffect(policy configv1alpha1.HealthPolicy) resourceapi.DeviceTaintEffect {
	if policy.TaintEffect == configv1alpha1.TaintNone {
		return ""
	}
	return resourceapi.DeviceTaintEffect(policy.TaintEffect)
}

// probeEffect is the effect to ask the API server about; all versions know NoSchedule.
func probeEffect(policy configv1alpha1.HealthPolicy) resourceapi.DeviceTaintEffect {
	if effect := taintEffect(policy); effect != "" {
		return effect
	}
	return resourceapi.DeviceTaintEffectNoSchedule
}
