package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/klog/v2"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
	"example.com/dragoman/pkg/admission"
	"example.com/dragoman/pkg/binding"
	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/telemetry"
)

// controllerSettings are what the command line of the controller says besides the [settings] of all.
type controllerSettings struct {
	// name is that of its Lease, and of the Service and the Secret of the webhook, all in namespace.
	name, namespace string
	binding         bool
	// webhook is the name of the ValidatingWebhookConfiguration; empty means no webhook.
	webhook, webhookAddress string
}

func (c *controllerSettings) flags() []ownFlag {
	return []ownFlag{
		{"name", "NAME", "name of its Lease, of the webhook's Service and Secret (default: dragoman-controller)", &c.name},
		{"namespace", "NAME", "where these are (default: $POD_NAMESPACE)", &c.namespace},
		{"binding", "true|false", "attach devices before pods are bound (default: true)", &c.binding},
		{"webhook", "NAME", "ValidatingWebhookConfiguration by which the API server asks about configurations of claims " +
			"(default: none, then it does not ask)", &c.webhook},
		{"webhook-address", "ADDR", "where the webhook listens (default: :9443)", &c.webhookAddress},
	}
}

// validate says what is wrong, with what to do.
func (c *controllerSettings) validate() error {
	switch {
	case c.namespace == "":
		return &usageError{"--namespace is missing: say in which namespace the controller keeps its Lease " +
			"(in a pod, $POD_NAMESPACE can say it)"}
	case len(validation.IsDNS1123Label(c.namespace)) > 0:
		return &usageError{fmt.Sprintf("--namespace %q is not the name of a namespace", c.namespace)}
	case len(validation.IsDNS1035Label(c.name)) > 0: // as the strictest of the objects, the Service
		return &usageError{fmt.Sprintf("--name %q is not the name of a Service", c.name)}
	case !c.binding && c.webhook == "":
		return &usageError{"nothing to do: --binding=false, and no --webhook"}
	}
	return nil
}

// runController serves a cluster: what no agent of a node can do.
func runController(ctx context.Context, args []string, getenv func(string) string, stdout, _ io.Writer) error {
	own := &controllerSettings{name: "dragoman-controller", namespace: getenv("POD_NAMESPACE"), binding: true,
		webhookAddress: ":9443"}
	settings := newSettings("dragoman controller [flags]", nil)
	settings.addOwn(own.flags())
	if done, err := settings.parse(args, stdout); done || err != nil {
		return err
	}
	settings.nodeName = hostName()
	config, err := settings.config(getenv)
	if err != nil {
		return err
	}
	if err := own.validate(); err != nil {
		return err
	}
	if err := setUpLogging(config); err != nil {
		return err
	}
	defer klog.Flush()
	logger := klog.Background()
	logger.Info("Starting dragoman controller", "version", version(), "config", klog.Format(config),
		"name", klog.KRef(own.namespace, own.name), "binding", own.binding, "webhook", own.webhook)
	limitMemory(getenv)
	saveMemory(getenv)
	c := &controller{config: config, own: own, identity: identity(getenv)}
	if err := c.run(klog.NewContext(ctx, logger)); err != nil {
		if config.Logging.Format == "text" {
			return err
		}
		logger.Error(err, "Stopped because of an error")
		return &loggedError{err}
	}
	logger.Info("Stopped")
	return nil
}

// identity tells this process from all others that want to lead.
func identity(getenv func(string) string) string {
	name := getenv("POD_NAME")
	if name == "" {
		name, _ = os.Hostname() // the rest is unlike any other by itself
	}
	return name + "_" + string(uuid.NewUUID())
}

// controller is everything that serves a cluster.
type controller struct {
	config   *driverConfig
	own      *controllerSettings
	identity string

	clients  clients
	fabric   device.Fabric // nil if there is nothing to attach
	metrics  *telemetry.ControllerMetrics
	watchdog *leaderelection.HealthzAdaptor
	http     *telemetry.Server // nil if it is off
	keeper   *admission.Keeper // nil without a webhook
	webhook  *admission.Server // nil without a webhook
	// listening is told of the server of metrics and health checks; nil means nobody.
	listening func(*telemetry.Server)

	mu      sync.Mutex
	leading *binding.Controller // nil while another process leads
}

// run serves the cluster until ctx ends, then returns nil.
func (c *controller) run(ctx context.Context) (err error) {
	if c.clients, err = newClients(c.config.Kubeconfig); err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	c.metrics = telemetry.NewControllerMetrics(
		telemetry.Build{Version: version(), Revision: revision(), GoVersion: runtime.Version()})
	c.watchdog = leaderelection.NewLeaderHealthzAdaptor(leaseDuration)
	if c.own.binding {
		if c.fabric, err = fabricOf(c.config); err != nil {
			return fmt.Errorf("open the fabric: %w", err)
		}
		if c.fabric == nil {
			klog.FromContext(ctx).Info("No devices of this backend are attached before binding: nothing to do for binding "+
				"conditions", "backend", c.config.Backend)
		}
	}
	if err := c.openWebhook(ctx); err != nil {
		return fmt.Errorf("open the webhook: %w", err)
	}
	if err := c.listen(ctx); err != nil {
		return fmt.Errorf("listen for metrics and health checks: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	if c.http != nil {
		group.Go(func() error { return c.http.Run(ctx) })
	}
	if c.fabric != nil {
		group.Go(func() error { return c.lead(ctx) })
	}
	if c.webhook != nil {
		group.Go(func() error { return c.keeper.Run(ctx) })
		group.Go(func() error { return c.webhook.Run(ctx) })
	}
	group.Go(func() error { <-ctx.Done(); return nil }) // also with nothing to do it is to be seen why
	return group.Wait()
}

func (c *controller) listen(ctx context.Context) (err error) {
	if *c.config.HTTPAddress == "" {
		return nil
	}
	c.http, err = telemetry.Listen(ctx, *c.config.HTTPAddress, c.metrics,
		[]telemetry.Check{{Name: "whoever attaches devices renews the lease", Test: c.renews}},
		[]telemetry.Check{
			{Name: "claims are seen, or another process leads", Test: c.sees},
			{Name: "the API server trusts the webhook, if there is one", Test: c.trusted},
		})
	if err != nil {
		return fmt.Errorf("httpAddress: %w; set another one, or \"\" for none, in the file named by --config", err)
	}
	klog.FromContext(ctx).Info("Metrics and health checks", "address", c.http.Address())
	if c.listening != nil {
		c.listening(c.http)
	}
	return nil
}

func (c *controller) sees(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leading != nil && !c.leading.Seen() {
		return errors.New("the API server has not listed all claims yet")
	}
	return nil
}

func (c *controller) trusted(context.Context) error {
	if c.keeper == nil {
		return nil
	}
	return c.keeper.Ready()
}

// openWebhook takes the address early: that it is taken is found out before anything else begins.
func (c *controller) openWebhook(ctx context.Context) (err error) {
	if c.own.webhook == "" {
		return nil
	}
	c.keeper = admission.NewKeeper(admission.KeeperOptions{
		Client: c.clients.slices, Namespace: c.own.namespace, Service: c.own.name, Secret: c.own.name,
		Configuration: c.own.webhook, Ends: c.metrics.CertificateEnds,
	})
	c.webhook, err = admission.Listen(ctx, c.own.webhookAddress, admission.Handler(admission.Reviewer{
		DriverName: c.config.DriverName, Decode: gpuv1alpha1.Decode,
		Default: func() apiruntime.Object { return gpuv1alpha1.Default() },
	}, c.metrics.Reviewed), c.keeper.Certificate)
	if err != nil {
		return fmt.Errorf("--webhook-address: %w", err)
	}
	klog.FromContext(ctx).Info("Webhook", "address", c.webhook.Address(), "configuration", c.own.webhook)
	return nil
}

// fabricOf opens the fabric of the configured backend, nil if its devices need none.
func fabricOf(config *driverConfig) (device.Fabric, error) {
	if _, ok := backends()[config.Backend]; !ok {
		return nil, fmt.Errorf("unknown backend %q; there are: %s; see --backend", config.Backend,
			strings.Join(slices.Sorted(maps.Keys(backends())), ", "))
	}
	open := fabrics()[config.Backend]
	if open == nil {
		return nil, nil //nolint:nilnil // there is none, and that is no error
	}
	return open(config)
}
