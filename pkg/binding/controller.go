package binding

import (
	"context"
	"fmt"
	"sync"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applyv1 "k8s.io/client-go/applyconfigurations/resource/v1"
	resourceinformers "k8s.io/client-go/informers/resource/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"example.com/dragoman/pkg/device"
)

const (
	// workers write conditions side by side; attaching takes place beside them.
	workers = 8
	// defaultParallel is how many devices are attached at once.
	defaultParallel = 256
	// firstPause and longestPause are between two attempts at what did not work.
	firstPause, longestPause = 50 * time.Millisecond, 30 * time.Second
	// writeTimeout bounds one write.
	writeTimeout = 10 * time.Second
)

// Options says whose devices are attached, and by whom.
type Options struct {
	// DriverName selects the results of claims.
	DriverName string
	// Fabric attaches devices.
	Fabric device.Fabric
	// Client reads claims and writes their status.
	Client kubernetes.Interface
	// Events makes events; nil means none.
	Events kubernetes.Interface
	// Parallel bounds how many devices are attached at once; 0 means 256.
	Parallel int
	// Observe is told what happens.
	Observe Observer
}

// Observer is told what happens; a method that is nil is not called. They are called concurrently.
type Observer struct {
	// Attached is called when attaching a device came to an end, and how long that took.
	Attached func(took time.Duration, err error)
	// InProgress is called with a change of the number of devices that are being attached.
	InProgress func(delta int)
	// Wrote is called after each attempt to write conditions.
	Wrote func(err error)
}

func (o *Observer) setDefaults() {
	if o.Attached == nil {
		o.Attached = func(time.Duration, error) {}
	}
	if o.InProgress == nil {
		o.InProgress = func(int) {}
	}
	if o.Wrote == nil {
		o.Wrote = func(error) {}
	}
}

// name is that of a claim.
type name struct{ namespace, name string }

func nameOf(c device.Claim) name { return name{c.Namespace, c.Name} }

// Controller attaches devices for the claims of one driver. Use [New].
type Controller struct {
	options  Options
	informer cache.SharedIndexInformer
	queue    workqueue.TypedRateLimitingInterface[name]
	slots    chan struct{}  // one for each device that is being attached
	working  sync.WaitGroup // goroutines that attach

	mu   sync.Mutex
	runs context.Context //nolint:containedctx // that of Run, for what is begun by events
	all  map[name]*attaching
}

// New returns a controller that does nothing before [Controller.Run].
func New(options Options) *Controller {
	options.Observe.setDefaults()
	if options.Parallel <= 0 {
		options.Parallel = defaultParallel
	}
	return &Controller{
		options:  options,
		informer: resourceinformers.NewResourceClaimInformer(options.Client, metav1.NamespaceAll, 0, nil),
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[name](firstPause, longestPause)),
		slots: make(chan struct{}, options.Parallel),
		all:   make(map[name]*attaching),
	}
}

// Run attaches devices until ctx ends, then returns when nothing is in progress any more. It can be called once. An
// error means that it could not begin.
func (c *Controller) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.runs = ctx
	logger := klog.FromContext(ctx)
	if err := c.informer.SetTransform(trimmed(c.options.DriverName)); err != nil {
		return fmt.Errorf("prepare the view of claims: %w", err)
	}
	err := c.informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *cache.Reflector, err error) {
		if apierrors.IsForbidden(err) {
			logger.Error(err, "Not allowed to see claims: allow to list and watch resourceclaims in resource.k8s.io")
			return
		}
		cache.DefaultWatchErrorHandler(ctx, r, err)
	})
	if err != nil {
		return fmt.Errorf("prepare the view of claims: %w", err)
	}
	if _, err := c.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.see,
		UpdateFunc: func(_, now any) { c.see(now) },
		DeleteFunc: c.gone,
	}); err != nil {
		return fmt.Errorf("prepare the view of claims: %w", err)
	}
	var running sync.WaitGroup
	running.Go(func() { c.informer.RunWithContext(ctx) })
	for range workers {
		running.Go(func() { c.work(ctx) })
	}
	<-ctx.Done()
	c.queue.ShutDown()
	running.Wait()
	c.working.Wait()
	return nil
}

// Seen says whether all claims of the cluster have been looked at since Run was called.
func (c *Controller) Seen() bool { return c.informer.HasSynced() }

// see is called with each state of each claim, in the order in which they follow each other. An allocation that is gone
// ends here, so that one that is like it is not taken for it.
func (c *Controller) see(object any) {
	claim, ok := object.(*resourceapi.ResourceClaim)
	if !ok {
		return
	}
	n := name{claim.Namespace, claim.Name}
	allocation := allocationOf(claim, c.options.DriverName)
	c.mu.Lock()
	if a := c.all[n]; a != nil && a.allocation != allocation {
		c.drop(n)
	}
	c.mu.Unlock()
	if allocation != "" {
		c.queue.Add(n)
	}
}

func (c *Controller) gone(object any) {
	if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = tombstone.Obj
	}
	claim, ok := object.(*resourceapi.ResourceClaim)
	if !ok {
		return
	}
	n := name{claim.Namespace, claim.Name}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(n)
}

// drop ends what there is for a claim, and forgets how often that was tried. c.mu is held.
func (c *Controller) drop(n name) {
	if a := c.all[n]; a != nil {
		a.cancel()
		delete(c.all, n)
	}
	c.queue.Forget(n)
}

// of returns the work for an allocation of a claim, which is new if there is none; nil if the allocation is gone. The
// claim is looked at while c.mu is held: the event that ends the work, which comes after what is seen here has changed,
// cannot have come before the work was there to be ended.
func (c *Controller) of(n name, allocation string) *attaching {
	c.mu.Lock()
	defer c.mu.Unlock()
	if claim := c.cached(n); claim == nil || allocationOf(claim, c.options.DriverName) != allocation {
		return nil
	}
	if a := c.all[n]; a != nil && a.allocation == allocation {
		return a
	}
	c.drop(n)
	a := &attaching{allocation: allocation, started: make(map[deviceKey]bool), outcomes: make(map[deviceKey]outcome)}
	a.ctx, a.cancel = context.WithCancel(c.runs)
	c.all[n] = a
	return a
}

func (c *Controller) work(ctx context.Context) {
	for {
		n, quit := c.queue.Get()
		if quit {
			return
		}
		c.workOn(ctx, n)
		c.queue.Done(n)
	}
}

func (c *Controller) workOn(ctx context.Context, n name) {
	claim := c.cached(n)
	if claim == nil {
		c.queue.Forget(n) // whoever has the name next is tried for the first time
	}
	if claim == nil || ctx.Err() != nil {
		return
	}
	err := c.reconcile(ctx, claim)
	switch {
	case err == nil:
		c.queue.Forget(n)
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		// The claim has changed, which the informer is about to tell.
		klog.FromContext(ctx).V(4).Info("Claim has changed, looking again", "claim", klog.KRef(n.namespace, n.name))
		c.queue.AddRateLimited(n)
	case ctx.Err() == nil:
		if logger := klog.FromContext(ctx); c.queue.NumRequeues(n) == 0 {
			logger.Error(err, "Conditions of a claim cannot be set, trying again", "claim", klog.KRef(n.namespace, n.name))
		} else {
			logger.V(4).Info("Conditions of a claim cannot be set", "claim", klog.KRef(n.namespace, n.name), "err", err)
		}
		c.queue.AddRateLimited(n)
	}
}

func (c *Controller) cached(n name) *resourceapi.ResourceClaim {
	object, exists, err := c.informer.GetStore().GetByKey(cache.NewObjectName(n.namespace, n.name).String())
	if claim, ok := object.(*resourceapi.ResourceClaim); ok && exists && err == nil {
		return claim
	}
	return nil
}

// reconcile begins what was not begun for the claim, and writes what came of the rest.
func (c *Controller) reconcile(ctx context.Context, claim *resourceapi.ResourceClaim) error {
	allocation := allocationOf(claim, c.options.DriverName)
	if allocation == "" {
		return nil
	}
	results, open := conditional(claim, c.options.DriverName), false
	for _, r := range results {
		conditions := conditionsOf(claim, r)
		if failed(conditions, r) {
			return nil // the scheduler is about to take the allocation back
		}
		open = open || !attached(conditions, r)
	}
	if !open {
		return nil
	}
	a := c.of(name{claim.Namespace, claim.Name}, allocation)
	if a == nil {
		return nil
	}
	if patch := settle(claim, c.options.DriverName, a.news(claim.ResourceVersion)); patch != nil {
		if err := c.write(ctx, claim, patch); err != nil {
			return err
		}
		a.wrote(claim.ResourceVersion)
	}
	for _, r := range results {
		if !attached(conditionsOf(claim, r), r) {
			a.begin(c, device.Claim{Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID}, r)
		}
	}
	return nil
}

func (c *Controller) write(
	ctx context.Context, claim *resourceapi.ResourceClaim, patch *applyv1.ResourceClaimApplyConfiguration,
) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	kept, err := c.options.Client.ResourceV1().ResourceClaims(claim.Namespace).ApplyStatus(ctx, patch,
		metav1.ApplyOptions{FieldManager: fieldManager(c.options.DriverName), Force: true})
	if err == nil && len(kept.Status.Devices) == 0 {
		err = fmt.Errorf("the API server drops status.devices of claims; turn its feature gate " +
			"DRAResourceClaimDeviceStatus on")
	}
	c.options.Observe.Wrote(err)
	if err != nil {
		return fmt.Errorf("set conditions: %w", err)
	}
	return nil
}

// fieldManager is in a field of at most 128 bytes; a driver's name has at most 63.
func fieldManager(driverName string) string { return driverName + "-binding" }
