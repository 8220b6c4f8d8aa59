package driver

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/klog/v2"

	"example.com/dragoman/pkg/claim"
	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/inventory"
	"example.com/dragoman/pkg/prepare"
	"example.com/dragoman/pkg/status"
)

// drainTimeout is how long calls in progress may take once the driver is to stop. It ends well before a pod's usual
// grace period of 30 s.
const drainTimeout = 10 * time.Second

// answerTime is how long an answer may take from the end of a call to the kubelet. The helper has no way to stop that
// waits for it.
const answerTime = 100 * time.Millisecond

// Preparer carries out what a claim asks for, takes it back, and says what is set up.
type Preparer interface {
	Prepare(ctx context.Context, plan claim.Plan) ([]prepare.Device, error)
	Unprepare(ctx context.Context, uid types.UID) error
	// Recall returns what is remembered of one claim, nil if nothing is.
	Recall(uid types.UID) (*prepare.Remembered, error)
}

// Records are what is remembered of claims. What cannot be put right now is an error, and can be another time.
type Records interface {
	// Remembered lists the claims of which something may be set up on this node.
	Remembered() ([]prepare.Remembered, error)
	// Restore removes what belongs to no claim, and makes again what prepared claims miss on the node. It is called before
	// the kubelet is served, and returns [prepare.ErrUnfinished] rather than keep it waiting: the rest is for Repair.
	Restore(ctx context.Context) error
	// Repair only makes again what prepared claims miss.
	Repair(ctx context.Context) error
	// RepairFiles is Repair for CDI files that were removed. It is cheap while none was.
	RepairFiles(ctx context.Context) error
}

// Publisher is told which slices there are to be.
type Publisher interface {
	Publish(slices []resourceapi.ResourceSliceSpec)
	Resync()
}

// Inventory knows the node's devices.
type Inventory interface {
	// Run tells of them until ctx ends.
	Run(ctx context.Context, changed func(inventory.Update)) error
	// Current returns when they were seen last, and an error if that does not say how they are now.
	Current() (seen time.Time, err error)
}

// Options are what a [Driver] needs. All fields are required unless they say otherwise.
type Options struct {
	// DriverName is the name in ResourceSlices and claims, NodeName that of the Node and of the one pool.
	DriverName, NodeName string
	// KubeletDir is the kubelet's root directory, as the kubelet sees it too.
	KubeletDir string
	// Directories are others that have to be the node's: if one of them was removed there while a container has it
	// mounted, Run ends with an error, since only a new container can see the one that is made instead. Optional.
	Directories []string
	// PodUID turns on rolling updates: instances with different pod UIDs serve side by side. Without it there can be
	// one instance. Optional.
	PodUID types.UID

	// Client reads claims. Its rate limit delays pods, so it should have none. Its connections should not be those of
	// other clients, since they are given up when the API server does not answer.
	Client kubernetes.Interface
	// Events makes events of claims. Its rate limit delays nobody, so it should be low. Optional.
	Events kubernetes.Interface
	// Status writes the status of claims, and reads them for that. Its rate limit delays nobody, so it should be modest.
	// Without it the status of claims does not show their devices. Optional.
	Status    kubernetes.Interface
	Preparer  Preparer
	Publisher Publisher
	Inventory Inventory
	Records   Records
	// DeviceMetadata has containers told in files about their devices (KEP-5304), which takes CDIDir. Optional.
	DeviceMetadata bool
	// CDIDir is where the container runtime looks for CDI files. Without it nothing is removed that an earlier process
	// with DeviceMetadata left. Optional.
	CDIDir string
	// Decide says what a claim asks of this driver on this node.
	Decide func(*resourceapi.ResourceClaim) (claim.Plan, error)

	// Observe is told what happens, for metrics. Its functions must not block; each is optional.
	Observe Observer
}

// Observer is told what happens in a driver.
type Observer struct {
	// Prepared and Unprepared get the time from the kubelet's call to the answer for one claim.
	Prepared, Unprepared func(d time.Duration, err error)
	// Fetched gets the time that reading one claim from the API server took, retries included.
	Fetched func(d time.Duration)
	// InFlight gets +1 and -1 when work on a call of the kubelet begins and ends.
	InFlight func(delta int)
	// Devices gets what the backend sees, whenever it was looked at.
	Devices func([]device.Device)
	// TookBack is called for each claim that was taken back because it does not exist any more.
	TookBack func()
	// Unsettled gets how many claims are not just prepared, by reason, whenever that was looked at.
	Unsettled func(map[Unsettled]int)
	// StatusWritten gets what came of each attempt to write the status of a claim.
	StatusWritten func(status.Result)
}

// Driver serves the kubelet and keeps the Publisher up to date.
type Driver struct {
	options  Options
	sockets  *sockets
	calls    *calls
	fetcher  *fetcher
	fatal    chan error // holds the first error that serving cannot go on with
	kubelet  registration
	hardware look // of followInventory's goroutine
	restored bool // nothing was left to do when serving began
	health   *health
	shown    *shown
	told     *told

	unsettled unsettled
	events    *events
}

// New returns a driver that does nothing until Run.
func New(o Options) *Driver {
	o.Observe = o.Observe.complete()
	d := &Driver{
		options: o,
		sockets: socketsOf(o),
		calls:   newCalls(o.Observe.InFlight),
		fetcher: &fetcher{client: o.Client, observe: o.Observe.Fetched, attempt: fetchAttempt},
		fatal:   make(chan error, 1),
		kubelet: registration{directory: registryDir(o.KubeletDir)},
		health:  newHealth(),

		events:    newEvents(o),
		unsettled: newUnsettled(),
	}
	d.shown = newShown(o, d.health)
	d.told = newTold(o, d.health, d.sockets.dataDir)
	return d
}

// Run puts right what an earlier process left, so that the kubelet meets a node in order, and serves the kubelet until
// ctx ends. Then it lets calls in progress finish within a bound, takes its sockets away and returns nil. An error is
// one that serving cannot go on with.
func (d *Driver) Run(ctx context.Context) error {
	unlock, err := d.sockets.takePlace(ctx)
	if err != nil {
		return err
	}
	unlock() // putting right may take long
	d.restore(ctx)
	helper, err := d.serve(ctx)
	if err != nil && ctx.Err() != nil {
		return nil //nolint:nilerr // that is how it was asked to end
	}
	if err != nil {
		return err
	}
	klog.FromContext(ctx).Info("Waiting for the kubelet to register the driver",
		"registrationSocket", d.sockets.registrar, "draSocket", d.sockets.dra)

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.followInventory(ctx) })
	group.Go(func() error { return d.reconcile(ctx) })
	group.Go(func() error { return d.keepFiles(ctx) })
	group.Go(func() error { return d.events.run(ctx) })
	group.Go(func() error { return d.shown.run(ctx) })
	group.Go(func() error { return d.shown.followHealth(ctx) })
	group.Go(func() error { return d.sockets.keep(ctx) })
	group.Go(func() error {
		select {
		case err := <-d.fatal:
			return err
		case <-ctx.Done():
			return nil
		}
	})
	<-ctx.Done()
	klog.FromContext(ctx).Info("Stopping, when no call is in progress any more", "inProgress", d.calls.count())
	d.drain(ctx)
	helper.Stop()
	return group.Wait()
}

// serve takes the sockets, if nobody else has taken them meanwhile, and starts to serve on them.
func (d *Driver) serve(ctx context.Context) (*kubeletplugin.Helper, error) {
	unlock, err := d.sockets.takePlace(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	// The helper stops when its context ends, which would cut calls in progress: Run stops it instead.
	helper, err := kubeletplugin.Start(context.WithoutCancel(ctx), d, d.helperOptions()...)
	if err != nil {
		return nil, fmt.Errorf("serve the kubelet in %s: %w", d.options.KubeletDir, err)
	}
	return helper, nil
}

func (d *Driver) helperOptions() []kubeletplugin.Option {
	return append(d.told.helperOptions(d.options.CDIDir),
		kubeletplugin.DriverName(d.options.DriverName),
		kubeletplugin.NodeName(d.options.NodeName),
		kubeletplugin.KubeClient(d.fetcher.kubeClient()),
		kubeletplugin.RegistrarDirectoryPath(d.sockets.registryDir),
		kubeletplugin.PluginDataDirectoryPath(d.sockets.dataDir),
		kubeletplugin.RollingUpdate(d.options.PodUID),
		kubeletplugin.PluginListener(d.sockets.listen),
		kubeletplugin.RegistrarListener(d.sockets.listen),
		// Claims are locked one by one, by pkg/prepare, and across processes too.
		kubeletplugin.Serialize(false),
		// Kubelets up to 1.36 know v1alpha1 only; both are on by default.
		kubeletplugin.HealthService(true),
		kubeletplugin.GRPCInterceptor(d.calls.intercept),
		kubeletplugin.GRPCInterceptor(d.kubelet.intercept(d.options.Publisher.Resync)),
		kubeletplugin.GRPCInterceptor(d.fetcher.intercept),
	)
}

// drain waits until no call is in progress and the last answer is with the kubelet. Calls that still come meanwhile are
// served as long as there is time: an error would cost their pod a minute.
func (d *Driver) drain(ctx context.Context) {
	timeout := time.After(drainTimeout)
	for {
		select {
		case <-d.calls.idle():
		case <-timeout:
			klog.FromContext(ctx).Info("Cutting calls that are still in progress; the kubelet will repeat them",
				"waited", drainTimeout)
			return
		}
		pause := answerTime - d.calls.sinceLast()
		if pause <= 0 {
			return
		}
		time.Sleep(pause)
	}
}

// followInventory hands on what the inventory sees.
func (d *Driver) followInventory(ctx context.Context) error {
	logger := klog.FromContext(ctx)
	leftOut := make(map[inventory.LeftOut]bool)
	err := d.options.Inventory.Run(ctx, func(u inventory.Update) {
		d.hardware.note(logger, u)
		if !u.Seen {
			return // not known is not none
		}
		d.events.tellNode(ctx, d.health.note(logger, u.Devices))
		d.options.Observe.Devices(u.Devices)
		if u.Slices == nil {
			return // it is not known yet what the cluster can hold
		}
		d.options.Publisher.Publish(u.Slices)
		leftOut = logLeftOut(logger, u.LeftOut, leftOut)
	})
	if err != nil {
		return fmt.Errorf("follow the node's devices: %w", err)
	}
	return nil
}

// logLeftOut warns of what was not known to be left out before, and returns what is known now.
func logLeftOut(
	logger klog.Logger, now []inventory.LeftOut, before map[inventory.LeftOut]bool,
) map[inventory.LeftOut]bool {
	known := make(map[inventory.LeftOut]bool, len(now))
	for _, l := range now {
		if known[l] = true; !before[l] {
			logger.Info("Warning: not all of it is published: "+l.String(), "device", l.Device)
		}
	}
	return known
}

// look is what came of looking at the devices last, for the log. The zero value has not looked yet.
type look struct {
	looked        bool
	err, watchErr error
}

func (l *look) note(logger klog.Logger, u inventory.Update) {
	switch {
	case u.Err != nil && (l.err == nil || l.err.Error() != u.Err.Error()):
		logger.Error(u.Err, "Looking at the devices; what was seen before stays published")
	case u.Err == nil && (!l.looked || l.err != nil):
		logger.Info("Looked at the devices", "devices", len(u.Devices))
	}
	if u.WatchErr != nil && (l.watchErr == nil || l.watchErr.Error() != u.WatchErr.Error()) {
		logger.Error(u.WatchErr, "Watching the devices; changes are seen later than usual")
	}
	l.looked, l.err, l.watchErr = true, u.Err, u.WatchErr
}

// Looked returns nil if what is known of the devices is how they are now: the backend could say so when it was asked
// last, and does not take too long for the next answer.
func (d *Driver) Looked() error {
	_, err := d.options.Inventory.Current()
	return err
}

// Registered returns nil if the kubelet has registered the driver, else why not, as far as is known.
func (d *Driver) Registered() error { return d.kubelet.err() }

func (o Observer) complete() Observer {
	if o.Prepared == nil {
		o.Prepared = func(time.Duration, error) {}
	}
	if o.Unprepared == nil {
		o.Unprepared = func(time.Duration, error) {}
	}
	if o.Fetched == nil {
		o.Fetched = func(time.Duration) {}
	}
	if o.InFlight == nil {
		o.InFlight = func(int) {}
	}
	if o.Devices == nil {
		o.Devices = func([]device.Device) {}
	}
	if o.TookBack == nil {
		o.TookBack = func() {}
	}
	if o.StatusWritten == nil {
		o.StatusWritten = func(status.Result) {}
	}
	if o.Unsettled == nil {
		o.Unsettled = func(map[Unsettled]int) {}
	}
	return o
}
