package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/retry"
	"k8s.io/klog/v2"

	"example.com/dragoman/pkg/binding"
)

// How long a leader may be silent, tries to be heard, and pauses between two attempts: those of Kubernetes' own
// controllers, so a pod waits at most that much longer if the leader dies.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
	// giveBackTimeout bounds giving the lease back, which no pod depends on.
	giveBackTimeout = 5 * time.Second
)

// lead attaches devices whenever this process has the lease, until ctx ends.
func (c *controller) lead(ctx context.Context) error {
	term := make(chan struct{}, 1) // full while a term lasts: one begins when the other has ended
	failed := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	logger := klog.FromContext(ctx)
	lock := c.lease()
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
		// It would be given back while the term lasts still.
		ReleaseOnCancel: false, WatchDog: c.watchdog, Name: c.own.name,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				term <- struct{}{}
				defer func() { <-term }()
				if ctx.Err() != nil {
					return // it was over before the last one had ended
				}
				logger.Info("Leading: attaching devices before pods are bound")
				if err := c.bind(ctx); err != nil {
					failed <- err
					cancel()
				}
			},
			OnStoppedLeading: func() { logger.V(2).Info("Not leading") },
			OnNewLeader: func(leader string) {
				if leader != c.identity {
					logger.V(2).Info("Another process leads", "leader", leader)
				}
			},
		},
	})
	if err != nil {
		return fmt.Errorf("elect a leader: %w", err)
	}
	c.watchdog.SetLeaderElection(elector)
	for ctx.Err() == nil {
		elector.Run(ctx)
	}
	term <- struct{}{}
	c.giveBack(context.WithoutCancel(ctx), lock)
	select {
	case err := <-failed:
		return fmt.Errorf("attach devices: %w", err)
	default:
		return nil
	}
}

func (c *controller) lease() *resourcelock.LeaseLock {
	return &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: c.own.namespace, Name: c.own.name},
		Client:     c.clients.slices.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: c.identity},
	}
}

// giveBack lets another process lead at once, if this one has the lease. It is for when nothing is done here any more.
func (c *controller) giveBack(ctx context.Context, lock resourcelock.Interface) {
	ctx, cancel := context.WithTimeout(ctx, giveBackTimeout)
	defer cancel()
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		record, _, err := lock.Get(ctx)
		if err != nil || record.HolderIdentity != c.identity {
			return err
		}
		now := metav1.Now()
		return lock.Update(ctx, resourcelock.LeaderElectionRecord{ // as client-go does
			LeaderTransitions: record.LeaderTransitions, LeaseDurationSeconds: 1, RenewTime: now, AcquireTime: now,
		})
	})
	if err != nil {
		klog.FromContext(ctx).Info("The lease is not given back: it runs out by itself", "after", leaseDuration, "err", err)
	}
}

// renews says whether a process that attaches devices has lost the lease long ago. One that does not attach is as it
// should be: without an API server, nobody has the lease, and starting anew would not help.
func (c *controller) renews(ctx context.Context) error {
	c.mu.Lock()
	leading := c.leading != nil
	c.mu.Unlock()
	if !leading {
		return nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "/", nil) // it is not looked at
	if err != nil {
		return err
	}
	return c.watchdog.Check(request)
}

// bind attaches devices until ctx ends.
func (c *controller) bind(ctx context.Context) error {
	this := binding.New(binding.Options{
		DriverName: c.config.DriverName, Fabric: c.fabric, Client: c.clients.claims, Events: c.clients.events,
		Observe: binding.Observer{
			Attached: c.metrics.Attached, InProgress: c.metrics.Attaching, Wrote: c.metrics.ConditionsWritten,
		},
	})
	c.setLeading(this)
	defer c.setLeading(nil)
	return this.Run(ctx)
}

func (c *controller) setLeading(this *binding.Controller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leading = this
	c.metrics.Leading(this != nil)
}
