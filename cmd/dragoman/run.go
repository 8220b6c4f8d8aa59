package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
	"example.com/dragoman/pkg/cdi"
	"example.com/dragoman/pkg/checkpoint"
	"example.com/dragoman/pkg/claim"
	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/driver"
	"example.com/dragoman/pkg/inventory"
	"example.com/dragoman/pkg/prepare"
	"example.com/dragoman/pkg/publish"
	"example.com/dragoman/pkg/status"
	"example.com/dragoman/pkg/telemetry"
)

// process is everything that serves a node.
type process struct {
	config *driverConfig

	clients   clients
	records   *checkpoint.Store
	specs     *cdi.Dir
	backend   device.Backend
	metrics   *telemetry.Metrics
	preparer  *prepare.Preparer
	inventory *inventory.Inventory
	probing   *probing
	publisher *publishing
	driver    *driver.Driver
	http      *telemetry.Server // nil if it is off
	settling  *time.Timer       // gives memory back
	profiles  *telemetry.Server // nil if it is off
}

// run serves the node until ctx ends, then returns nil.
func run(ctx context.Context, config *driverConfig) error {
	p := &process{config: config}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"find the API server", p.findAPIServer},
		{"open the records of claims", p.openRecords},
		{"open the directory of CDI files", p.openCDI},
		{"open the backend", p.openBackend},
		{"wire the rooms", p.wire},
		{"listen for metrics and health checks", p.listen},
		{"listen for profiles", p.listenForProfiles},
	} {
		if err := step.do(ctx); err != nil && ctx.Err() != nil {
			return nil //nolint:nilerr // that is how it was asked to end
		} else if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, server := range []*telemetry.Server{p.http, p.profiles} {
		if server != nil {
			group.Go(func() error { return server.Run(ctx) })
		}
	}
	group.Go(func() error { return p.probing.Run(ctx) })
	group.Go(func() error { return p.publisher.Run(ctx) })
	group.Go(func() error { return p.driver.Run(ctx) })
	return group.Wait()
}

func (p *process) findAPIServer(context.Context) (err error) {
	p.clients, err = newClients(p.config.Kubeconfig)
	return err
}

// stateDir is this driver's part of the state directory: installations with other driver names have their own.
func (p *process) stateDir() string { return filepath.Join(p.config.StateDir, p.config.DriverName) }

func (p *process) openBackend(ctx context.Context) (err error) {
	p.backend, err = backendOf(ctx, p.config, backendDir(p.config))
	return err
}

func (p *process) wire(ctx context.Context) error {
	logger, c := klog.FromContext(ctx), p.config
	p.metrics = telemetry.NewMetrics(
		telemetry.Build{Version: version(), Revision: revision(), GoVersion: runtime.Version()})
	p.preparer = prepare.New(prepare.Options{Backend: p.backend, Records: p.records, CDI: p.specs,
		DriverName: c.DriverName, NodeName: c.NodeName, Capacity: p.capacity,
		Observe: func(phase prepare.Phase, d time.Duration) { p.metrics.Phase(string(phase), d) },
		Report: func(c device.Claim, problem error) {
			logger.Error(problem, "Problem with a claim", "claim", klog.KRef(c.Namespace, c.Name), "claimUID", c.UID)
			p.driver.Tell(ctx, c, problem)
		},
		Reconciled: func(c device.Claim, did prepare.Action) {
			p.metrics.Reconciled(string(did))
			logger.Info("Put something right", "action", did, "claim", klog.KRef(c.Namespace, c.Name), "claimUID", c.UID)
		}})
	p.settling = time.AfterFunc(settleAfter, func() { settleMemory(os.Getenv) })
	p.inventory = inventory.New(
		inventory.Options{Backend: p.backend, DriverName: c.DriverName, NodeName: c.NodeName})
	p.metrics.SeeDevices(func() time.Time {
		seen, _ := p.inventory.Current()
		return seen
	})
	p.wirePublishing(logger)
	p.driver = driver.New(driver.Options{
		DriverName: c.DriverName, NodeName: c.NodeName, KubeletDir: c.KubeletDir, PodUID: types.UID(c.PodUID),
		Directories:    []string{c.CDIDir, p.stateDir()},
		DeviceMetadata: c.DeviceMetadata, CDIDir: c.CDIDir,
		Client:    p.clients.claims,
		Events:    p.clients.events,
		Status:    p.statusClient(),
		Preparer:  p.preparer,
		Records:   p.preparer,
		Publisher: p.publisher,
		Inventory: p.inventory,
		Decide: func(rc *resourceapi.ResourceClaim) (claim.Plan, error) {
			return claim.Decide(rc, claim.Options{DriverName: c.DriverName, PoolName: c.NodeName,
				Decode: gpuv1alpha1.Decode, Default: func() apiruntime.Object { return gpuv1alpha1.Default() }})
		},
		Observe: driver.Observer{
			Prepared:   p.afterwards(p.metrics.Prepared),
			Unprepared: p.afterwards(p.metrics.Unprepared), InFlight: p.metrics.InFlight,
			Fetched:       func(d time.Duration) { p.metrics.Phase("get", d) },
			Devices:       func(all []device.Device) { p.metrics.Devices(countDevices(all)) },
			StatusWritten: func(r status.Result) { p.metrics.StatusWritten(string(r)) },
			TookBack:      func() { p.metrics.Reconciled(string(prepare.TookBackClaim)) },
			Unsettled: func(counts map[driver.Unsettled]int) {
				for _, reason := range driver.UnsettledReasons() {
					p.metrics.Unsettled(string(reason), counts[reason])
				}
			},
		},
	})
	p.metrics.CountRecords(func() (int, int, error) {
		recorded, quarantined, err := p.records.Claims()
		return len(recorded), len(quarantined), err
	})
	return nil
}

// statusClient is nil if the status of claims is to stay as it is.
func (p *process) statusClient() kubernetes.Interface {
	if !*p.config.DeviceStatus {
		return nil
	}
	return p.clients.status
}

// capacity is what shares of a device may take together, for the preparer.
func (p *process) capacity(pool, device string) (map[resourceapi.QualifiedName]resource.Quantity, bool) {
	if pool != p.config.NodeName {
		return nil, false
	}
	return p.inventory.Capacity(device)
}

// afterwards has memory settled some time after the last call.
func (p *process) afterwards(observe func(time.Duration, error)) func(time.Duration, error) {
	return func(took time.Duration, err error) {
		observe(took, err)
		p.settling.Reset(settleAfter)
	}
}

// wirePublishing leads from what the API server keeps to what the inventory offers, and tells of trouble in return.
func (p *process) wirePublishing(logger klog.Logger) {
	c := p.config
	options := publish.Options{Client: p.clients.slices, DriverName: c.DriverName, NodeName: c.NodeName}
	p.probing = newProbing(
		func(ctx context.Context) (publish.Features, error) {
			return publish.Probe(ctx, options, probeEffect(c.Health))
		},
		func(f publish.Features) { p.inventory.Offer(offerOf(f, c.Health)) })
	observe := observed(logger, p.metrics)
	options.Observe = func(e publish.Event) {
		observe(e)
		p.probing.noticed(e)
		if e.Type == publish.Acknowledged {
			p.settling.Reset(settleAfter)
		}
	}
	p.publisher = newPublishing(options,
		func(ctx context.Context, waiting func(error)) (types.UID, error) {
			return driver.NodeUID(ctx, p.clients.slices, c.NodeName, p.clients.token, waiting)
		}, p.probing.Known)
}

func countDevices(all []device.Device) telemetry.DeviceCounts {
	var counts telemetry.DeviceCounts
	for _, d := range all {
		if d.Health.Unhealthy {
			counts.Unhealthy++
			counts.Names = append(counts.Names, d.Name)
		} else {
			counts.Healthy++
		}
	}
	return counts
}

// listen takes the address early: that it is taken is found out before anything else begins.
func (p *process) listen(ctx context.Context) (err error) {
	if *p.config.HTTPAddress == "" {
		return nil
	}
	p.http, err = telemetry.Listen(ctx, *p.config.HTTPAddress, p.metrics,
		[]telemetry.Check{{Name: "kubelet sockets answer", Test: p.driver.Alive}},
		[]telemetry.Check{
			{Name: "registered with the kubelet", Test: func(context.Context) error { return p.driver.Registered() }},
			{Name: "slices acknowledged by the API server",
				Test: func(context.Context) error { return p.publisher.Acknowledged() }},
			{Name: "backend looked for devices", Test: func(context.Context) error { return p.driver.Looked() }},
			{Name: "records and CDI files can be written", Test: func(context.Context) error { return p.canWrite() }},
		})
	if err != nil {
		return fmt.Errorf("httpAddress: %w; set another one, or \"\" for none, in the file named by --config", err)
	}
	klog.FromContext(ctx).Info("Metrics and health checks", "address", p.http.Address())
	return nil
}

func (p *process) listenForProfiles(ctx context.Context) (err error) {
	if p.config.ProfilingAddress == "" {
		return nil
	}
	p.profiles, err = telemetry.ListenForProfiles(ctx, p.config.ProfilingAddress)
	if err != nil {
		return fmt.Errorf("profilingAddress: %w; set another one, or none", err)
	}
	klog.FromContext(ctx).Info("Profiles of this process", "address", p.profiles.Address())
	return nil
}
