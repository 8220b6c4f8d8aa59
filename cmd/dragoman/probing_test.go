package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/klog/v2"

	configv1alpha1 "example.com/dragoman/api/config/v1alpha1"
	"example.com/dragoman/pkg/inventory"
	"example.com/dragoman/pkg/publish"
	"example.com/dragoman/pkg/telemetry"
)

// oracle answers what a test sets.
type oracle struct {
	mu       sync.Mutex
	features publish.Features
	err      error
	asked    int
	told     []string
}

func (o *oracle) ask(context.Context) (publish.Features, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked++
	return o.features, o.err
}

func (o *oracle) tell(f publish.Features) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told = append(o.told, fmt.Sprintf("%v %s", f.Taints, f.Counters))
}

func (o *oracle) set(f publish.Features, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.features, o.err = f, err
}

// expect compares what happened since the last time.
func (o *oracle) expect(t *testing.T, when string, asked int, told ...string) {
	t.Helper()
	synctest.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.asked != asked {
		t.Errorf("%s: asked %d times, want %d", when, o.asked, asked)
	}
	if diff := cmp.Diff(told, o.told); diff != "" {
		t.Errorf("%s: told (-want +got):\n%s", when, diff)
	}
	o.asked, o.told = 0, nil
}

func probe(t *testing.T, o *oracle) *probing {
	t.Helper()
	p := newProbing(o.ask, o.tell)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return p
}

func completeFeatures() publish.Features {
	return publish.Features{Taints: true, NoneTaints: true, Counters: publish.CountersApart, Shares: true,
		BindingConditions: true}
}

func failed(reason publish.Reason) publish.Event {
	return publish.Event{Type: publish.Failed, Problem: &publish.Problem{Reason: reason}}
}

func TestAClusterThatKeepsEverythingIsAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &oracle{features: completeFeatures()}
		p := probe(t, o)
		o.expect(t, "at the start", 1, "true apart")
		time.Sleep(24 * time.Hour)
		o.expect(t, "for a day", 0)
		p.noticed(failed(publish.Unreachable))
		p.noticed(publish.Event{Type: publish.Acknowledged})
		o.expect(t, "upon other trouble", 0)

		o.set(publish.Features{Counters: publish.CountersDropped}, nil)
		p.noticed(failed(publish.DroppedFields))
		o.expect(t, "when fields are dropped", 1, "false dropped")
		p.noticed(failed(publish.Invalid))
		o.expect(t, "when it was asked just now", 0)
		time.Sleep(probePause)
		o.expect(t, "a while later", 1, "false dropped")
	})
}

func TestAClusterThatKeepsLittleIsAskedEachHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &oracle{features: publish.Features{Counters: publish.CountersDropped}}
		probe(t, o)
		o.expect(t, "at the start", 1, "false dropped")
		time.Sleep(probeInterval)
		o.expect(t, "an hour later", 1, "false dropped")
		o.set(completeFeatures(), nil)
		time.Sleep(probeInterval)
		o.expect(t, "when the gates are on", 1, "true apart")
		time.Sleep(24 * time.Hour)
		o.expect(t, "then", 0)
	})
}

func TestWhileTheAPIServerIsAwayNothingIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &oracle{err: &publish.Problem{Reason: publish.Unreachable}}
		p := probe(t, o)
		time.Sleep(time.Hour)
		synctest.Wait()
		if o.asked < 115 || o.asked > 130 {
			t.Errorf("asked %d times in an hour", o.asked)
		}
		if err := p.Known(); err == nil || !strings.Contains(err.Error(), "has not said yet which fields") {
			t.Errorf("known: %v", err)
		}
		o.expect(t, "for an hour", o.asked)
		o.set(publish.Features{Taints: true, Counters: publish.CountersBeside}, nil)
		time.Sleep(lastProbeRetry)
		o.expect(t, "when it is back", 1, "true beside")
		if err := p.Known(); err != nil {
			t.Errorf("known: %v", err)
		}
	})
}

func TestAnAPIServerThatRefusesGetsTheLeast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &oracle{err: &publish.Problem{Reason: publish.Invalid, Err: errors.New("webhook does not support dry run")}}
		p := probe(t, o)
		o.expect(t, "at first", 1)
		time.Sleep(3 * firstProbeRetry)
		o.expect(t, "soon", 2, "false dropped")
		if err := p.Known(); err != nil {
			t.Errorf("known: %v", err)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if o.asked > 40 {
			t.Errorf("asked %d times in a day", o.asked)
		}
		o.expect(t, "for a day", o.asked)
		o.set(completeFeatures(), nil)
		time.Sleep(probeInterval)
		o.expect(t, "when it does not refuse any more", 1, "true apart")

		o.set(publish.Features{}, &publish.Problem{Reason: publish.Forbidden})
		p.noticed(failed(publish.Invalid))
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		o.expect(t, "what was known stays", o.asked)
	})
}

func TestTroubleWithPublishingReachesWhoAsks(t *testing.T) {
	p := &process{config: &driverConfig{}, metrics: telemetry.NewMetrics(telemetry.Build{}),
		inventory: inventory.New(inventory.Options{})}
	p.wirePublishing(klog.Logger{})
	p.publisher.options.Observe(failed(publish.DroppedFields))
	if len(p.probing.trouble) != 1 {
		t.Error("nobody asks again when fields are dropped")
	}
}

func TestWhatIsOffered(t *testing.T) {
	everything := completeFeatures()
	for name, test := range map[string]struct {
		features publish.Features
		policy   configv1alpha1.HealthPolicy
		want     inventory.Offer
	}{
		"everything": {everything, configv1alpha1.HealthPolicy{TaintEffect: "NoExecute", WithoutTaints: "LeaveOut"},
			inventory.Offer{Counters: inventory.CountersApart, Shares: true, BindingConditions: true, Taints: true,
				NoneTaints: true, TaintEffect: "NoExecute", LeaveOutUnhealthy: true}},
		"no taint wanted": {everything, configv1alpha1.HealthPolicy{TaintEffect: "None", WithoutTaints: "Keep"},
			inventory.Offer{Counters: inventory.CountersApart, Shares: true, BindingConditions: true, Taints: true,
				NoneTaints: true}},
		"Kubernetes 1.34": {publish.Features{Counters: publish.CountersBeside},
			configv1alpha1.HealthPolicy{TaintEffect: "NoSchedule", WithoutTaints: "Keep"},
			inventory.Offer{Counters: inventory.CountersBeside, TaintEffect: "NoSchedule"}},
		"nothing": {publish.Features{Counters: publish.CountersDropped},
			configv1alpha1.HealthPolicy{TaintEffect: "NoSchedule", WithoutTaints: "Keep"},
			inventory.Offer{TaintEffect: "NoSchedule"}},
	} {
		if got := offerOf(test.features, test.policy); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}
