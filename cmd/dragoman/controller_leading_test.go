package main

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/utils/ptr"

	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/telemetry"
)

// leadingRig is a controller that may lead, with an API server that can be out of reach.
type leadingRig struct {
	*controller
	client *fake.Clientset
	out    atomic.Bool
	stop   context.CancelFunc
	ended  chan error
}

// attach is a fabric.
type attach func(ctx context.Context) error

func (a attach) Attach(ctx context.Context, _ device.Claim, _ resourceapi.DeviceRequestAllocationResult) error {
	return a(ctx)
}

// newLeadingRig has a controller lead, in a bubble of its own time, with one claim whose device is to be attached.
func newLeadingRig(t *testing.T, fabric attach) *leadingRig {
	t.Helper()
	claim := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "claim", UID: "1",
		ResourceVersion: "1"}}
	claim.Status.Allocation = &resourceapi.AllocationResult{Devices: resourceapi.DeviceAllocationResult{
		Results: []resourceapi.DeviceRequestAllocationResult{{Request: "gpu", Driver: "gpu.example.com", Pool: "node-a",
			Device: "gpu-0", BindingConditions: []string{"gpu.example.com/attached"}}}}}
	r := &leadingRig{client: fake.NewClientset(claim), ended: make(chan error, 1)}
	r.client.PrependReactor("*", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
		if r.out.Load() {
			return true, nil, errors.New("connection refused")
		}
		return false, nil, nil
	})
	r.controller = &controller{
		config: &driverConfig{DriverName: "gpu.example.com"}, own: &controllerSettings{name: "c", namespace: "n"},
		identity: "this", clients: clients{claims: r.client, slices: r.client, events: r.client}, fabric: fabric,
		metrics:  telemetry.NewControllerMetrics(telemetry.Build{}),
		watchdog: leaderelection.NewLeaderHealthzAdaptor(leaseDuration),
	}
	ctx, stop := context.WithCancel(t.Context())
	r.stop = stop
	go func() { r.ended <- r.lead(ctx) }()
	r.leads(t, true)
	return r
}

// leads checks whether devices are attached here, after a time in which that must have changed.
func (r *leadingRig) leads(t *testing.T, want bool) {
	t.Helper()
	time.Sleep(time.Minute)
	r.mu.Lock()
	defer r.mu.Unlock()
	if (r.leading != nil) != want {
		t.Fatalf("leads: %v, expected %v", !want, want)
	}
}

func (r *leadingRig) holder(t *testing.T) string {
	t.Helper()
	lease, err := r.client.CoordinationV1().Leases("n").Get(t.Context(), "c", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ptr.Deref(lease.Spec.HolderIdentity, "")
}

func (r *leadingRig) end(t *testing.T) {
	t.Helper()
	r.stop()
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
}

// Whoever restarts it does not bring the API server back, and takes the webhook away, too.
func TestTheControllerIsAliveWhileTheAPIServerIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLeadingRig(t, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		r.out.Store(true)
		for range 10 * 60 {
			time.Sleep(time.Second)
			if err := r.renews(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		r.leads(t, false)
		r.out.Store(false)
		r.leads(t, true)
		if err := r.renews(t.Context()); err != nil {
			t.Error(err)
		}
		r.end(t)
	})
}

func TestTheControllerIsNotAliveIfItAttachesWithoutALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		r := newLeadingRig(t, func(context.Context) error { <-open; return nil }) // whatever becomes of its context
		if err := r.renews(t.Context()); err != nil {
			t.Error(err)
		}
		r.out.Store(true)
		r.leads(t, true)
		if r.renews(t.Context()) == nil {
			t.Error("it is alive, though it attaches devices and has lost the lease long ago")
		}
		close(open)
		r.out.Store(false)
		r.end(t)
	})
}

func TestTheControllerGivesTheLeaseBackWhenNothingIsAttachedAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cancelled, open := make(chan struct{}), make(chan struct{})
		r := newLeadingRig(t, func(ctx context.Context) error {
			<-ctx.Done()
			close(cancelled)
			<-open
			return ctx.Err()
		})
		r.stop()
		<-cancelled
		time.Sleep(time.Second)
		if got := r.holder(t); got != "this" {
			t.Errorf("%q has the lease while a device is attached here", got)
		}
		close(open)
		r.end(t)
		if got := r.holder(t); got != "" {
			t.Errorf("%q has the lease, so another process has to wait until it runs out", got)
		}
	})
}

func TestTheControllerLeavesTheLeaseOfAnotherAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLeadingRig(t, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		lease, err := r.client.CoordinationV1().Leases("n").Get(t.Context(), "c", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds = new("other"), new(int32(600))
		r.out.Store(true) // the other one gets it meanwhile
		leases := coordinationv1.SchemeGroupVersion.WithResource("leases")
		if err := r.client.Tracker().Update(leases, lease, "n"); err != nil {
			t.Fatal(err)
		}
		r.leads(t, false)
		r.out.Store(false)
		r.leads(t, false)
		r.end(t)
		if got := r.holder(t); got != "other" {
			t.Errorf("%q has the lease", got)
		}
	})
}
